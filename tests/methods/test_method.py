"""A method with a state of its own, which the interface promises to keep."""

import dataclasses
from typing import ClassVar

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.base.json_lines import read_json_lines
from dam_tf.config.methods import METHODS, MethodSettings
from dam_tf.config.schema import setting
from dam_tf.methods.method import Method
from dam_tf.runs.run import distill
from tests.runs.comparing import StopAt, final_state
from tests.tiny_data import make_data, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")


@dataclasses.dataclass(frozen=True)
class FollowerSettings(MethodSettings):
    name: str = setting("follower", "of the tests")
    pace: float = setting(0.5, "of the follower", minimum=0.0)
    meanings: ClassVar[dict[str, str]] = {"loss": "distance", "steps": "of the inner"}


class Follower(Method):
    """Images go to a point that follows them, which only its variables remember."""

    Settings = FollowerSettings

    def build(self, task, synthetic, preprocessing):
        self._point = tf.Variable(tf.zeros(synthetic.stored.shape))
        self._steps = tf.Variable(0)

    @property
    def variables(self):
        return {"point": self._point, "steps": self._steps}

    def inputs(self, data, first, last, replica=0):
        return tf.data.Dataset.range(first, last)

    def gradients(self, synthetic, batches, iteration):
        tf.debugging.assert_equal(next(batches), iteration)
        gap = synthetic.images() - self._point - 1.0
        logs = {"loss": tf.norm(gap), "steps": tf.cast(self._steps, tf.float32)}
        return {"images": 0.1 * gap}, logs

    def update(self, synthetic, batches, iteration):
        moved = self.settings.pace * (synthetic.images() - self._point)
        self._point.assign_add(moved)
        self._steps.assign_add(1)


class DenseSGD:
    """What the images and the point do, in NumPy."""

    def __init__(self, images, pace):
        self.images, self.point = images.astype(np.float64), np.zeros_like(images)
        self.velocity, self.pace = np.zeros_like(images), pace

    def step(self):
        gradient = 0.1 * (self.images - self.point - 1.0)
        self.velocity = 0.5 * self.velocity - gradient
        self.images = self.images + self.velocity
        self.point = self.point + self.pace * (self.images - self.point)


@pytest.fixture
def config(monkeypatch):
    monkeypatch.setitem(METHODS, "follower", FollowerSettings)
    return tiny_config(dataset__preprocessing="none")


def test_its_variables_are_part_of_the_run(config, tmp_path):
    data, method = make_data(), Follower(pace=0.25)
    initial = dataclasses.replace(
        config, distillation=dataclasses.replace(config.distillation, iterations=0)
    )
    start = distill(initial, tmp_path / "start", data=data, method=method).images
    distilled = distill(config, tmp_path / "run", data=data, method=Follower(pace=0.25))
    expected = DenseSGD(start, 0.25)
    for _ in range(6):
        expected.step()
    np.testing.assert_allclose(distilled.images, expected.images, rtol=1e-4)
    state = final_state(tmp_path / "run")
    np.testing.assert_allclose(state["method/point"], expected.point, rtol=1e-4)
    assert state["method/steps"] == 6, "a rehearsal is no step"
    lines = read_json_lines(tmp_path / "run" / "metrics.jsonl")
    assert [line["steps"] for line in lines] == [0.5, 2.5, 4.5]


def test_a_run_that_was_stopped_goes_on_where_it_was(config, tmp_path):
    data, whole, parts = make_data(), tmp_path / "whole", tmp_path / "parts"
    distill(config, whole, data=data, method=Follower())
    distill(config, parts, data=data, method=Follower(), callbacks=[StopAt(2)])
    assert final_state(parts)["method/steps"] < 6
    distill(config, parts, data=data, method=Follower(), resume=True)
    one, two = final_state(whole), final_state(parts)
    assert one.keys() == two.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, two[name])


def test_its_settings_are_the_runs(config, tmp_path):
    data = make_data()
    distill(config, tmp_path / "run", data=data, method=Follower(pace=0.25))
    with pytest.raises(UserError, match=r"method\.pace = 0\.5: .*with 0\.25"):
        distill(config, tmp_path / "run", data=data, method=Follower(), resume=True)


def test_devices_that_cannot_share_it_are_refused_first(config, tmp_path):
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    run = tmp_path / "run"
    distill(config, run, data=make_data(), method=Follower())
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    with pytest.raises(UserError, match=r"'follower' .*2 devices.*one_device"):
        distill(
            config,
            run,
            overwrite=True,
            data=make_data(),
            method=Follower(),
            strategy=strategy,
        )
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*")}
