"""Whole runs of the methods that regress with kernels."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf.base.errors import DivergedError, UserError
from dam_tf.base.json_lines import read_json_lines
from dam_tf.runs.run import distill
from dam_tf.synthetic.distilled_set import DistilledSet
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
