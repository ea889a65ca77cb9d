"""Runs that are interrupted, stopped or extended, against those that were not."""

import json
import os
import shutil
import signal

import keras
import numpy as np
import pytest

from dam_tf.base.errors import UserError
from dam_tf.base.interruption import Interrupted
from dam_tf.base.json_lines import read_json_lines
from dam_tf.runs.run import distill
from dam_tf.synthetic.distilled_set import DistilledSet
from tests.runs.comparing import (
    assert_same_run,
    assert_same_state,
    final_state,
    snapshots,
)
from tests.tiny_data import make_data, save_npz, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")

LONG = 16  # iterations of the run that interrupted ones are compared with


@pytest.fixture(scope="module")
def long_run(dataset, tmp_path_factory):
    """A finished run of `LONG` iterations, not to be changed."""
    folder = tmp_path_factory.mktemp("long") / "run"
    distill(long_config(dataset), folder)
    return folder


def long_config(dataset, iterations=LONG, **overrides):
    kept = {"distillation__snapshot_every": 7, "distillation__snapshot_at": [2, 16]}
    return tiny_config(
        dataset__name=dataset,
        distillation__iterations=iterations,
        **kept,
        **overrides,
    )


class StopAt(keras.callbacks.Callback):
    """Sends a signal to this process once `iteration` is done."""

    def __init__(self, iteration, number=signal.SIGINT):
        super().__init__()
        self.iteration, self.number = iteration, number

    def on_train_batch_end(self, batch, logs=None):
        if batch >= self.iteration:
            self.iteration = np.inf
            os.kill(os.getpid(), self.number)


class StopAtOnce(keras.callbacks.Callback):
    """Stops a run before its first iteration."""

    def on_train_begin(self, logs=None):
        self.model.stop_training = True


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_that_is_stopped_at_once_returns_the_set_as_it_is(
    dataset, tmp_path, resume
):
    if resume:
        distill(long_config(dataset, 2), tmp_path / "run")
    config = long_config(dataset)
    callbacks = [StopAtOnce()]
    found = distill(config, tmp_path / "run", resume=resume, callbacks=callbacks)
    stored = DistilledSet.load(tmp_path / "run")
    np.testing.assert_array_equal(found.images, stored.images)
    assert final_state(tmp_path / "run")["iteration"] == (2 if resume else 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_resumes_exactly(dataset, long_run, tmp_path, number):
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as stopped:
        distill(long_config(dataset), tmp_path / "run", callbacks=[StopAt(3, number)])
    assert signal.getsignal(number) is before
    assert stopped.value.signal_number == number
    iteration = final_state(tmp_path / "run")["iteration"]
    assert 3 <= iteration < LONG
    assert f"after iteration {iteration} of {LONG}" in str(stopped.value)
    distill(long_config(dataset), tmp_path / "run", resume=True)
    assert_same_run(long_run, tmp_path / "run")
    assert snapshots(tmp_path / "run") == snapshots(long_run)
    first, second = read_json_lines(tmp_path / "run" / "cost.jsonl")
    assert (first["first"], first["last"]) == (0, iteration)
    assert (second["first"], second["last"]) == (iteration, LONG)
    assert second["seconds"] > 0 and second["peak_process_bytes"] > 1e6


def test_the_average_is_distilled_and_resumes_exactly(dataset, tmp_path):
    """It is that of the images after every update of the same run without it.

    The run stops between two lines of metrics, and the later one is the same, too.
    """
    config = tiny_config(
        dataset__name=dataset,
        distillation__ema_decay=0.75,
        distillation__log_every=3,
        distillation__checkpoint_every=2,
    )
    distill(config, tmp_path / "whole")
    with pytest.raises(Interrupted, match="after iteration 2 of"):
        distill(config, tmp_path / "run", callbacks=[StopAt(2)])
    distill(config, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "run")

    every = tiny_config(dataset__name=dataset, distillation__snapshot_every=1)
    distill(every, tmp_path / "every")
    files = sorted((tmp_path / "every" / "snapshots").iterdir())
    first, *rest = [np.load(file, allow_pickle=False)["images"] for file in files]
    for images in rest:
        first = 0.75 * first + 0.25 * images
    found = DistilledSet.load(tmp_path / "whole").images
    np.testing.assert_allclose(found, first, rtol=1e-4, atol=1e-5)


def test_snapshots_are_the_images_of_their_iteration(dataset, short_run, long_run):
    """As many updates without a snapshot end with the very same images."""
    names = [f"iteration-{n:08d}.npz" for n in (0, 2, 7, 14, 16)]
    assert sorted(snapshots(long_run)) == names
    assert not (short_run / "snapshots").exists(), "none are kept unless asked for"
    with np.load(long_run / "snapshots" / names[-1], allow_pickle=False) as last:
        distilled = DistilledSet.load(long_run)
        np.testing.assert_array_equal(last["images"], distilled.images)
        np.testing.assert_array_equal(last["labels"], distilled.labels)


def test_a_run_of_fewer_iterations_ends_with_the_snapshot(dataset, long_run, tmp_path):
    config = tiny_config(dataset__name=dataset, distillation__iterations=7)
    with np.load(
        long_run / "snapshots" / "iteration-00000007.npz", allow_pickle=False
    ) as arrays:
        images = distill(config, tmp_path / "run").images
        np.testing.assert_array_equal(arrays["images"], images)


def test_without_a_checkpoint_a_run_starts_anew(dataset, tmp_path):
    """As a kill before the first one leaves it."""
    config = tiny_config(dataset__name=dataset, distillation__ema_decay=0.5)
    distill(config, tmp_path / "whole")
    run = shutil.copytree(tmp_path / "whole", tmp_path / "run")
    for name in ("checkpoints", "distilled"):
        shutil.rmtree(run / name)
    distill(config, run, resume=True)
    assert_same_run(tmp_path / "whole", run)


def test_a_finished_run_can_be_extended(dataset, long_run, run):
    """Metrics that a kill left behind its last checkpoint are written once."""
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"iteration": 8, "loss": 1.0}) + '\n{"iterat')
    distill(long_config(dataset), run, resume=True)
    assert_same_run(long_run, run)


