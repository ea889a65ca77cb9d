"""Runs of generators: stopped and resumed, refused, reported, and compiled or not."""

import os
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf.base.errors import DivergedError, UserError
from dam_tf.base.interruption import Interrupted
from dam_tf.generators.adversarial import Adversarial
from dam_tf.generators.generate import generate
from dam_tf.generators.registry import GENERATORS, create
from dam_tf.report.facts import read_run
from dam_tf.runs.folder import RunFolder
from dam_tf.runs.provenance import read_provenance
from dam_tf.runs.run import distill
from dam_tf.synthetic.distilled_set import DistilledSet
from tests.generators.tiny import Trained, settings
from tests.runs.comparing import assert_same_run
from tests.tiny_data import make_data


class StopAfter(keras.callbacks.Callback):
    """Sends Ctrl-C to this process after a call of the loop."""

    def on_train_batch_end(self, batch, logs=None):
        if batch >= 3:
            os.kill(os.getpid(), signal.SIGINT)


def check_resumed(config, folder):
    """A run that Ctrl-C has stopped ends as one that was never stopped."""
    data = make_data()
    made = generate(config, folder / "whole", data=data)
    with pytest.raises(Interrupted, match=r"after iteration \d of 6; continue"):
        generator = create(config.method)
        parts, stop = folder / "parts", [StopAfter()]
        distill(config, parts, data=data, method=generator, callbacks=stop)
    generate(config, folder / "parts", resume=True, data=data)
    assert_same_run(folder / "whole", folder / "parts")
    return made


@pytest.mark.usefixtures("eagerly")
class TestRun:
    def test_is_resumed_exactly_and_is_a_set_like_any_other(self, tmp_path):
        config = settings("gmmn")
        made = check_resumed(config, tmp_path)
        run = RunFolder(tmp_path / "whole")
        np.testing.assert_array_equal(DistilledSet.load(run.path).images, made.images)
        assert made.labels.tolist() == [0, 0, 1, 1, 2, 2] and run.preview.exists()
        assert made.images.min() > -1e-5 and made.images.max() < 1 + 1e-5
        assert read_provenance(run.provenance).reduction.startswith("small-scale")
        assert made.provenance["reduction"] == config.method.reduction
        facts = read_run("made", run)
        assert facts.is_generated and not facts.is_coreset
        assert facts.distill_command().startswith("python -m dam_tf generate --config")
        with pytest.raises(UserError, match=r"method\.hidden = \[9\]: .*with \[8\]"):
            other = settings("gmmn", method__hidden=(9,))
            generate(other, run.path, resume=True, data=make_data())

    def test_another_set_is_taken_from_trained_weights(self, tmp_path):
        data, run = make_data(), tmp_path / "run"
        few = generate(settings("gmmn"), run, data=data)
        own = {"method__trained": str(run), "distillation__iterations": 0}
        more = settings("gmmn", **own, distillation__ipc=3)
        many = generate(more, tmp_path / "more", data=data)
        first = many.images.reshape(3, 3, 8, 8, 1)[:, :2].reshape(few.images.shape)
        np.testing.assert_allclose(first, few.images, atol=1e-5)
        again = settings("gmmn", **own, distillation__seed=1)
        other = generate(again, tmp_path / "other", data=data)
        assert np.abs(other.images - few.images).max() > 1e-3
        for changed, given, message in (
            ({"method__hidden": (9,)}, data, r"hidden = \[8\], not \[9\]: its weights"),
            ({}, make_data(seed=1), "made of other images"),
            ({"method__trained": "nowhere"}, data, r"no run in .*nowhere"),
        ):
            wrong = settings("gmmn", **{**own, **changed})
            with pytest.raises(UserError, match=message):
                generate(wrong, tmp_path / "more", data=given, overwrite=True)
        kept = DistilledSet.load(tmp_path / "more").images
        np.testing.assert_array_equal(kept, many.images)

    def test_what_is_refused_leaves_no_folder(self, tmp_path):
        config = settings("gmmn", dataset__name="npz:missing.npz")
        with pytest.raises(UserError, match=r"missing\.npz"):
            generate(config, tmp_path / "run")
        assert not list(tmp_path.iterdir())

    def test_a_loss_that_is_no_number_says_what_to_make_smaller(
        self, tmp_path, monkeypatch
    ):
        kind = GENERATORS["gmmn"]

        def train(self, batches, iteration):
            return {"loss": tf.constant(np.nan)}

        monkeypatch.setattr(kind, "train", train)
        with pytest.raises(DivergedError, match=r"smaller method\.network_rate"):
            generate(settings("gmmn"), tmp_path / "run", data=make_data())


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in GENERATORS if n != "gmmn"])
def test_a_training_is_resumed_exactly(tmp_path, name):
    check_resumed(settings(name, distillation__snapshot_every=3), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", GENERATORS)
def test_steps_are_the_same_eagerly_in_a_graph_and_compiled(name):
    """After an iteration, variables agree but for rounding, which Adam enlarges."""
    found = {}
    for way, jit in {"eager": "none", "graph": "none", "compiled": "xla"}.items():
        one = Trained(settings(name, distillation__jit=jit))
        if isinstance(one.generator, Adversarial):
            for optimizer in one.generator.optimizers.values():
                optimizer.epsilon = 1e-2  # so that tiny gradients are tiny steps
        tf.config.run_functions_eagerly(way == "eager")
        found[way] = one.train(0, 1), one.values()
        tf.config.run_functions_eagerly(False)
    logs, values = found.pop("eager")
    for other_logs, others in found.values():
        assert other_logs == pytest.approx(logs, rel=1e-3, abs=1e-5)
        for key, value in values.items():
            np.testing.assert_allclose(others[key], value, 1e-3, 1e-4, err_msg=key)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cgan", "biggan", "dcvae"])
def test_the_class_is_what_is_asked_for(tmp_path, name):
    """After training, images of a class are as light as its real images are."""
    wider = {"method__width": 8, "method__batch": 24, "method__network_rate": 2e-3}
    long = {"distillation__iterations": 250, "distillation__checkpoint_every": 250}
    config = settings(name, **wider, **long, distillation__ipc=8)
    made = generate(config, tmp_path / "run", data=make_data())
    light = made.images.reshape(3, -1).mean(axis=1)
    real = np.array([45, 125, 205]) / 255
    np.testing.assert_allclose(light, real, atol=0.12)
