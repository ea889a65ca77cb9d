"""Runs that are stopped go on as if nobody had; what cannot be used is one line."""

import hashlib
import json
import random
import resource
import signal
import time

import numpy as np
import pytest

from tests.jax.running import RECORDED, arrays

DATA = f"--data={RECORDED / 'toy.npz'}"
LONG = ("--iterations=3000", "--checkpoint_every=7", "--no_evaluate")


def same_run(one, other) -> bool:
    """Whether two folders hold the same results, to the last bit."""
    assert (one / "losses.csv").read_bytes() == (other / "losses.csv").read_bytes()
    pairs = [(one / "distilled.npz", other / "distilled.npz")]
    checkpoints = [sorted((x / "checkpoints").iterdir()) for x in (one, other)]
    assert [x.name for x in checkpoints[0]] == [x.name for x in checkpoints[1]]
    for first, second in [*pairs, *zip(*checkpoints, strict=True)]:
        first, second = arrays(first), arrays(second)
        assert first.keys() == second.keys()
        for name, values in first.items():
            np.testing.assert_array_equal(values, second[name], err_msg=name)
    return True


def test_a_resumed_run_is_the_uninterrupted_one(runs):
    whole = runs.distill("whole")
    runs.distill("parts", "--iterations=13", "--no_evaluate")
    parts = runs.distill("parts", "--resume")
    assert same_run(whole, parts)
    results = [json.loads((x / "results.json").read_text()) for x in (whole, parts)]
    assert results[0]["accuracies"] == results[1]["accuracies"]
    assert [x.name for x in sorted((whole / "checkpoints").iterdir())] == [
        "iteration-00000030.npz",
        "iteration-00000040.npz",
    ]


def test_a_killed_run_goes_on(runs):
    whole = runs.distill("whole", *LONG)
    for _ in range(2):
        process = runs.start(DATA, "--output_dir=killed", "--resume", *LONG)
        checkpoints, before = runs.folder / "killed" / "checkpoints", set()
        while not process.poll() and len(before) < 2:
            before |= set(checkpoints.glob("iteration-*.npz"))
        time.sleep(random.uniform(0, 0.2))
        process.kill()
        process.communicate()
    assert not (runs.folder / "killed" / "distilled.npz").exists()
    assert same_run(whole, runs.distill("killed", "--resume", *LONG))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_ends(runs, number):
    words = (DATA, "--output_dir=out", "--checkpoint_every=100000000")
    process = runs.start(*words, "--iterations=1000000000")
    while "Compiled distill" not in process.stdout.readline():
        assert process.poll() is None
    time.sleep(0.5)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    line = errors.splitlines()[-1]
    assert "--resume goes on" in line and f"stopped by {number.name}; after" in line
    (checkpoint,) = (runs.folder / "out" / "checkpoints").iterdir()
    at = int(arrays(checkpoint)["iteration"])
    assert at > 0 and f"iteration {at:,} of" in line
    status, output, _ = runs.run(*words, "--resume", f"--iterations={at + 3}")
    assert status == 0 and f"Going on from iteration {at:,}." in output


def test_a_damaged_checkpoint_is_passed_over(runs):
    whole, other = runs.distill("whole"), runs.distill("other")
    newest = other / "checkpoints" / "iteration-00000040.npz"
    newest.write_bytes(newest.read_bytes()[:-100])
    status, output, _ = runs.run(DATA, "--output_dir=other", "--resume")
    assert status == 0 and "iteration-00000040.npz is passed over" in output
    assert "Going on from iteration 30." in output
    assert same_run(whole, other)


def test_a_run_of_another_program_is_not_resumed(runs):
    runs.distill("out", "--iterations=5", "--no_evaluate")
    words = (DATA, "--output_dir=out", "--resume")
    assert "with seed 4: it was begun with 3" in runs.refused(*words, "--seed=4")
    program = runs.copy()
    manifest = json.loads((program / "manifest.json").read_text())
    (program / "manifest.json").write_text(json.dumps({**manifest, "ipc": 7}))
    line = runs.refused(*words, program=program)
    assert "with ipc 7: it was begun with 2" in line
    assert "holds another run" in runs.refused(DATA, "--output_dir=out")
    again = runs.distill("out", "--overwrite", "--iterations=4", "--no_evaluate")
    assert [x.name for x in (again / "checkpoints").iterdir()] == [
        "iteration-00000004.npz"
    ]


def spoil(program, file, **changes):
    """Writes arrays anew, as if they had been compiled so."""
    np.savez(program / file, **{**arrays(program / file), **changes})
    manifest = json.loads((program / "manifest.json").read_text())
    digest = hashlib.sha256((program / file).read_bytes()).hexdigest()
    manifest["files"][file] = digest
    (program / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("constants.npz", {"mean": np.float32([0.251])}),
        ("self_test.npz", {"init/images/momentum": np.full(256, np.float32(1e-3))}),
    ],
)
def test_the_self_test_finds_another_value(runs, file, change):
    program = runs.copy()
    spoil(program, file, **change)
    status, output, errors = runs.run("--self_test", program=program)
    assert status == 1 and "The self-test FAILED" in output, errors


def test_a_loss_that_is_no_number_ends_the_run(runs):
    out = runs.distill("out", "--iterations=10", "--no_evaluate")
    path = out / "checkpoints" / "iteration-00000010.npz"
    state = arrays(path)
    state["images"] *= np.float32(1e30)
    np.savez(path, **state)
    line = runs.refused(DATA, "--output_dir=out", "--resume")
    assert "loss became inf at iteration 11; the checkpoint of iteration 10 is" in line
    assert path.exists()


def test_without_the_device_it_ends(runs):
    line = runs.refused(DATA, "--output_dir=out", "--device=tpu")
    assert "jax has no device tpu here" in line


def test_a_full_disk_is_one_line(runs):
    def limit():  # writing beyond it fails as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    runs.environment.pop("JAX_COMPILATION_CACHE_DIR")
    line = runs.refused(DATA, "--output_dir=out", preexec_fn=limit)
    assert "iteration-00000010.npz: File too large; what was written" in line
    assert list((runs.folder / "out" / "checkpoints").iterdir()) == []


def test_a_function_that_jax_cannot_compile_is_named(runs):
    program = runs.copy()
    path = program / "distill.stablehlo"
    path.write_bytes(path.read_bytes()[:5000])
    manifest = json.loads((program / "manifest.json").read_text())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest["files"]["distill.stablehlo"] = digest
    (program / "manifest.json").write_text(json.dumps(manifest))
    status, _, errors = runs.run("--bench=5", program=program)
    *_, line = errors.splitlines()  # above it is what MLIR itself says
    assert status == 2 and "Traceback" not in errors
    assert "cannot compile distill.stablehlo" in line


def test_steps_are_timed_without_data(runs):
    status, output, _ = runs.run("--bench=60", "--json=speed.jsonl")
    assert status == 0 and "random images are taken" in output
    record = json.loads((runs.folder / "speed.jsonl").read_text())
    assert record["seconds_per_step"]["calls"] > 5 and record["iterations"] == 60
    assert not (runs.folder / "out").exists()
