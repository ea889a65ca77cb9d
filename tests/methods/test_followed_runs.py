"""Runs that follow experts: which they take, where they stop, what they keep."""

import dataclasses
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf.base.errors import DivergedError, UserError
from dam_tf.config.experts import ExpertTraining, expert_config
from dam_tf.config.settings import replace, resolve
from dam_tf.config.trajectories import published
from dam_tf.data.preprocessing.preprocessing import fit_to_data
from dam_tf.methods.registry import METHODS
from dam_tf.networks.pools import NetworkPool
from dam_tf.runs.distiller import create_distiller
from dam_tf.runs.run import distill
from dam_tf.runs.state import state_files
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.training.experts import train_experts
from tests.runs.comparing import StopAt, final_state
from tests.tiny_data import make_data, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")
BOTH = pytest.mark.parametrize("name", ["mtt", "tesla"])


def config_of(name="mtt", experts="", **changes):
    small = {"network__width": 4, "network__depth": 1, "distillation__iterations": 2}
    learning = {"distillation__learning_rate": 1.0, "method__steps": 2}
    given = {**small, **learning, "method__experts": str(experts)}
    often = {"distillation__log_every": 1, "augmentation__operations": ()}
    return tiny_config(method__name=name, **{**given, **often, **changes})


@pytest.fixture(scope="module")
def experts(tmp_path_factory):
    """Two experts of three epochs, not to be changed."""
    folder = tmp_path_factory.mktemp("experts") / "experts"
    config = expert_config(config_of())
    train_experts(config, ExpertTraining(2), folder, data=make_data())
    return folder


