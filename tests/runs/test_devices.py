"""Two devices, then two processes, and what is computed on them, against one."""

import dataclasses
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.base.devices import Workers, create_strategy, split
from dam_tf.base.errors import UserError, WorkerLost
from dam_tf.base.json_lines import read_json_lines
from dam_tf.config.settings import make_config, resolve
from dam_tf.coresets.select import random_real_set
from dam_tf.evaluation.evaluate import evaluate
from dam_tf.evaluation.scheduling import train_and_test
from dam_tf.runs.run import distill
from dam_tf.runs.state import state_files
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.training.trainer import trainer_of
from tests.tiny_data import make_data, save_npz, tiny_config

GROUP_GRADIENT = "dam_tf.methods.group_gradient"

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHAPE = (5, 2, 8, 8, 1)


@pytest.fixture(scope="module")
def strategy():
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    return tf.distribute.MirroredStrategy(devices[:2])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Five classes, which two devices cannot share evenly."""
    data = make_data((9, 12, 15, 6, 8))
    return save_npz(tmp_path_factory.mktemp("data") / "tiny.npz", data)


def calm_config(dataset, **overrides):
    """Images stay near 1, where a rounding error is far below 1e-5."""
    rate = {"distillation__learning_rate": 0.1, "distillation__ema_decay": 0.5}
    return tiny_config(dataset__name=dataset, **rate, **overrides)


def final_state(folder):
    path = list(state_files(folder / "checkpoints").values())[-1]
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def assert_same_run(folder, other):
    one, two = final_state(folder), final_state(other)
    assert one["iteration"] == two["iteration"] and "images/average" in one
    for name, values in one.items():
        np.testing.assert_allclose(values, two[name], rtol=0, atol=1e-5)
    lines = [read_json_lines(f / "metrics.jsonl") for f in (folder, other)]
    assert [x["iteration"] for x in lines[0]] == [x["iteration"] for x in lines[1]]
    np.testing.assert_allclose(
        [x["loss"] for x in lines[0]], [x["loss"] for x in lines[1]], rtol=1e-4
    )


class TestMirrored:
    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {
                "distillation__classes_per_step": 1,
                "dataset__preprocessing": "zca",
                "network__norm": "layer",
            },
        ],
        ids=["all classes", "fewer than devices"],
    )
    def test_a_run_equals_that_of_one_device(
        self, strategy, dataset, tmp_path, monkeypatch, changes
    ):
        # At most two classes in a group, so that shares have several and have one.
        monkeypatch.setattr(f"{GROUP_GRADIENT}._SYNTHETIC_PIXELS", 2 * 2 * 64)
        config = calm_config(dataset, **changes)
        one = distill(config, tmp_path / "one")
        two = distill(config, tmp_path / "two", strategy=strategy)
        assert_same_run(tmp_path / "one", tmp_path / "two")
        np.testing.assert_allclose(one.images, two.images, rtol=0, atol=1e-5)
        assert np.abs(final_state(tmp_path / "two")["images/momentum"]).max() > 1e-3

    def test_a_run_goes_on_under_another_strategy(self, strategy, dataset, tmp_path):
        drawn = {"distillation__classes_per_step": 4}
        whole = calm_config(dataset, **drawn)
        part = calm_config(dataset, **drawn, distillation__iterations=3)
        distill(whole, tmp_path / "whole")
        distill(part, tmp_path / "parts", strategy=strategy)
        distill(whole, tmp_path / "parts", resume=True)
        one, two = final_state(tmp_path / "whole"), final_state(tmp_path / "parts")
        for name in one:
            np.testing.assert_allclose(one[name], two[name], rtol=0, atol=1e-5)

    def test_batch_norm_is_refused_and_costs_nothing(self, strategy, dataset, tmp_path):
        config = calm_config(dataset, distillation__iterations=0)
        distill(config, tmp_path / "run")
        batch = calm_config(dataset, network__norm="batch")
        with pytest.raises(UserError, match=r"'batch'.*--strategy=one_device"):
            distill(batch, tmp_path / "run", overwrite=True, strategy=strategy)
        assert final_state(tmp_path / "run")["iteration"] == 0

    @pytest.mark.parametrize(("models", "together"), [(1, None), (3, 1), (5, 2)])
    def test_networks_are_those_of_one_device(
        self, strategy, dataset, models, together
    ):
        config = tiny_config(
            dataset__name=dataset,
            evaluation__models=models,
            evaluation__together=together,
            evaluation__epochs=20,
        )
        data = make_data((9, 12, 15, 6, 8))
        chosen = random_real_set(data, config)
        config = resolve(config, data.image_shape)
        data = _with_test(data)
        one = evaluate(chosen, config, data)
        two = evaluate(chosen, config, data, strategy)
        assert len(two.accuracies) == models
        assert two.accuracies == one.accuracies
        np.testing.assert_array_equal(two.confusion, one.confusion)
        assert len(set(one.accuracies)) > 1 or models == 1

    def test_ctrl_c_stops_the_networks_of_all_devices(self, strategy, dataset):
        config = tiny_config(dataset__name=dataset, evaluation__epochs=100)
        data = make_data((9, 12, 15, 6, 8))
        trainer = trainer_of(random_real_set(data, config), config)
        calls, told = [], []

        def train(states, *_):
            calls.append(1)
            time.sleep(0.05)
            return states

        def interrupt(*_):
            told.append(1)
            if len(told) == 2:
                raise KeyboardInterrupt

        trainer.train = train
        before = threading.active_count()
        with pytest.raises(KeyboardInterrupt):
            train_and_test(trainer, data.test, config.evaluation, interrupt, strategy)
        while threading.active_count() > before:
            time.sleep(0.01)
        assert len(calls) < 20, "one of two networks went on to its end"


def _with_test(data):
    """The training images as test images, too: enough to tell networks apart."""
    return dataclasses.replace(data, test=data.train)


@pytest.mark.parametrize(("count", "parts"), [(5, 1), (5, 2), (6, 3), (2, 4), (7, 5)])
def test_shares_are_even_in_order_and_complete(count, parts):
    shares = split(count, parts)
    assert [place for share in shares for place in share] == list(range(count))
    assert len(shares) == parts
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


class TestStrategies:
    def test_without_gpus_it_is_one_device(self):
        assert create_strategy("auto").num_replicas_in_sync == 1

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("miror",), "did you mean 'mirrored'"),
            (("mirrored",), "needs GPUs.*--virtual_devices=2"),
            (("multiworker",), "needs the environment variable TF_CONFIG"),
            (("multiworker", 2, True), "start more of them"),
        ],
    )
    def test_what_cannot_be_had_is_said(self, arguments, words):
        with pytest.raises(UserError, match=words):
            create_strategy(*arguments)


class TestWorkersAsOneSeesThem:
    def test_work_is_spread_over_devices(self, strategy):
        devices = {}

        def work(item):
            devices[item] = tf.constant(item).device[-5:]
            return item * item

        found = Workers(strategy).spread(work, [3, 4, 5])
        assert found == {0: 9, 1: 16, 2: 25}
        assert devices == {3: "CPU:0", 4: "CPU:1", 5: "CPU:0"}

    def test_an_error_in_the_work_is_raised(self, strategy):
        with pytest.raises(ZeroDivisionError):
            Workers(strategy).spread(lambda item: 1 // item, [1, 0])

    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (tf.errors.UnavailableError(None, None, "Socket closed"), WorkerLost),
            (
                tf.errors.InternalError(None, None, "Collective ops is aborted by: x"),
                WorkerLost,
            ),
            (
                tf.errors.ResourceExhaustedError(None, None, "out of memory"),
                tf.errors.ResourceExhaustedError,
            ),
        ],
    )
    def test_which_errors_mean_that_one_is_gone(self, error, expected):
        workers = Workers()
        with pytest.raises(type(error)), workers.watched():
            raise error
        workers.count = 2
        with pytest.raises(expected), workers.watched():
            raise error


def start_workers(command, folders):
    """Two processes of one cluster; each runs `command` in a folder of its own."""
    sockets = [socket.socket() for _ in range(2)]
    for one in sockets:
        one.bind(("localhost", 0))
    addresses = [f"localhost:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    processes = []
    for index, folder in enumerate(folders):
        task = {"type": "worker", "index": index}
        tf_config = {"cluster": {"worker": addresses}, "task": task}
        folder.mkdir(exist_ok=True)
        processes.append(
            subprocess.Popen(
                [sys.executable, *command],
                cwd=folder,
                env={**os.environ, "TF_CONFIG": json.dumps(tf_config)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return processes


class Job:
    """Two processes of tools/distill.py, each in a folder of its own."""

    def __init__(self, folder, dataset, *arguments):
        self.processes = start_workers(
            [
                str(ROOT / "tools" / "distill.py"),
                f"--dataset={dataset}",
                "--output_dir=run",
                *JOB,
                *arguments,
            ],
            [folder / "0", folder / "1"],
        )

    def wait_for_checkpoint(self, folder, after=0):
        kept = "checkpoints/iteration-*.npz"
        while not any(int(path.stem[-8:]) > after for path in folder.glob(kept)):
            for process in self.processes:
                assert process.poll() is None, process.communicate()
            time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in self.processes:
            process.kill()
            process.communicate()

    def ends(self):
        """What each said on standard output and error, and its exit status."""
        return [(*one.communicate(), one.returncode) for one in self.processes]


JOB = [
    "--ipc=2",
    "--iterations=40",
    "--batch_real=4",
    "--set=distillation.jit=none",
    "--classes_per_step=3",
    "--checkpoint_every=1",
    "--models=3",
    "--epochs=10",
    "--set=network.width=8",
    "--set=network.depth=2",
    "--set=distillation.log_every=1",  # a line does not span a stop
    "--set=distillation.learning_rate=0.02",
    "--set=distillation.ema_decay=0.5",
    "--set=evaluation.together=1",
]


LOST = "worker 0 of 2: another worker has stopped"


@pytest.mark.slow
def test_two_workers_killed_and_stopped_and_resumed_equal_one(dataset, tmp_path):
    """What they leave in the end is what one process computes at a stretch."""
    run = tmp_path / "0" / "run"
    with Job(tmp_path, dataset) as job:
        job.wait_for_checkpoint(run)
        job.processes[1].kill()
        (_, said, status), _ = job.ends()
    assert status == 3
    last = said.splitlines()[-1]
    assert last.startswith(f"distill.py: {LOST}"), said
    assert "Traceback" not in said and "E0000" not in said

    with Job(tmp_path, dataset, "--resume") as job:
        job.wait_for_checkpoint(run, final_state(run)["iteration"])
        job.processes[1].send_signal(signal.SIGTERM)
        ends = job.ends()
    iteration = final_state(run)["iteration"]
    assert iteration < 40
    for _, said, status in ends:
        assert status == 128 + signal.SIGTERM, said
        assert f"stopped after iteration {iteration} of 40" in said.splitlines()[-1]

    with Job(tmp_path, dataset, "--resume", "--evaluate") as job:
        (printed, said, status), (printed_by_other, said_by_other, other) = job.ends()
    assert status == other == 0, said + said_by_other
    assert printed.splitlines()[-1].startswith("Test accuracy: ")
    assert "accuracy" not in printed_by_other
    for word in ("Warning", "WARNING", "Traceback", "I0000", "E0000"):
        assert word not in said + said_by_other
    assert not list((tmp_path / "1").iterdir()), "only the chief writes"

    config = make_config(run / "config.toml")
    distilled = distill(config, tmp_path / "one")
    assert_same_run(run, tmp_path / "one")
    (line,) = read_json_lines(run / "evaluation.jsonl")
    # Of this very set, as a last bit more or less in the images moves an answer.
    assert evaluate(run, config).accuracies == pytest.approx(line["accuracies"])
    np.testing.assert_allclose(
        DistilledSet.load(run).images, distilled.images, rtol=0, atol=1e-5
    )


WAIT_FOR_ANOTHER = """
import gc, os, signal, sys, time
import numpy as np
from dam_tf.base.devices import Workers, create_strategy
from dam_tf.base.errors import WorkerLost

