"""Whole runs on tiny data: what they leave behind, and what interrupts them."""

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow_datasets as tfds

from dam_tf.base.errors import UserError
from dam_tf.base.interruption import Interrupted
from dam_tf.base.json_lines import read_json_lines
from dam_tf.base.seeds import drawn_classes
from dam_tf.config.schema import to_dict
from dam_tf.config.settings import make_config, replace, resolve
from dam_tf.data.loading import load_dataset
from dam_tf.runs.run import distill
from dam_tf.runs.state import state_files
from dam_tf.synthetic.distilled_set import DistilledSet
from tests.tiny_data import make_data, save_npz, tiny_config

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHAPE = (6, 8, 8, 1)


LONG = 40  # iterations of the run that interrupted ones are compared with


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return save_npz(tmp_path_factory.mktemp("data") / "tiny.npz", make_data())


@pytest.fixture(scope="module")
def short_run(dataset, tmp_path_factory):
    """A finished run of six iterations, not to be changed."""
    folder = tmp_path_factory.mktemp("short") / "run"
    distill(tiny_config(dataset__name=dataset), folder)
    return folder


@pytest.fixture(scope="module")
def long_run(dataset, tmp_path_factory):
    """A finished run of `LONG` iterations, not to be changed."""
    folder = tmp_path_factory.mktemp("long") / "run"
    distill(long_config(dataset), folder)
    return folder


@pytest.fixture
def run(short_run, tmp_path):
    """A copy of the short run."""
    return pathlib.Path(shutil.copytree(short_run, tmp_path / "run"))


def long_config(dataset, **overrides):
    kept = {"distillation__snapshot_every": 7, "distillation__snapshot_at": [2, 40]}
    return tiny_config(
        dataset__name=dataset, distillation__iterations=LONG, **kept, **overrides
    )


def snapshots(folder):
    paths = (folder / "snapshots").glob("*")
    return {path.name: path.read_bytes() for path in paths}


def final_state(folder):
    path = list(state_files(folder / "checkpoints").values())[-1]
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def assert_same_state(one, two):
    assert one.keys() == two.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, two[name])


def assert_same_run(folder, other):
    one, two = final_state(folder), final_state(other)
    assert_same_state(one, two)
    np.testing.assert_array_equal(
        DistilledSet.load(folder).images, DistilledSet.load(other).images
    )
    without_speed = [
        [{k: v for k, v in line.items() if "per_second" not in k} for line in lines]
        for lines in (
            read_json_lines(folder / "metrics.jsonl"),
            read_json_lines(other / "metrics.jsonl"),
        )
    ]
    assert without_speed[0] == without_speed[1]


class StopAt(keras.callbacks.Callback):
    """Sends a signal to this process once `iteration` is done."""

    def __init__(self, iteration, number=signal.SIGINT):
        super().__init__()
        self.iteration, self.number = iteration, number

    def on_train_batch_end(self, batch, logs=None):
        if batch >= self.iteration:
            self.iteration = np.inf
            os.kill(os.getpid(), self.number)


def test_a_run_leaves_everything_it_promises(short_run):
    distilled = DistilledSet.load(short_run)
    assert distilled.images.shape == (6, 8, 8, 1)
    builder = tfds.builder_from_directory(short_run / "distilled")
    examples = list(builder.as_dataset(split="train").as_numpy_iterator())
    np.testing.assert_array_equal([e["image"] for e in examples], distilled.images)
    assert [e["label"] for e in examples] == [0, 0, 1, 1, 2, 2]
    saved_model = short_run / "preprocessing" / "saved_model" / "saved_model.pb"
    assert saved_model.is_file()
    assert (short_run / "preprocessing" / "arrays.npz").is_file()
    assert (short_run / "preview.png").read_bytes().startswith(b"\x89PNG")
    assert list((short_run / "tensorboard").glob("events*"))
    lines = read_json_lines(short_run / "metrics.jsonl")
    assert [line["iteration"] for line in lines] == [2, 4, 6]
    assert all({"loss", "sam", "mmd"} <= line.keys() for line in lines)
    assert not list(short_run.rglob(".*")), "temporary files are left"


def test_the_settings_of_a_run_repeat_it(short_run, tmp_path):
    written = make_config(short_run / "config.toml")
    assert to_dict(written)["distillation"]["learning_rate"] == 1.0
    distill(written, tmp_path / "again")
    assert_same_run(short_run, tmp_path / "again")


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
    """It is that of the images after every update of the same run without it."""
    config = tiny_config(dataset__name=dataset, distillation__ema_decay=0.75)
    distill(config, tmp_path / "whole")
    with pytest.raises(Interrupted):
        distill(config, tmp_path / "run", callbacks=[StopAt(2)])
    distill(config, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "run")

    every = tiny_config(dataset__name=dataset, distillation__snapshot_every=1)
    distill(every, tmp_path / "every")
    files = sorted((tmp_path / "every" / "snapshots").iterdir())
    first, *rest = [np.load(file)["images"] for file in files]
    for images in rest:
        first = 0.75 * first + 0.25 * images
    found = DistilledSet.load(tmp_path / "whole").images
    np.testing.assert_allclose(found, first, rtol=1e-4, atol=1e-5)


