"""Whole runs of programs, as long as their share of the time allows."""

import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
from _accelerator_report import Budget, Results
from _accelerator_steps import HERE
from _contender import Contender, ContenderError

LEAST = 20  # iterations that are worth a run
SURE = 0.9  # of the time that is left goes into the plan
EPOCHS = 20  # that are timed


def whole_run(
    program: pathlib.Path,
    data: pathlib.Path,
    target: pathlib.Path,
    results: Results,
    budget: Budget,
    share: float,
    tiny: bool,
) -> None:
    """Runs a program for some `share` seconds, and adds a row.

    It is compiled and timed first, which says how many iterations fit; then its own
    `run_program.py` distils, trains and tests, as it does for users.

    Args:
        program: Its folder.
        data: The npz file with all images.
        target: Where the distilled set is put, without its preprocessing.
        results: Takes the row.
        budget: Ends a run that takes longer than was planned, when all time is gone.
        share: Seconds, of which compiling takes its part.
        tiny: As many iterations as the program has, of which there are few.
    """
    begun, about = time.monotonic(), _about(program)
    name, most = program.name, about["iterations"]
    if share <= 0:
        results.leave_out(name, "no time is left")
        return
    try:
        spent = _timed(program, about, budget.left)
    except ContenderError as error:
        results.add("run", program=name, failed=str(error))
        return
    left = share - (time.monotonic() - begun) - spent["start"] - spent["evaluation"]
    iterations = min(most, int(SURE * left / spent["iteration"]))
    if tiny:
        iterations = most
    elif iterations < min(LEAST, most):
        results.leave_out(
            name,
            f"{share:.0f} s do not suffice: to compile and start takes "
            f"{time.monotonic() - begun + spent['start']:.0f} s, to train and test "
            f"networks {spent['evaluation']:.0f} s",
        )
        return
    with tempfile.TemporaryDirectory() as room:
        output = pathlib.Path(room) / "out"
        command = [sys.executable, program / "run_program.py", f"--data={data}"]
        command += [f"--output_dir={output}", f"--iterations={iterations}"]
        # Another version of Pillow may decode a picture to other pixels.
        command += ["--any_data", f"--checkpoint_every={iterations}"]
        _, failed = _run(command, max(budget.left, 1))
        if failed is None:
            found = json.loads((output / "results.json").read_text(encoding="utf-8"))
            _keep(output / "distilled.npz", target)
    if failed is not None:
        results.add("run", program=name, failed=failed)
        return
    results.add(
        "run",
        program=name,
        iterations=iterations,
        all=most,
        seconds_per_step=found["seconds_per_step"]["median"],
        peak=found["peak_bytes"],
        accuracies=found["accuracies"],
        epochs=about["epochs"],
        seconds=time.monotonic() - begun,
        details={k: v for k, v in found.items() if k not in ("program", "accuracies")},
    )


def self_test(program: pathlib.Path, results: Results, budget: Budget) -> None:
    """Holds a program's results against those of the machine that compiled it."""
    begun = time.monotonic()
    command = [sys.executable, program / "run_program.py", "--self_test"]
    said, failed = _run(command, 0.3 * budget.left)
    seconds = time.monotonic() - begun
    verdict = said[-1] if said else failed
    results.add(
        "self_test", program=program.name, seconds=seconds, verdict=verdict, lines=said
    )


def _about(program: pathlib.Path) -> dict:
    return json.loads((program / "manifest.json").read_text(encoding="utf-8"))


def _keep(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copies a set without its preprocessing, which is large and that of the data."""
    with np.load(source, allow_pickle=False) as arrays:
        kept = {k: arrays[k] for k in arrays.files if "preprocessing_" not in k}
    np.savez(target, pixel_range=np.array([0.0, 1.0]), **kept)


def _timed(program: pathlib.Path, about: dict, limit: float) -> dict[str, float]:
    """Returns seconds: to start, of an iteration, and of a whole evaluation."""
    begun = time.monotonic()
    told = {"program": str(program)}
    contender = Contender(sys.executable, HERE / "jax_step.py", told, limit=limit)
    try:
        contender.ask("versions")
        start = time.monotonic() - begun
        contender.ask("step")  # compiles
        few = contender.ask("step", steps=3)["seconds"]
        steps = max(1, min(about["iterations_per_call"], int(1 / few)))
        iteration = contender.ask("step", steps=steps)["seconds"]
        contender.ask("evaluate", first=0, last=1)  # compiles
        epochs = min(1 + EPOCHS, about["epochs"])
        seconds = contender.ask("evaluate", first=1, last=epochs)["seconds"]
    finally:
        contender.close()
    each = seconds / max(1, epochs - 1)
    # Starting again: imports and the data, twice as long as imports alone.
    return {
        "start": 2 * start,
        "iteration": iteration,
        "evaluation": 1.2 * each * about["epochs"],
    }


def _run(command: list, limit: float) -> tuple[list[str], str | None]:
    """Runs a command; returns its lines, and why it failed, if it did."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    try:
        done = subprocess.run(command, timeout=limit, check=False, **pipes)
    except subprocess.TimeoutExpired:
        return [], f"stopped after {limit:.0f} s, when its time was over"
    lines, errors = (
        [line.strip() for line in text.splitlines() if line.strip()]
        for text in (done.stdout, done.stderr)
    )
    print("\n".join(lines), flush=True)
    if done.returncode:
        return lines, [f"exit status {done.returncode}", *errors][-1]
    return lines, None
