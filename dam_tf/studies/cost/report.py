"""The cost of methods (Table 4): time and memory of a step, each in its own process.

Nothing here imports TensorFlow, so the process that asks takes no GPU memory; the
one that measures runs `step_cost.py`.
"""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from dam_tf import plots
from dam_tf.base.errors import UserError
from dam_tf.base.files import atomic_file
from dam_tf.base.messages import log, progress_bar
from dam_tf.base.trials import Trials
from dam_tf.config.schema import to_dict
from dam_tf.config.settings import Config, replace, settings_that_matter

RESULTS, FIGURE = "results.jsonl", "cost.png"
MEGABYTE = 2**20  # as tools that watch GPUs count

_PACKAGE = pathlib.Path(__file__).resolve().parents[3]
_CHILD = f"import sys; sys.path.insert(0, {str(_PACKAGE)!r}); " + (
    "from dam_tf.studies.cost.step import main; main()"
)


def cost_report(
    config: Config,
    methods: Sequence[str],
    ipcs: Sequence[int],
    output_dir: os.PathLike | str,
    iterations: int = 100,
    resume: bool = False,
    overwrite: bool = False,
) -> list[dict[str, Any]]:
    """Measures a step of each method with each number of images, one by one.

    Args:
        config: The settings of the runs; method and ipc are replaced.
        methods: Keys of `matching.objectives.OBJECTIVES`.
        ipcs: Synthetic images per class.
        output_dir: Made if missing; gets `results.jsonl`, `cost.png`,
            `trials.jsonl` and `settings.json`.
        iterations: How many each is averaged over.
        resume: Keep what was measured there already.
        overwrite: Replace the report that lies there.

    Returns:
        For each measurement what `step_cost.measure` returns, or `failed`, why there
        is none; with its method, ipc and settings.

    Raises:
        UserError: something given cannot be used.
    """
    folder = pathlib.Path(output_dir)
    trials = Trials(folder, report_settings(config, iterations), resume, overwrite)

    def trial(key: tuple[str, int]) -> dict[str, Any]:
        method, ipc = key
        one = _with(config, method, ipc)
        log.info("Measuring %s with %d images per class.", method, ipc)
        with progress_bar("Compiling, then measuring", "it", total=iterations) as bar:
            result = measure_apart(
                one, iterations, lambda done: bar.update(done - bar.n), methods
            )
        return {
            "study": "cost",
            "method": method,
            "ipc": ipc,
            "dataset": config.dataset.name,
            **result,
            "config": to_dict(one),
        }

    # The cheapest first; an unknown method is found by the first of all.
    keys = [(method, ipc) for ipc in sorted(ipcs) for method in methods]
    results = trials.run(keys, trial, "Cost")
    with atomic_file(folder / RESULTS) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in results))
    plots.save_costs(results, folder / FIGURE)
    return results


def report_settings(config: Config, iterations: int) -> dict[str, Any]:
    """Returns what all measurements depend on, ready for JSON.

    Args:
        config: As of `cost_report`.
        iterations: As of `cost_report`.
    """
    ignored = ("method.name", "distillation.ipc", "distillation.iterations")
    settings = settings_that_matter(config, ignored)
    return {"study": "cost", "measured_iterations": iterations, **settings}


def measure_apart(
    config: Config,
    iterations: int,
    on_progress: Callable[[int], Any] = lambda _: None,
    methods: Sequence[str] = (),
) -> dict[str, Any]:
    """Runs `step_cost.measure` in a new process, and returns what it returns.

    Where memory runs out, or the system stops the process, as it does then, the
    result is `{"failed": why}`, as Table 4 has OOM.

    Args:
        config: The settings of the run.
        iterations: How many are averaged over.
        on_progress: Called with the iterations measured so far.
        methods: Names of methods to check before anything is measured.

    Raises:
        UserError: something given cannot be used.
    """
    asked = {
        "config": to_dict(config),
        "iterations": iterations,
        "methods": list(methods),
    }
    answer: dict[str, Any] = {}
    with tempfile.TemporaryFile() as errors:
        # -P: the working directory shall not stand in for modules.
        with subprocess.Popen(
            [sys.executable, "-P", "-c", _CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process:
            try:
                with contextlib.suppress(BrokenPipeError):  # it says why below
                    process.stdin.write(json.dumps(asked))
                    process.stdin.close()
                for line in process.stdout:
                    answer = json.loads(line)
                    if "done" in answer:
                        on_progress(answer["done"])
            finally:
                if sys.exc_info()[0]:
                    process.kill()
        errors.seek(0)
        said = errors.read().decode(errors="replace")
    if "error" in answer:
        raise UserError(answer["error"])
    if "result" in answer:
        return answer["result"]
    if process.returncode == -signal.SIGKILL:
        return {"failed": "killed by the system, as when memory runs out"}
    if "bad_alloc" in said:
        return {"failed": "out of memory"}
    raise RuntimeError(f"the process that measures failed:\n{said[-5000:]}")


def table(results: Iterable[Mapping[str, Any]]) -> str:
    """Returns a text like Table 4: seconds and megabytes, by method and ipc.

    Args:
        results: Of `cost_report`.

    Example:
        >>> line = {"method": "dm", "ipc": 1, "seconds_per_step": 0.08,
        ...         "deviation": 0.02, "peak_memory": 2**20 * 3323, "memory_of": "GPU"}
        >>> print(table([line, {"method": "dm", "ipc": 50, "failed": "no memory"}]))
        method  ipc  seconds per step  peak GPU memory (MiB)
        dm        1   0.0800 ± 0.0200                  3,323
        dm       50                 -              no memory
    """
    results = list(results)
    kinds = {line["memory_of"] for line in results if "memory_of" in line}
    heads = ("method", "ipc", "seconds per step", "peak memory (MiB)")
    if kinds:
        heads = (*heads[:3], f"peak {' or '.join(sorted(kinds))} memory (MiB)")
    rows = [heads]
    for line in results:
        time, memory = "-", line.get("failed")
        if memory is None:
            time = f"{line['seconds_per_step']:.4f} ± {line['deviation']:.4f}"
            memory = f"{line['peak_memory'] / MEGABYTE:,.0f}"
        rows.append((line["method"], str(line["ipc"]), time, memory))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def _with(config: Config, method: str, ipc: int) -> Config:
    return replace(config, method__name=method, distillation__ipc=ipc)
