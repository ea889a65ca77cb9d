"""Two processes, killed and stopped, against one. Each test starts TensorFlow anew."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from dam_tf.base.json_lines import read_json_lines
from dam_tf.config.settings import read_config
from dam_tf.evaluation.evaluate import evaluate
from dam_tf.runs.run import distill
from dam_tf.synthetic.distilled_set import DistilledSet
from tests.runs.comparing import assert_nearly_same_run, final_state
from tests.tiny_data import make_data, save_npz

ROOT = pathlib.Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Five classes, which two devices cannot share evenly."""
    data = make_data((9, 12, 15, 6, 8))
    return save_npz(tmp_path_factory.mktemp("data") / "tiny.npz", data)


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
    "--set=evaluation.networks_at_once=1",
]


LOST = "worker 0 of 2: another worker has stopped"


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

    config = read_config(run / "config.toml")
    distilled = distill(config, tmp_path / "one")
    assert_nearly_same_run(run, tmp_path / "one")
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


def test_a_worker_that_waits_for_one_that_is_killed(tmp_path):
    """What it says of that is the last that it says."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})"
    processes = start_workers(
        ["-c", code + WAIT_FOR_ANOTHER], [tmp_path / "0", tmp_path / "1"]
    )
    (printed, said), (other, _) = [one.communicate() for one in processes]
    assert printed == other == "[[0, 7], [1, 7]]\n"
    assert said.splitlines()[-1].startswith(LOST), said


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
