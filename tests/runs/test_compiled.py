"""Runs whose steps are compiled: one is killed, and one diverges."""

import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

from dam_tf.base.errors import UserError
from dam_tf.runs.run import distill
from tests.runs.comparing import assert_same_state, final_state, snapshots
from tests.tiny_data import make_data, save_npz, tiny_config

ROOT = pathlib.Path(__file__).resolve().parents[2]

PROGRAM = """
import sys
import conftest  # as many devices as here
from dam_tf.base.errors import UserError
from dam_tf.runs.run import distill
from tests.runs.test_compiled import compiled
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
    while not list(run.glob("checkpoints/*.npz")):
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
    with pytest.raises(UserError, match=r"images became infinite .* iteration 6; .*"):
        distill(longer, run, resume=True)
    assert final_state(run)["iteration"] == 6
