"""An ablation's results as the paper shows them: a table and a chart."""

import os
import pathlib
from collections.abc import Sequence

from dam_tf.base.files import atomic_file
from dam_tf.base.words import counted, markdown_table, mean_and_deviation
from dam_tf.plots.comparisons import save_bars, save_lines
from dam_tf.studies.ablation.ablations import Ablation
from dam_tf.studies.ablation.study import Result

_NONE = "-"


def save_report(
    ablation: Ablation, results: Sequence[Result], folder: os.PathLike | str
) -> str:
    """Writes `table.md` and `figure.png`, and returns the table.

    Args:
        ablation: What was run.
        results: Of `run_ablation`.
        folder: Of the study.
    """
    folder = pathlib.Path(folder)
    text = table(ablation, results)
    with atomic_file(folder / "table.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    _draw(ablation, results, folder / "figure.png")
    return text


def table(ablation: Ablation, results: Sequence[Result]) -> str:
    """Returns the results as a Markdown table, means and deviations in %.

    The paper's numbers stand beside ours: those of our images per class, or all that
    it has if it has none of those.

    Args:
        ablation: What was run.
        results: Of `run_ablation`.
    """
    ipcs = list(dict.fromkeys(result.ipc for result in results))
    cells = {(r.variant.name, r.ipc, r.iteration): _cell(r) for r in results}
    variants = {result.variant.name: result.variant for result in results}
    if ablation.chart == "curves":
        columns = [(name, ipc) for name in variants for ipc in ipcs]
        several = len(ipcs) > 1
        head = ["iteration", *(f"{n}, IPC {k}" if several else n for n, k in columns)]
        rows = [
            [str(iteration), *(cells[name, ipc, iteration] for name, ipc in columns)]
            for iteration in dict.fromkeys(result.iteration for result in results)
        ]
    else:
        (iteration,) = {result.iteration for result in results}
        known = sorted({ipc for one in variants.values() for ipc in one.paper})
        known = [ipc for ipc in known if ipc in ipcs] or known
        head = [ablation.axis, *(f"IPC {ipc}" for ipc in ipcs)]
        head += [f"paper, IPC {ipc}" for ipc in known]
        rows = []
        for name, variant in variants.items():
            paper = [variant.paper.get(ipc) for ipc in known]
            ours = [cells[name, ipc, iteration] for ipc in ipcs]
            theirs = (mean_and_deviation(*p) if p else _NONE for p in paper)
            rows.append([name, *ours, *theirs])
    notes = list(
        dict.fromkeys(f"{r.variant.name}: {r.note}" for r in results if r.note)
    )
    return "\n".join(
        [*markdown_table(head, rows), *([""] if notes else []), *notes, ""]
    )


def _cell(result: Result) -> str:
    evaluation = result.evaluation
    if evaluation is None:
        return _NONE
    mean, deviation = 100 * evaluation.mean, 100 * evaluation.deviation
    return mean_and_deviation(mean, deviation, len(evaluation.accuracies))


def _draw(ablation: Ablation, results: Sequence[Result], path: pathlib.Path) -> None:
    ipcs = list(dict.fromkeys(result.ipc for result in results))
    title = f"{ablation.varies[0].upper()}{ablation.varies[1:]} ({ablation.reference})"
    if ablation.chart == "curves":
        several = len(ipcs) > 1
        series = {}
        for r in results:
            name = r.variant.name
            label = f"{name}, {_per_class(r.ipc)}" if several else name
            series.setdefault(label, []).extend(_point(r.iteration, r))
        save_lines(series, "iteration", title, path)
    elif ablation.chart == "lines":
        series = {
            _per_class(ipc): [
                point for r in results if r.ipc == ipc for point in _point(_place(r), r)
            ]
            for ipc in ipcs
        }
        ticks = {_place(r): r.variant.name for r in results}
        save_lines(series, ablation.axis, title, path, ticks)
    else:
        names = list(dict.fromkeys(result.variant.name for result in results))
        series = {
            _per_class(ipc): [
                point[0][1:] if (point := _point(0, r)) else None
                for r in results
                if r.ipc == ipc
            ]
            for ipc in ipcs
        }
        save_bars(names, series, ablation.axis, title, path)


def _per_class(ipc: int) -> str:
    return f"{counted(ipc, 'image')} per class"


def _place(result: Result) -> float:
    return result.variant.value


def _point(place: float, result: Result) -> list[tuple[float, float, float]]:
    """The result as a point of a chart; none where there is none."""
    evaluation = result.evaluation
    if evaluation is None:
        return []
    return [(place, 100 * evaluation.mean, 100 * evaluation.deviation)]
