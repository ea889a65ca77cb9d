"""The cost of methods (Table 4): time and memory of a step, each in its own process.

Nothing here imports TensorFlow, so the process that asks takes no GPU memory; those
that measure run `step.py`.
"""

import json
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from dam_tf import plots
from dam_tf.base.apart import OutOfMemory, apart
from dam_tf.base.errors import UserError, check_each_once, choice_error
from dam_tf.base.json_lines import write_json_lines
from dam_tf.base.messages import log, progress_bar
from dam_tf.base.trials import Trials
from dam_tf.base.words import mean_and_deviation
from dam_tf.config.methods import METHODS
from dam_tf.config.places import with_absolute_paths
from dam_tf.config.schema import to_dict
from dam_tf.config.settings import Config, settings_that_matter
from dam_tf.data.identity import Identity, check_identity
from dam_tf.studies.rows import NO_IPC, Base, Row

RESULTS, FIGURE = "results.jsonl", "cost.png"
MEGABYTE = 2**20  # as tools that watch GPUs count
_MODULE = "dam_tf.studies.cost.step"  # imported in the new process alone

_Progress = Callable[[int], Any]


def cost_report(
    rows: Sequence[Row],
    base: Base,
    ipcs: Sequence[int],
    output_dir: os.PathLike | str,
    iterations: int = 100,
    resume: bool = False,
    overwrite: bool = False,
) -> list[dict[str, Any]]:
    """Measures a step of each method with each number of images, one by one.

    As each process begins by importing the program that started it, a script calls
    this below `if __name__ == "__main__":`.

    Args:
        rows: Of `rows.find_rows`; methods alone.
        base: Settings of all rows.
        ipcs: Synthetic images per class.
        output_dir: Made if missing; gets `results.jsonl`, `cost.png`,
            `trials.jsonl` and `settings.json`.
        iterations: How many each is averaged over.
        resume: Keep what was measured there already.
        overwrite: Replace the report that lies there.

    Returns:
        For each measurement what `step.measure` returns, or `failed`, why there
        is none; with its method, ipc and settings.

    Raises:
        UserError: something given cannot be used.
    """
    check_methods(rows)
    check_each_once("ipcs", ipcs)
    if iterations < 1:
        raise UserError(f"iterations must be at least 1, not {iterations}")
    config = with_absolute_paths(base.config())
    # The cheapest first; what a plan says is part of what is measured.
    kept = {
        row.name: [json.dumps(dict(row.overrides))] * bool(row.overrides)
        for row in rows
    }
    configs = {
        (row.name, ipc, *kept[row.name]): with_absolute_paths(base.config(ipc, row=row))
        for ipc in sorted(ipcs)
        for row in rows
        if row.ipcs is None or ipc in row.ipcs
    }
    keys, methods = list(configs), {row.name: row.method for row in rows}
    if not keys:
        raise UserError(NO_IPC)
    folder = pathlib.Path(output_dir)
    settings = report_settings(config, iterations)

    def trial(key: tuple) -> dict[str, Any]:
        name, ipc, *_ = key
        log.info("Measuring %s with %d images per class.", name, ipc)
        with progress_bar("Compiling, then measuring", "it", total=iterations) as bar:
            result = measure_apart(
                configs[key], iterations, lambda done: bar.update(done - bar.n)
            )
        return {
            "study": "cost",
            "method": name,
            "by": methods[name],
            "ipc": ipc,
            "dataset": config.dataset.name,
            **result,
            "config": to_dict(configs[key]),
        }

    with Trials(folder, settings, resume, overwrite) as trials:
        log.info("Checking what is to be measured.")
        missing = [configs[key] for key in keys if key not in trials]
        found = apart(_MODULE, "check", (config, missing))
        check_identity(trials, Identity.from_dict(found))
        results = trials.run(keys, trial, "Cost")
        write_json_lines(folder / RESULTS, results)
        plots.save_costs(results, folder / FIGURE)
    return results


def check_methods(rows: Sequence[Row]) -> None:
    """Raises a `UserError` where a row learns no images, so it has no step."""
    for row in rows:
        if row.kind != "method":
            raise choice_error("method", row.method, METHODS)


def report_settings(config: Config, iterations: int) -> dict[str, Any]:
    """Returns what all measurements depend on, ready for JSON.

    Args:
        config: As of `cost_report`.
        iterations: As of `cost_report`.
    """
    ignored = ("distillation.ipc", "distillation.iterations")
    settings = settings_that_matter(config, ignored)
    return {"study": "cost", "measured_iterations": iterations, **settings}


def measure_apart(
    config: Config, iterations: int, on_progress: _Progress = lambda _: None
) -> dict[str, Any]:
    """Runs `step.measure` in a new process, and returns what it returns.

    Where memory runs out, or the system stops the process, as it does then, the
    result is `{"failed": why}`, as Table 4 has OOM.

    Args:
        config: The settings of the run.
        iterations: How many are averaged over.
        on_progress: Called with the iterations measured so far.

    Raises:
        UserError: something given cannot be used.
    """
    try:
        return apart(_MODULE, "measure", (config, iterations), on_progress)
    except OutOfMemory as error:
        return {"failed": str(error)}


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
            values = line["seconds_per_step"], line["deviation"]
            time = mean_and_deviation(*values, line.get("iterations", 2), digits=4)
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
