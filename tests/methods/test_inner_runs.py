"""Whole runs of DD and LD: stopped and resumed, compiled, and what is refused."""

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.base.json_lines import read_json_lines
from dam_tf.runs.run import distill
from dam_tf.synthetic.distilled_set import DistilledSet
from tests.runs.comparing import StopAt, assert_same_run, final_state
from tests.tiny_data import make_data, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")

AVERAGED = {"distillation__ema_decay": 0.5}
RUNS = [
    pytest.param({"method__name": "dd", "method__repeats": 1, **AVERAGED}, id="dd"),
    pytest.param(
        {"method__name": "ld", "method__patience": 1, "distillation__iterations": 12},
        id="ld, ridge",
    ),
    pytest.param(
        {
            "method__name": "ld",
            "method__variant": "second_order",
            "network__norm": "batch",
        },
        id="ld, second order",
    ),
]


def small(**settings):
    """Settings of a run whose inner steps take no time."""
    return tiny_config(**{"network__depth": 1, "network__width": 4, **settings})


@pytest.mark.slow
@pytest.mark.parametrize("settings", RUNS)
def test_a_run_that_was_stopped_ends_as_one_that_was_not(settings, tmp_path):
    data, config = make_data(), small(**settings)
    whole = distill(config, tmp_path / "whole", data=data)
    distill(config, tmp_path / "parts", data=data, callbacks=[StopAt(2)])
    assert final_state(tmp_path / "parts")["iteration"] == 2
    distill(config, tmp_path / "parts", data=data, resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    loaded = DistilledSet.load(tmp_path / "whole")
    np.testing.assert_array_equal(loaded.images, whole.images)
    assert loaded.recipe == whole.recipe and loaded.recipe is not None
    lines = read_json_lines(tmp_path / "whole" / "metrics.jsonl")
    assert [line["iteration"] for line in lines][:3] == [2, 4, 6]
    assert all(np.isfinite(line["loss"]) for line in lines)
    if settings["method__name"] == "ld":
        soft = loaded.soft_labels
        np.testing.assert_allclose(soft.sum(axis=1), 1, rtol=1e-5)
        assert np.abs(soft - 1 / 3).max() > 1e-3
        first = distill(
            small(**{**settings, "distillation__iterations": 0}),
            tmp_path / "first",
            data=data,
        )
        np.testing.assert_array_equal(loaded.images, first.images)
    if settings.get("method__patience") == 1:
        assert final_state(tmp_path / "whole")["method/restarts"] > 0


@pytest.mark.parametrize("name", ["dd", "ld"])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"distillation__classes_per_step": 2}, "classes_per_step 2 is not for method"),
        ({"distillation__precision": "bfloat16"}, "precision 'bfloat16' is not for"),
    ],
)
def test_what_is_refused(name, settings, message, tmp_path):
    config = tiny_config(method__name=name, **settings)
    with pytest.raises(UserError, match=message):
        distill(config, tmp_path / "run", data=make_data())
    assert not (tmp_path / "run" / "config.toml").exists()


def test_averages_of_images_that_never_move_are_refused(tmp_path):
    config = tiny_config(method__name="ld", distillation__ema_decay=0.5)
    with pytest.raises(UserError, match=r"ema_decay 0\.5 averages images"):
        distill(config, tmp_path / "run", data=make_data())


@pytest.mark.parametrize("name", ["dd", "ld"])
def test_two_devices_are_refused_in_one_line(name, tmp_path):
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with pytest.raises(UserError, match=f"'{name}' .*2 devices.*one_device"):
        distill(
            tiny_config(method__name=name),
            tmp_path / "run",
            data=make_data(),
            strategy=strategy,
        )