workers = Workers(create_strategy("multiworker", in_cluster=True))
for shape in ([2, 3], [4], [], [5, 1]):
    mine = np.full(shape, 1.5 + workers.index, np.float32)
    np.testing.assert_array_equal(workers.sum(mine), np.full(shape, 4, np.float32))
print(workers.all_of([workers.index, 7]).tolist(), flush=True)
if workers.index == 1:
    time.sleep(2)
    os.kill(os.getpid(), signal.SIGKILL)
try:
    with workers.watched():
        workers.all_of([0])
except WorkerLost as error:
    print(error, file=sys.stderr)
kept = gc.get_objects()  # until the end, and there the last made goes first
"""


@pytest.mark.slow
def test_a_worker_that_waits_for_one_that_is_killed(tmp_path):
    """What it says of that is the last that it says."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})"
    processes = start_workers(
        ["-c", code + WAIT_FOR_ANOTHER], [tmp_path / "0", tmp_path / "1"]
    )
    (printed, said), (other, _) = [one.communicate() for one in processes]
    assert printed == other == "[[0, 7], [1, 7]]\n"
    assert said.splitlines()[-1].startswith(LOST), said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tf_config", "words"),
    [
        ("{", "TF_CONFIG is not JSON"),
        ("[]", "TF_CONFIG must be like"),
        (
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
            "with a task of the cluster",
        ),
    ],
)
def test_a_bad_tf_config_is_said_in_one_line(dataset, tmp_path, tf_config, words):
    found = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "distill.py"), f"--dataset={dataset}"],
        cwd=tmp_path,
        env={**os.environ, "TF_CONFIG": tf_config},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 2
    (line,) = found.stderr.splitlines()
    assert words in line