def test_drawn_classes_are_those_of_a_run_that_was_not_stopped(dataset, tmp_path):
    drawn = {"dataset__name": dataset, "distillation__classes_per_step": 2}
    distill(tiny_config(**drawn), tmp_path / "whole")
    distill(tiny_config(**drawn, distillation__iterations=3), tmp_path / "parts")
    distill(tiny_config(**drawn), tmp_path / "parts", resume=True)
    one, two = final_state(tmp_path / "whole"), final_state(tmp_path / "parts")
    assert_same_state(one, two)


def test_a_loss_that_is_not_finite_stops_a_run(tmp_path):
    dataset, run = save_npz(tmp_path / "tiny.npz", make_data()), tmp_path / "run"
    huge = {"method__scale": 3e38, "method__task_balance": 1e3}
    start = tiny_config(dataset__name=dataset, distillation__iterations=0, **huge)
    distill(start, run)
    with pytest.raises(UserError, match=r"inf at iteration 1; .*iteration 0 is kept"):
        distill(tiny_config(dataset__name=dataset, **huge), run, resume=True)
    assert final_state(run)["iteration"] == 0


def test_images_that_are_not_finite_stop_a_run(tmp_path):
    dataset, run = save_npz(tmp_path / "tiny.npz", make_data()), tmp_path / "run"
    distill(tiny_config(dataset__name=dataset), run)
    path = run / "checkpoints" / "iteration-00000006.npz"
    with np.load(path, allow_pickle=False) as arrays:
        broken = {**arrays, "images": np.full((6, 8, 8, 1), np.inf, np.float32)}
    np.savez(path, **broken)
    longer = tiny_config(dataset__name=dataset, distillation__iterations=8)
    kept = r"images became infinite .* iteration 6; the checkpoint of iteration 6 is"
    with pytest.raises(UserError, match=kept):
        distill(longer, run, resume=True)
    assert final_state(run)["iteration"] == 6
