"""Whole runs of the methods that regress with kernels."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf.base.errors import DivergedError, UserError
from dam_tf.base.json_lines import read_json_lines
from dam_tf.config.sections import AugmentationConfig
from dam_tf.evaluation.evaluate import evaluate
from dam_tf.methods.registry import METHODS
from dam_tf.runs.run import distill
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.synthetic.synthetic_set import SyntheticSet
from tests.replicas import two_replicas
from tests.runs.comparing import StopAt, assert_same_run, final_state
from tests.tiny_data import make_data, tiny_config

KIP = {
    "method__name": "kip",
    "method__labels": "learned",
    "distillation__ema_decay": 0.5,
}
FREPO = {
    "method__name": "frepo",
    "method__width": 4,
    "method__depth": 2,
    "method__networks": 2,
    "method__max_age": 1,
    "distillation__ema_decay": 0.5,
}


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("settings", [KIP, FREPO], ids=["kip", "frepo"])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(settings, tmp_path):
    data, config = make_data(), tiny_config(**settings, distillation__iterations=4)
    whole = distill(config, tmp_path / "whole", data=data)
    distill(config, tmp_path / "parts", data=data, callbacks=[StopAt(2)])
    assert final_state(tmp_path / "parts")["iteration"] == 2
    distill(config, tmp_path / "parts", data=data, resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    loaded = DistilledSet.load(tmp_path / "whole")
    np.testing.assert_array_equal(loaded.images, whole.images)
    np.testing.assert_array_equal(
        loaded.to_numpy(soft_labels=True)[1], whole.to_numpy(soft_labels=True)[1]
    )
    lines = list(read_json_lines(tmp_path / "whole" / "metrics.jsonl"))
    assert [line["iteration"] for line in lines] == [2, 4]
    assert all(np.isfinite(line["loss"]) for line in lines)


@pytest.mark.usefixtures("eagerly")
def test_sets_are_tested_by_the_recipes_of_the_papers(tmp_path):
    """FRePo: 1,000 steps of Adam for few images; KIP: 5,000 of SGD."""
    data, common = make_data(), {"distillation__iterations": 1, "network__depth": 1}
    found = {}
    for name, settings in (("kip", KIP), ("frepo", FREPO)):
        config = tiny_config(**{**settings, **common, "distillation__ema_decay": 0.0})
        found[name] = distill(config, tmp_path / name, data=data)
    kip, frepo = found["kip"].recipe, found["frepo"].recipe
    assert (kip.steps, kip.optimizer, kip.momentum, kip.falls_to) == (
        5000,
        "sgd",
        0.9,
        0,
    )
    assert (frepo.steps, frepo.optimizer, frepo.learning_rates) == (
        1000,
        "adam",
        (3e-4,),
    )
    assert kip.loss == frepo.loss == "mse" and frepo.batch_size == 6
    targets = final_state(tmp_path / "kip")["labels"]
    centred = targets - targets.mean(axis=1, keepdims=True)
    _, labels = found["kip"].to_numpy(soft_labels=True)
    np.testing.assert_allclose(kip.target_scale * (labels - 1 / 3), centred, atol=1e-6)
    short = dataclasses.replace(kip, steps=2)
    one = dataclasses.replace(found["kip"], recipe=short)
    own = tiny_config(evaluation__recipe="own", network__depth=1)
    assert len(evaluate(one, own, data).accuracies) == 2


@pytest.mark.parametrize(
    ("images", "steps"), [(2, 1000), (55, 1500), (500, 5000), (9000, 40_000)]
)
def test_frepo_trains_longer_on_more_images(images, steps):
    pixels = np.zeros([1, images, 4, 4, 1], np.float32)
    method = METHODS["frepo"](labels="fixed")
    method._augmentation = AugmentationConfig()
    recipe = method.recipe(SyntheticSet(pixels))
    assert (recipe.steps, recipe.target_scale) == (steps, 1.0)


@pytest.fixture(scope="module")
def strategy():
    return two_replicas()


@pytest.mark.slow
def test_two_devices_do_what_one_does(strategy, tmp_path):
    """Three classes, which two devices share unevenly."""
    data, config = make_data(), tiny_config(**KIP)
    distill(config, tmp_path / "one", data=data)
    distill(config, tmp_path / "two", data=data, strategy=strategy)
    one, two = final_state(tmp_path / "one"), final_state(tmp_path / "two")
    assert one.keys() == two.keys()
    for name, values in one.items():
        np.testing.assert_allclose(values, two[name], rtol=1e-4, atol=1e-4)
    losses = [
        [line["loss"] for line in read_json_lines(tmp_path / name / "metrics.jsonl")]
        for name in ("one", "two")
    ]
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_more_devices_than_classes_are_refused(strategy, tmp_path):
    data, config = make_data((9,)), tiny_config(method__name="kip")
    with pytest.raises(UserError, match="2 devices cannot share 1 classes"):
        distill(config, tmp_path / "run", data=data, strategy=strategy)


@pytest.mark.parametrize("name", ["frepo", "label_solve"])
def test_two_devices_are_refused_where_they_cannot_share(name, strategy, tmp_path):
    config = tiny_config(method__name=name)
    with pytest.raises(UserError, match=rf"'{name}' .*2 devices .*one_device"):
        distill(config, tmp_path / "run", data=make_data(), strategy=strategy)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("eagerly")
def test_labels_that_are_not_finite_stop_a_run(tmp_path):
    class Spoil(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch >= 4:
                labels = self.model.synthetic.variables_by_name["labels"]
                labels.assign(tf.fill(labels.shape, np.inf))

    config = tiny_config(
        method__name="kip", method__labels="learned", distillation__log_every=1
    )
    with pytest.raises(DivergedError, match=r"labels became .* iteration 2 is kept"):
        distill(config, tmp_path, data=make_data(), callbacks=[Spoil()])
