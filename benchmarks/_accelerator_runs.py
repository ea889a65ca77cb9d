"""Whole runs of programs, as long as their share of the time allows."""

import concurrent.futures
import json
import os
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
CORES = len(os.sched_getaffinity(0))


def whole_runs(
    programs: list[pathlib.Path],
    data: pathlib.Path,
    out: pathlib.Path,
    results: Results,
    budget: Budget,
    part: float,
    tiny: bool,
) -> None:
    """Runs programs one after the other, and adds a row for each.

    All are compiled first, several at a time; then each is timed, which says how many
    iterations fit into its share, and its own `run_program.py` distils, trains and
    tests, as it does for users.

    Args:
        programs: Their folders.
        data: The npz file with all images.
        out: Gets the distilled sets, without their preprocessing.
        results: Takes the rows.
        budget: Ends a run that takes longer than was planned, when all time is gone.
        part: Of the time that is left, how much may be spent.
        tiny: As many iterations as the programs have, of which there are few.
    """
    spare = (1 - part) * budget.left
    with concurrent.futures.ThreadPoolExecutor(max(1, CORES // 4)) as pool:
        started = list(pool.map(lambda one: _Started(one, budget.left), programs))
    for place, one in enumerate(started):
        share = (budget.left - spare) / (len(started) - place)
        target = out / f"{one.program.name}.npz"
        try:
            _whole_run(one, data, target, results, budget, share, tiny)
        except ContenderError as error:
            results.add("run", program=one.program.name, failed=str(error))


class _Started:
    """A program in a process of its own, compiled.

    Args:
        program: Its folder.
        limit: Seconds after which the process is ended.

    Attributes:
        about: Its manifest.
        start: Seconds that starting took, imports above all.
    """

    def __init__(self, program: pathlib.Path, limit: float):
        self.program, self._failed = program, None
        text = (program / "manifest.json").read_text(encoding="utf-8")
        self.about = json.loads(text)
        begun, told = time.monotonic(), {"program": str(program)}
        script, limit = HERE / "jax_step.py", max(limit, 0)
        self._contender = Contender(sys.executable, script, told, limit=limit)
        try:
            self._contender.ask("versions")
            self.start = time.monotonic() - begun
            self._contender.ask("step")
            self._contender.ask("evaluate", first=0, last=1)
        except ContenderError as error:
            self._failed = error

    def seconds(self) -> tuple[float, float]:
        """Returns seconds of an iteration and of an epoch; ends the process.

        Raises:
            ContenderError: the program failed.
        """
        try:
            if self._failed:
                raise self._failed
            few = self._contender.ask("step", steps=3)["seconds"]
            steps = max(1, int(1 / few))
            iteration = self._contender.ask("step", steps=steps)["seconds"]
            last = min(1 + EPOCHS, self.about["epochs"])
            answer = self._contender.ask("evaluate", first=1, last=last)
        finally:
            self._contender.close()
        return iteration, answer["seconds"] / max(1, last - 1)


def _whole_run(started, data, target, results, budget, share, tiny) -> None:
    begun, about, program = time.monotonic(), started.about, started.program
    name, most = program.name, about["iterations"]
    iteration, epoch = started.seconds()
    evaluation = 1.2 * epoch * about["epochs"]
    start = 2 * started.start  # again, and the data are read
    left = share - (time.monotonic() - begun) - start - evaluation
    iterations = most if tiny else min(most, int(SURE * left / iteration))
    if iterations < min(LEAST, most):
        results.leave_out(
            name,
            f"{share:.0f} s do not suffice: it takes {start:.0f} s to start, and "
            f"{evaluation:.0f} s to train and test networks",
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


def _keep(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copies a set without its preprocessing, which is large and that of the data."""
    with np.load(source, allow_pickle=False) as arrays:
        kept = {k: arrays[k] for k in arrays.files if "preprocessing_" not in k}
    np.savez(target, pixel_range=np.array([0.0, 1.0]), **kept)


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
