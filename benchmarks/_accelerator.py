"""The verbs of accelerator.sh: what is compiled here, and what is measured elsewhere.

`prepare` needs this project and TensorFlow. `run` needs Python, JAX, NumPy and Pillow;
it compares with PyTorch where that is installed. Every figure is written as soon as it
is known, so a run that is cut off leaves what it has measured.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

import _accelerator_archive as archive
import _accelerator_runs as runs
import _accelerator_steps as steps
import numpy as np
from _accelerator_report import Budget, Results

from dam_tf.base import machine
from dam_tf.base.errors import UserError

STEPS = "steps"
MOST = 0.45  # of the time that may be gone before a measurement of steps begins


def main() -> int:
    parser = argparse.ArgumentParser(prog="accelerator.sh", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    prepare = verbs.add_parser("prepare", help="compile the programs into FOLDER")
    prepare.add_argument(
        "archive", type=pathlib.Path, help=".tar.xz of train/CLASS/* and test/CLASS/*"
    )
    run = verbs.add_parser("run", help="measure the programs of FOLDER; write OUT")
    for verb in (prepare, run):
        verb.add_argument("folder", type=pathlib.Path, metavar="FOLDER")
        verb.add_argument("--tiny", action="store_true", help="take seconds: a test")
    run.add_argument("out", type=pathlib.Path, metavar="OUT")
    run.add_argument("--minutes", type=float, default=8, help="all in all, at most")
    run.add_argument(
        "--only",
        type=lambda text: text.split(","),
        metavar="NAMES",
        help="with commas: steps (and the self-test), and programs that are run",
    )
    given = parser.parse_args()
    try:
        if given.verb == "prepare":
            from _accelerator_prepare import prepare_folder

            prepare_folder(given.archive, given.folder, given.tiny)
        else:
            measure(given.folder, given.out, given.minutes, given.only, given.tiny)
    except (OSError, UserError) as error:
        print(f"accelerator.sh: error: {error}", file=sys.stderr)
        return 2
    return 0


def measure(
    folder: pathlib.Path,
    out: pathlib.Path,
    minutes: float,
    only: list[str] | None,
    tiny: bool,
) -> None:
    """Measures what `folder` holds, or what `only` names, and writes `out`."""
    budget = Budget(60 * minutes, time.monotonic())
    try:
        plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder} is no folder that accelerator.sh prepare wrote ({error}); name "
            "one"
        ) from None
    if (out / "results.jsonl").exists():
        raise UserError(f"{out} has results already; name another folder")
    known = [STEPS, *plan["runs"], *plan["others"]]
    if unknown := sorted({*(only or ())} - {*known}):
        raise UserError(f"--only={','.join(unknown)}: give any of {', '.join(known)}")
    out.mkdir(parents=True, exist_ok=True)
    results = Results(out)
    results.add("machine", minutes=minutes, prepared=plan["made"], **describe())
    with tempfile.TemporaryDirectory() as room:
        work = pathlib.Path(room)
        _set_environment(work)
        programs = work / "programs"
        archive.unpack(folder, plan["shared"], programs)
        if only is None or STEPS in only:
            runs.self_test(programs / plan["tested"], results, budget)
            _race_steps(plan["steps"], programs, results, budget, only, tiny)
        groups = [plan["runs"], plan["others"]]
        if only is not None:
            groups = [[name for name in only if name != STEPS]]
        groups = [group for group in groups if group]
        if groups:
            data = _decoded(folder / plan["archive"], work, results)
        for group in groups:
            # DataDAM and DM have four fifths of the time, so that they come far.
            part = 1.0 if group is groups[-1] else 0.8
            run = [programs / name for name in group]
            runs.whole_runs(run, data, out, results, budget, part, tiny)
    results.add("end", seconds=budget.gone)
    print(f"{out / 'report.md'}: after {budget.gone / 60:.1f} of {minutes:g} minutes")


def _race_steps(steps_of, programs, results, budget, only, tiny) -> None:
    """Steps at each IPC; 10 first: it is what the aims are about."""
    for ipc, name in sorted(steps_of.items(), key=lambda one: one[0] != "10"):
        # Where nothing else is asked for, they have all the time.
        if only != [STEPS] and budget.gone > MOST * budget.seconds:
            results.leave_out(f"steps at IPC {ipc}", "whole runs get the time left")
        else:
            steps.race(int(ipc), programs / name, results, budget, tiny)


def _set_environment(work: pathlib.Path) -> None:
    """What the processes that are started find in their environment."""
    # A program that was timed is run afterwards, and need not be compiled again.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(work / "compiled")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    # Two libraries share the card, and a peak is to be what a library uses of it.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(work / "inductor")


def _decoded(source: pathlib.Path, work: pathlib.Path, results: Results):
    """Decodes all pictures once, into a file that every run reads."""
    start = time.perf_counter()
    arrays = archive.decode(source)
    np.savez(work / "data.npz", **arrays)
    results.add(
        "data",
        seconds=time.perf_counter() - start,
        train=len(arrays["x_train"]),
        test=len(arrays["x_test"]),
    )
    return work / "data.npz"


def describe() -> dict:
    """Returns the card, its driver, the processor and the versions in use."""
    found = {
        "card": None,
        "processor": machine.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
    }
    try:
        query = "--query-gpu=name,driver_version,memory.total"
        answer = subprocess.run(
            ["nvidia-smi", query, "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        found["card"] = answer.stdout.strip().splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        pass
    for name in ("jax", "jaxlib", "numpy", "pillow", "torch"):
        if importlib.util.find_spec("PIL" if name == "pillow" else name):
            found[name] = importlib.metadata.version(name)
    return found


if __name__ == "__main__":
    sys.exit(main())
