"""A run that XLA compiles, killed without warning and resumed."""

import pathlib
import subprocess
import sys
import time

import pytest

from dam_tf.runs.run import distill
from tests.runs.comparing import assert_same_state, final_state, snapshots
from tests.tiny_data import make_data, save_npz, tiny_config

ROOT = pathlib.Path(__file__).resolve().parents[2]

PROGRAM = """
import sys
import conftest  # as many devices as here
from dam_tf.base.errors import UserError
from dam_tf.runs.run import distill
from tests.runs.test_killed import compiled
distill(compiled(sys.argv[1]), sys.argv[2])
"""


def compiled(dataset):
    """Settings of a run of 200 iterations, with snapshots."""
    return tiny_config(
        dataset__name=dataset,
        distillation__jit="xla",
        distillation__iterations=200,
        distillation__snapshot_every=66,
    )


@pytest.mark.slow
def test_a_killed_run_resumes_exactly(tmp_path):
    """Kills a run without warning, at whatever it happens to be doing."""
    dataset = save_npz(tmp_path / "tiny.npz", make_data())
    whole, run = tmp_path / "whole", tmp_path / "run"
    distill(compiled(dataset), whole)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, dataset, str(run)],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    while not list(run.glob("checkpoints/iteration-*.npz")):
        assert process.poll() is None, "ended before it could be killed"
        time.sleep(0.01)  # leaves it the cores
    process.kill()
    process.wait()
    (run / ".distilled-x1").mkdir()  # as a kill while saving leaves
    (run / "snapshots" / "iteration-00000198.npz").write_bytes(b"cut sho")
    (run / "snapshots" / ".iteration-00000198-x1.npz").touch()
    distill(compiled(dataset), run, resume=True)
    assert not list(run.rglob(".*"))
    assert snapshots(run) == snapshots(whole)
    one, two = final_state(whole), final_state(run)
    assert_same_state(one, two)