@pytest.fixture(scope="module")
def run(experts, tmp_path_factory):
    """A finished run, not to be changed."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    distill(config_of("mtt", experts), folder, data=make_data())
    return folder


@pytest.mark.parametrize("name", ["mtt", pytest.param("tesla", marks=pytest.mark.slow)])
def test_a_run_that_was_stopped_goes_on_where_it_was(name, experts, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    learned = config_of(name, experts, method__labels="expert")
    distilled = distill(learned, whole, data=make_data())
    distill(learned, parts, data=make_data(), callbacks=[StopAt(1)])
    assert final_state(parts)["iteration"] == 1
    distill(learned, parts, data=make_data(), resume=True)
    one, two = final_state(whole), final_state(parts)
    assert {"images", "images/momentum", "step_size", "step_size/momentum"} < one.keys()
    assert one.keys() == two.keys()
    for key, values in one.items():
        np.testing.assert_array_equal(values, two[key])
    loaded = DistilledSet.load(parts)
    np.testing.assert_array_equal(loaded.images, distilled.images)
    np.testing.assert_array_equal(loaded.soft_labels, distilled.soft_labels)
    assert loaded.recipe == distilled.recipe
    assert loaded.recipe.learning_rates == (float(one["step_size"]),)
    assert loaded.recipe.momentum == 0.9 and loaded.recipe.batch_size == 256
    assert loaded.recipe.augmentation == learned.augmentation


def test_experts_take_turns_and_starts_are_early_epochs(experts):
    method, data = METHODS["mtt"](experts=str(experts)), make_data()
    config = config_of("mtt", experts, method__max_start=2, distillation__seed=3)
    images = np.zeros([3, 2, 8, 8, 1], np.float32)
    preprocessing = fit_to_data(config.dataset, data)
    distiller = create_distiller(images, config, preprocessing)
    method = distiller.method
    drawn = [method.followed(iteration) for iteration in range(60)]
    assert all(drawn[k][0] != drawn[k + 1][0] for k in range(0, 60, 2))
    assert len({drawn[k][0] for k in range(0, 60, 2)}) == 2, "the order is drawn anew"
    assert {start for _, start in drawn} == {0, 1}
    states = iter(method.inputs(data, 7, 13))
    assert {drawn[iteration][1] for iteration in range(7, 13)} == {0, 1}
    for iteration in range(7, 13):
        expert, start = method.followed(iteration)
        found = next(states).numpy()
        for row, epoch in zip(found, (start, start + 2), strict=True):
            expected = method._experts.state(expert, epoch)
            np.testing.assert_array_equal(row, expected)


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


REFUSED = {
    "experts": ("", r"follows experts: train some with .*give their folder"),
    "experts there": ("nowhere", r"no experts in .*nowhere \(experts.json is missing"),
    "network": ({"network__width": 8}, r"network\.width is 4, not 8; train some"),
    "preprocessing": (
        {"dataset__preprocessing": "none"},
        r"their preprocessing is 'standardize', not 'none'",
    ),
    "start": ({"method__max_start": 3}, r"needs 4; .*--epochs=4, or .*max_start=2"),
    "length": ({"method__expert_epochs": 4}, r"have 3 epochs, .*=4 .*--epochs=4$"),
    "batch": ({"method__batch": 7}, r"method\.batch 7 is more than the 6 synthetic"),
    "step": ({"method__step_size": 1.5}, r"between 0 and 1, not be 1\.5"),
    "zero": ({"method__step_size": 0.0}, r"between 0 and 1, not be 0\.0"),
    "classes": ({"distillation__classes_per_step": 2}, r"classes_per_step 2 is not"),
    "precision": (
        {"distillation__precision": "bfloat16"},
        r"precision 'bfloat16' is not",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_suit_is_refused_before_anything_is_touched(
    what, experts, tmp_path
):
    run, data = tmp_path / "run", make_data()
    changed, message = REFUSED[what]
    config = config_of("mtt", experts)
    if isinstance(changed, str):
        config = replace(config, method__experts=changed)
    else:
        config = replace(config, **changed)
    with pytest.raises(UserError, match=message) as error:
        distill(config, run, data=data, overwrite=True)
    assert "\n" not in str(error.value) and not run.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "the pixels of the training images differ"),
        ({"size": 9}, "they saw images of 8x8x1, and the run has 9x9x1"),
        ({"per_class": (9, 12)}, "they tell 3 classes apart, and the run has 2"),
        ({"per_class": (9, 12, 14)}, "class 'square' has 14 training images, not 15"),
    ],
)
def test_experts_of_other_data_are_refused(changes, message, experts, run):
    """The finished run that was to be replaced is as it was."""
    config, before = config_of("tesla", experts), files(run)
    with pytest.raises(UserError, match=message):
        distill(config, run, data=make_data(**changes), overwrite=True)
    assert files(run) == before


def test_experts_of_another_preprocessing_are_refused(experts, tmp_path):
    """Of the same kind, but fitted to other images."""
    config = config_of("mtt", experts)
    other = fit_to_data(config.dataset, make_data(seed=1, per_class=(9, 9, 40)))
    with pytest.raises(UserError, match="their preprocessing was fitted otherwise"):
        distill(config, tmp_path / "run", data=make_data(), preprocessing=other)
    with pytest.raises(
        UserError, match="networks= is not for method 'mtt', which follows"
    ):
        pool = NetworkPool([[np.zeros(1)]])
        distill(config, tmp_path / "run", data=make_data(), networks=pool)
    assert not (tmp_path / "run").exists()


def test_a_run_is_resumed_with_its_own_experts_wherever_they_lie(
    experts, run, tmp_path
):
    moved, other, config = tmp_path / "1", tmp_path / "2", config_of("mtt", experts)
    shutil.copytree(experts, moved)
    shutil.copytree(experts, other)
    (other / "expert-0001.npz").unlink()
    fewer = replace(config, method__experts=str(other))
    with pytest.raises(UserError, match=r"started with the experts .*method\.experts$"):
        distill(fewer, run, data=make_data(), resume=True)
    longer = {"distillation__iterations": 3, "method__experts": str(moved)}
    copy = shutil.copytree(run, tmp_path / "run")
    distill(replace(config, **longer), copy, data=make_data(), resume=True)
    assert final_state(copy)["iteration"] == 3


@pytest.mark.parametrize("every", [1, 3])
def test_a_step_size_that_leaves_its_range_stops_the_run(
    every, experts, tmp_path, monkeypatch
):
    """The second iteration drives it out, long before the next checkpoint is due."""
    config = config_of("mtt", experts, method__step_size_rate=0.5)
    longer = {"distillation__checkpoint_every": every, "distillation__iterations": 9}
    config = replace(config, **longer)
    gradients = METHODS["mtt"].gradients

    def pushed(self, synthetic, batches, iteration):
        found, logs = gradients(self, synthetic, batches, iteration)
        return {**found, "step_size": tf.where(iteration < 1, 0.0, 3.0)}, logs

    monkeypatch.setattr(METHODS["mtt"], "gradients", pushed)
    kept = "the checkpoint of iteration 1 is" if every == 1 else "no checkpoint was"
    message = rf"^the learned step size became -.* 0 and 1 .* by iteration 2; {kept}"
    with pytest.raises(DivergedError, match=message) as error:
        distill(config, tmp_path / "run", data=make_data())
    assert "\n" not in str(error.value)
    states = state_files(tmp_path / "run" / "checkpoints")
    assert list(states) == ([1] if every == 1 else [])
    if states:
        assert final_state(tmp_path / "run")["step_size"] == np.float32(0.01)


def test_a_step_size_that_is_no_number_stops_the_run(experts):
    config = config_of("mtt", experts)
    images = np.zeros([3, 2, 8, 8, 1], np.float32)
    distiller = create_distiller(images, config, keras.layers.Identity())
    method, synthetic = distiller.method, distiller.synthetic
    assert method.failure(synthetic) is None
    for value in (float("nan"), float("inf"), 1.0, 0.0, -1e-9):
        synthetic.variables_by_name["step_size"].assign(value)
        assert "step size became" in method.failure(synthetic)


def test_settings_left_out_are_those_that_were_published():
    given = {"dataset__name": "cifar10", "distillation__ipc": 10}
    config = resolve(tiny_config(method__name="mtt", **given), (32, 32, 3))
    settings = config.method
    assert (settings.steps, settings.expert_epochs, settings.batch) == (30, 2, None)
    assert (settings.step_size, settings.step_size_rate) == (0.001, 1e-5)
    assert config.distillation.learning_rate == 100 and settings.max_start is None
    config = replace(config, method__steps=7, distillation__learning_rate=3.0)
    config = resolve(config, (32, 32, 3))
    assert (config.method.steps, config.distillation.learning_rate) == (7, 3.0)
    row = published("mtt", "cifar100", 50)
    assert dataclasses.astuple(row) == (80, 2, 40, 1000.0, 1e-5, 0.01, 125)
    assert published("tesla", "cifar100", 50).learning_rate == 500
    assert published("tesla", "cifar10", 10) == published("mtt", "cifar10", 10)
    assert published("mtt", "npz:mine", 49) == published("mtt", "cifar10", 10)