def test_snapshots_are_the_images_of_their_iteration(dataset, short_run, long_run):
    """As many updates without a snapshot end with the very same images."""
    names = [f"iteration-{n:08d}.npz" for n in (0, 2, 7, 14, 21, 28, 35, 40)]
    assert sorted(snapshots(long_run)) == names
    assert not (short_run / "snapshots").exists(), "none are kept unless asked for"
    with np.load(long_run / "snapshots" / names[-1]) as last:
        distilled = DistilledSet.load(long_run)
        np.testing.assert_array_equal(last["images"], distilled.images)
        np.testing.assert_array_equal(last["labels"], distilled.labels)


def test_a_run_of_fewer_iterations_ends_with_the_snapshot(dataset, long_run, tmp_path):
    config = tiny_config(dataset__name=dataset, distillation__iterations=7)
    with np.load(long_run / "snapshots" / "iteration-00000007.npz") as arrays:
        images = distill(config, tmp_path / "run").images
        np.testing.assert_array_equal(arrays["images"], images)


@pytest.mark.slow  # a process of its own
def test_a_killed_run_resumes_exactly(dataset, long_run, tmp_path):
    """Kills a run without warning, at whatever it happens to be doing."""
    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLED, dataset, str(run), str(LONG)],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    while not list(run.glob("checkpoints/*.npz")):
        assert process.poll() is None, "ended before it could be killed"
        time.sleep(0.01)  # leaves it the cores
    process.kill()
    process.wait()
    (run / ".distilled-x1").mkdir()  # as a kill while saving leaves
    (run / "snapshots" / "iteration-00000035.npz").write_bytes(b"cut sho")
    (run / "snapshots" / ".iteration-00000035-x1.npz").touch()
    distill(long_config(dataset), run, resume=True)
    assert not list(run.rglob(".*"))
    assert snapshots(run) == snapshots(long_run)
    one, two = final_state(long_run), final_state(run)
    assert_same_state(one, two)


_KILLED = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2)
from dam_tf.runs.run import distill
from tests.tiny_data import tiny_config
name, folder, iterations = sys.argv[1:]
kept = {"distillation__snapshot_every": 7, "distillation__snapshot_at": [2, 40]}
distill(tiny_config(dataset__name=name, distillation__iterations=iterations, **kept),
        folder)
