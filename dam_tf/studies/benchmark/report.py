"""A benchmark's results as people read them: tables, JSON lines and a chart."""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dam_tf.base.files import atomic_file
from dam_tf.base.json_lines import write_json_lines
from dam_tf.base.words import counted, markdown_table, mean_and_deviation
from dam_tf.plots.dots import Dot, save_dots
from dam_tf.studies.benchmark.measures import Accuracy, Summary, measures, summarise

RESULTS, TABLE, FIGURE = "results.jsonl", "table.md", "figure.png"
_NONE = "-"
_MEGABYTE = 2**20
_PROTOCOLS = {
    "common": "accuracy",
    "own": "own recipe",
    "random_own": "random by it",
    "hard": "hard labels",
    "kernel": "kernel",
    "plain": "no augmentation",
}
_MEASURES = {
    "hard_label_recovery": "HLR",
    "improvement_over_random": "IOR",
    "label_robust_score": "LRS",
    "augmentation_robust_score": "ARS",
}
_WORDS = """\
Test accuracy in %, of the last epoch; ± is over the networks of one set. All rows have
the same protocol. own recipe: networks trained as the set's method learned it; random
by it: random real images, trained in that way. Rows with soft labels have a column of
hard ones, too, one class of each image in their place. kernel: KIP's regression, no
network. HLR, IOR, LRS and ARS are DD-Ranking's: whole set - set with hard labels (less
is better), set - random, and scores, 0 to 100, of both and of the gains with and
without augmentation.
"""


def save_report(
    results: Sequence[Mapping[str, Any]], dataset: str, folder: os.PathLike | str
) -> str:
    """Writes `results.jsonl`, `table.md` and `figure.png`, and returns the tables.

    Args:
        results: Of `run_benchmark`.
        dataset: Its name.
        folder: Of the benchmark.
    """
    folder, summaries = pathlib.Path(folder), summarise(results)
    write_json_lines(folder / RESULTS, results)
    text = tables(summaries)
    with atomic_file(folder / TABLE) as temporary:
        temporary.write_text(f"# {dataset}\n\n{_WORDS}\n{text}", encoding="utf-8")
    panels = {}
    for ipc, group in _by_ipc(summaries).items():
        panels[_title(ipc)] = [_dot(one) for one in group]
    save_dots(panels, dataset, folder / FIGURE)
    return text


def tables(summaries: Sequence[Summary]) -> str:
    """Returns the results as Markdown: accuracies by images per class, then costs.

    Args:
        summaries: Of `summarise`.
    """
    lines = []
    for ipc, group in _by_ipc(summaries).items():
        found = {one.row: measures(one, summaries) for one in group}
        columns: dict[str, Callable[[Summary], str]] = {"row": lambda one: one.row}
        for protocol, title in _PROTOCOLS.items():
            columns[title] = lambda one, p=protocol: _accuracy(one.accuracy(p))
        columns["over sets"] = _over_sets
        for name, title in _MEASURES.items():
            columns[title] = lambda one, n=name, f=found: _percent(f[one.row].get(n))
        lines += [f"## {_title(ipc)}", "", *_table(columns, group), ""]
    costs: dict[str, Callable[[Summary], str]] = {
        "row": lambda one: one.row,
        "ipc": lambda one: str(one.ipc or "all"),
        "iterations": lambda one: _number(one.mean("iterations"), "{:,.0f}"),
        "s per iteration": lambda one: _number(one.mean("seconds_per_step"), "{:.3g}"),
        "to make (s)": lambda one: _seconds(one, "make"),
        "to evaluate (s)": lambda one: _seconds(one, "evaluate"),
        "peak memory (MiB)": lambda one: _number(
            one.mean("peak_memory"), "{:,.0f}", _MEGABYTE
        ),
        "images": lambda one: _number(one.mean("stored_images"), "{:,.0f}"),
        "KiB": lambda one: _number(one.mean("stored_bytes"), "{:,.0f}", 1024),
    }
    lines += ["## Cost", "", *_table(costs, summaries), ""]
    notes = list(dict.fromkeys(note for one in summaries for note in _notes(one)))
    return "\n".join([*lines, *notes, ""] if notes else lines)


def _table(columns: Mapping[str, Callable], summaries: Sequence[Summary]) -> list[str]:
    """A table without the columns that have nothing to say."""
    found = {title: [cell(one) for one in summaries] for title, cell in columns.items()}
    first = next(iter(found))
    kept = {
        title: cells
        for title, cells in found.items()
        if title == first or set(cells) != {_NONE}
    }
    return markdown_table(list(kept), list(zip(*kept.values(), strict=True)))


def _accuracy(found: Accuracy | None) -> str:
    if found is None:
        return _NONE
    networks = max(map(len, found.sets))
    return mean_and_deviation(100 * found.mean, 100 * found.over_networks, networks)


def _over_sets(summary: Summary) -> str:
    found = summary.accuracy("common")
    if found is None or len(found.sets) < 2:
        return _NONE
    return f"± {100 * found.over_sets:.1f}"


def _percent(value: float | None) -> str:
    return _number(value, "{:.1f}", 0.01)


def _number(value: float | None, words: str, unit: float = 1) -> str:
    return _NONE if value is None else words.format(value / unit)


def _seconds(summary: Summary, what: str) -> str:
    """With > where a kill has cut time off."""
    found = [cell["seconds"][what] for cell in summary.done]
    if not any(found):
        return _NONE
    cut = any(cell["time_lost"] for cell in summary.done)
    return f"{'> ' if cut else ''}{sum(found) / len(found):,.0f}"


def _notes(summary: Summary) -> list[str]:
    notes = [
        f"- {summary.row}, {_title(summary.ipc)}, seed {seed}: {why}"
        for seed, why in summary.failures.items()
    ]
    if small := summary.cells[0].get("reduction"):
        notes.append(f"- {summary.row}: {small}.")
    devices = dict.fromkeys(cell["device"] for cell in summary.done)
    return [*notes, *(f"- Device: {device}." for device in devices)]


def _by_ipc(summaries: Sequence[Summary]) -> dict[int, list[Summary]]:
    """The rows of each number of images per class; the whole set is in all."""
    whole = [one for one in summaries if one.ipc == 0]
    ipcs = dict.fromkeys(one.ipc for one in summaries if one.ipc) or {0: None}
    return {
        ipc: [*whole, *(one for one in summaries if one.ipc == ipc and ipc)]
        for ipc in ipcs
    }


def _title(ipc: int) -> str:
    if ipc == 0:
        return "all images"
    return f"{counted(ipc, 'image')} per class"


def _dot(summary: Summary) -> Dot:
    common, own = summary.accuracy("common"), summary.accuracy("own")
    return Dot(
        summary.row,
        common and (100 * common.mean, 100 * common.over_networks),
        own and (100 * own.mean, 100 * own.over_networks),
    )