"""


def test_a_finished_run_can_be_extended(dataset, long_run, run):
    """Metrics that a kill left behind its last checkpoint are written once."""
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"iteration": 8, "loss": 1.0}) + '\n{"iterat')
    distill(long_config(dataset), run, resume=True)
    assert_same_run(long_run, run)


def test_no_iterations_give_the_initial_real_images(dataset, tmp_path):
    config = tiny_config(dataset__name=dataset, distillation__iterations=0)
    distilled = distill(config, tmp_path / "run")
    data = load_dataset(config.dataset)
    for image, label in zip(distilled.images, distilled.labels, strict=True):
        real = data.train.class_images(label) / 255
        assert np.abs(real - image).max(axis=(1, 2, 3)).min() < 1e-5


class TestClassesPerStep:
    def test_a_run_that_was_stopped_equals_one_that_was_not(self, dataset, tmp_path):
        drawn = {"dataset__name": dataset, "distillation__classes_per_step": 2}
        distill(tiny_config(**drawn), tmp_path / "whole")
        distill(tiny_config(**drawn, distillation__iterations=3), tmp_path / "parts")
        distill(tiny_config(**drawn), tmp_path / "parts", resume=True)
        one, two = final_state(tmp_path / "whole"), final_state(tmp_path / "parts")
        assert_same_state(one, two)

    def test_a_thousand_classes_of_which_few_move(self, tmp_path):
        data = make_data((2,) * 1000)
        name = save_npz(tmp_path / "many.npz", data)
        config = tiny_config(
            dataset__name=name,
            distillation__classes_per_step=3,
            distillation__iterations=4,
            distillation__checkpoint_every=100,
            distillation__ipc=1,
        )
        distilled = distill(config, tmp_path / "run")
        drawn = np.unique([drawn_classes(0, i, 1000, 3) for i in range(4)])
        start = distill(replace(config, distillation__iterations=0), tmp_path / "start")
        moved = np.any(distilled.images != start.images, axis=(1, 2, 3))
        np.testing.assert_array_equal(np.flatnonzero(moved), drawn)

    def test_more_than_there_are_is_refused(self, dataset, run):
        config = tiny_config(dataset__name=dataset, distillation__classes_per_step=4)
        with pytest.raises(UserError, match=r"4 is more than the 3 classes of .*tiny"):
            distill(config, run, overwrite=True)
        assert final_state(run)["iteration"] == 6

    def test_it_cannot_change_on_the_way(self, dataset, run):
        config = tiny_config(dataset__name=dataset, distillation__classes_per_step=2)
        with pytest.raises(UserError, match=r"classes_per_step = 2.*with None"):
            distill(config, run, resume=True)


class TestOutputFolder:
    def test_another_run_is_refused(self, dataset, short_run):
        with pytest.raises(
            UserError, match=r"holds another run.*--resume.*--overwrite"
        ):
            distill(tiny_config(dataset__name=dataset), short_run)
        assert final_state(short_run)["iteration"] == 6

    def test_it_is_replaced_on_demand(self, dataset, short_run, run, tmp_path):
        other = tiny_config(dataset__name=dataset, distillation__seed=5)
        for name in ("snapshots/iteration-00000002.npz", "cost.jsonl", "report.html"):
            (run / name).parent.mkdir(exist_ok=True)
            (run / name).write_text('{"first": "of the old run"}')
        distill(other, run, overwrite=True)
        distill(other, tmp_path / "fresh")
        assert_same_run(run, tmp_path / "fresh")
        assert not (run / "snapshots").exists() and not (run / "report.html").exists()
        assert "old run" not in (run / "cost.jsonl").read_text()
        gap = final_state(run)["images"] - final_state(short_run)["images"]
        assert np.abs(gap).max() > 0.01, "another seed gives another set"

    def test_resuming_with_other_settings_is_refused(self, dataset, short_run):
        other = tiny_config(dataset__name=dataset, method__power=1.0)
        with pytest.raises(UserError, match=r"method\.power = 1\.0.*4\.0"):
            distill(other, short_run, resume=True)

    def test_foreign_files_are_never_touched(self, dataset, tmp_path):
        (tmp_path / "letter.txt").write_text("dear")
        with pytest.raises(UserError, match="not of a run"):
            distill(tiny_config(dataset__name=dataset), tmp_path, overwrite=True)
        assert (tmp_path / "letter.txt").read_text() == "dear"

    def test_bad_data_does_not_cost_the_old_run(self, dataset, short_run):
        bad = tiny_config(dataset__name=dataset, distillation__ipc=10)
        with pytest.raises(UserError, match="ipc 10 is larger than class '0'"):
            distill(bad, short_run, overwrite=True)
        assert final_state(short_run)["iteration"] == 6

    def test_a_damaged_preprocessing_is_named(self, dataset, run):
        (run / "preprocessing" / "arrays.npz").write_bytes(b"junk")
        with pytest.raises(UserError, match="preprocessing"):
            distill(long_config(dataset), run, resume=True)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(dataset, run):
    path = run / "checkpoints" / "iteration-00000006.npz"
    with np.load(path) as arrays:
        broken = {**arrays, "images": np.full(SHAPE, np.inf, np.float32)}
    np.savez(path, **broken)
    with pytest.raises(UserError, match=r"iteration 7; .*iteration 6"):
        distill(long_config(dataset), run, resume=True)
    assert final_state(run)["iteration"] == 6


def test_what_a_run_says_and_tells_to_keras_callbacks(dataset, tmp_path, caplog):
    """A first --resume starts a run, and small classes are said once."""
    config = tiny_config(dataset__name=dataset, distillation__batch_real=12)
    logger = keras.callbacks.CSVLogger(str(tmp_path / "log.csv"))
    with caplog.at_level("INFO", logger="dam_tf"):
        distill(config, tmp_path / "run", resume=True, callbacks=[logger])
    assert caplog.text.count("with replacement") == 1
    assert "1 of 3 classes" in caplog.text
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "2", "4", "6"]


@pytest.mark.parametrize(
    ("height", "depth", "balance"),
    [(28, 3, 0.01), (32, 3, 0.01), (33, 4, 0.02), (64, 4, 0.02), (128, 5, 0.02)],
)
def test_settings_follow_the_resolution(height, depth, balance):
    config = resolve(make_config(), (height, height, 3))
    assert config.network.depth == depth
    assert config.method.task_balance == balance


def test_settings_that_were_given_stay():
    given = make_config(
        overrides={"network.depth": 2, "distillation.learning_rate": 0.1}
    )
    config = resolve(given, (64, 64, 3))
    assert config.network.depth == 2
    assert config.distillation.learning_rate == 0.1


def test_images_on_disk_give_the_same_run_and_damage_is_named(dataset, run, tmp_path):
    data_dir = str(tmp_path / "data")
    config = tiny_config(
        dataset__name=dataset, dataset__cache="disk", dataset__data_dir=data_dir
    )
    distilled = distill(config, tmp_path / "disk")
    np.testing.assert_array_equal(distilled.images, DistilledSet.load(run).images)
    (file,) = tmp_path.rglob("train.npy")
    content = file.read_bytes()
    file.write_bytes(content[:128] + bytes(len(content) - 128))
    # Nothing but batches is read of the cache by now.
    config = dataclasses.replace(
        config,
        distillation=dataclasses.replace(config.distillation, iterations=8),
    )
    with pytest.raises(UserError, match="is damaged: train: an image does not match"):
        distill(config, tmp_path / "disk", resume=True)
    again = distill(config, tmp_path / "disk", resume=True)
    expected = distill(
        tiny_config(dataset__name=dataset, distillation__iterations=8),
        run,
        resume=True,
    )
    np.testing.assert_array_equal(again.images, expected.images)
