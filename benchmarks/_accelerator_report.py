"""What accelerator.sh has measured, and how much time is left to measure more.

Each figure is a row of results.jsonl, and all of them together are report.md.
"""

import pathlib
import statistics
import time
from typing import Any

import _contender  # noqa: F401, which lets this checkout be imported

from dam_tf.base.files import atomic_file
from dam_tf.base.json_lines import append_json

# Table 4 of the paper, CIFAR-10 on an NVIDIA A100: seconds a step, megabytes.
PAPER = {1: (0.09, 3452), 10: (0.08, 3561), 50: (0.16, 3724)}


class Budget:
    """Seconds that are left of some minutes.

    Args:
        seconds: All there are.
        start: When they began, by `time.monotonic`.
    """

    def __init__(self, seconds: float, start: float):
        self.seconds, self._start = seconds, start

    @property
    def gone(self) -> float:
        """Seconds that have passed."""
        return time.monotonic() - self._start

    @property
    def left(self) -> float:
        """Seconds that remain; below zero once they are spent."""
        return self.seconds - self.gone


class Results:
    """Rows, each written to `results.jsonl` at once, and a report of all so far.

    Args:
        folder: That is written, and exists.
    """

    def __init__(self, folder: pathlib.Path):
        self._folder = folder
        self.rows: list[dict[str, Any]] = []

    def add(self, part: str, **values: Any) -> None:
        """Writes one row and the report anew."""
        row = {"part": part, **values}
        self.rows.append(row)
        append_json(self._folder / "results.jsonl", row)
        with atomic_file(self._folder / "report.md") as temporary:
            temporary.write_text(report(self.rows), encoding="utf-8")
        print(_line(row), flush=True)

    def leave_out(self, what: str, why: str) -> None:
        """Says what was not measured."""
        self.add("left_out", what=what, why=why)


def _line(row: dict[str, Any]) -> str:
    """A row as the console shows it."""
    values = ", ".join(
        f"{key} {_short(value)}"
        for key, value in row.items()
        if key != "part" and not isinstance(value, (list, dict))
    )
    return f"{row['part']}: {values}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def report(rows: list[dict[str, Any]]) -> str:
    """Returns the rows as a page of Markdown.

    Example:
        >>> print(report([{"part": "left_out", "what": "PyTorch", "why": "no time"}]))
        # Measured on one accelerator
        <BLANKLINE>
        ## Left out
        <BLANKLINE>
        - PyTorch: no time
        <BLANKLINE>
    """
    parts: dict[str, list] = {}
    for row in rows:
        parts.setdefault(row["part"], []).append(row)
    lines = ["# Measured on one accelerator", ""]
    for row in parts.get("machine", []):
        facts = [f"{key} {value}" for key, value in row.items() if key != "part"]
        lines += [f"- {fact}" for fact in facts] + [""]
    for row in parts.get("data", []):
        lines += [
            f"Decoding {row['train']:,} training and {row['test']:,} test images took "
            f"{row['seconds']:.1f} s.",
            "",
        ]
    for row in parts.get("self_test", []):
        lines += [f"Self-test of {row['program']}: {row['verdict']}", ""]
    lines += _steps(parts.get("step", [])) + _runs(parts.get("run", []))
    if "left_out" in parts:
        lines += ["## Left out", ""]
        lines += [f"- {row['what']}: {row['why']}" for row in parts["left_out"]] + [""]
    for row in parts.get("end", []):
        lines += [f"All of it took {row['seconds'] / 60:.1f} minutes.", ""]
    return "\n".join(lines)


def _steps(rows) -> list[str]:
    if not rows:
        return []
    lines = [
        "## Seconds and peak memory of a step",
        "",
        "Each turn is the mean of some steps; contenders take turns on the same card. "
        "Memory is what each library counts as taken of the device at its peak, the "
        "real images among it (without a GPU: of the process).",
        "",
        "| IPC | step | s, median | least to most | turns | first step, s | peak MB "
        "| its time / ours |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for ipc in sorted({row["ipc"] for row in rows}):
        of_ipc = [row for row in rows if row["ipc"] == ipc]
        ours = next((r.get("median") for r in of_ipc if r["step"] == "dam_tf"), None)
        for row in of_ipc:
            if "median" not in row:
                why = row.get("failed", "no turn was timed")
                lines.append(f"| {ipc} | {row['step']} | {why} | | | | | |")
                continue
            ratio = f"{row['median'] / ours:.2f}" if ours else "-"
            lines.append(
                f"| {ipc} | {row['step']} | {row['median']:.4f} "
                f"| {row['least']:.4f} to {row['most']:.4f} "
                f"| {len(row['seconds'])} | {row['first']:.1f} "
                f"| {row['peak'] / 1e6:,.0f} | {ratio} |"
            )
        if ipc in PAPER:
            seconds, megabytes = PAPER[ipc]
            lines.append(
                f"| {ipc} | the paper, on an A100 | {seconds} | | | | {megabytes:,} | |"
            )
    return [*lines, "", *_targets(rows), ""]


def _targets(rows) -> list[str]:
    """The ratios at IPC 10 that were aimed at, as far as they are known."""
    medians = {r["step"]: r["median"] for r in rows if r["ipc"] == 10 and "median" in r}
    if (ours := medians.pop("dam_tf", None)) is None:
        return []
    lines = [
        f"- 8,000 iterations at IPC 10 would take {8000 * ours / 60:.1f} minutes "
        "(computed from the median; the aim is at most 5)."
    ]
    if "PyTorch nchw" in medians:
        ratio = medians["PyTorch nchw"] / ours
        lines.append(f"- PyTorch as it comes takes {ratio:.2f} times as long (aim: 4).")
    if medians:
        best = min(medians, key=medians.get)
        ratio = medians[best] / ours
        lines.append(f"- {best}, its best, takes {ratio:.2f} times as long (aim: 2).")
    return lines


def _runs(rows) -> list[str]:
    if not rows:
        return []
    lines = [
        "## Whole runs",
        "",
        "Accuracy is that of the last epoch on the test images, in %, mean ± standard "
        "deviation over networks.",
        "",
        "| program | iterations | of | s a step | peak MB | networks, epochs "
        "| accuracy | minutes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if "failed" in row:
            lines.append(f"| {row['program']} | {row['failed']} | | | | | | |")
            continue
        accuracies = [100 * value for value in row["accuracies"]]
        spread = statistics.pstdev(accuracies)
        peak = f"{row['peak'] / 1e6:,.0f}" if row["peak"] else "not counted"
        lines.append(
            f"| {row['program']} | {row['iterations']:,} | {row['all']:,} "
            f"| {row['seconds_per_step']:.4f} | {peak} "
            f"| {len(accuracies)}, {row['epochs']:,} "
            f"| {statistics.mean(accuracies):.1f} ± {spread:.1f} "
            f"| {row['seconds'] / 60:.1f} |"
        )
    return [*lines, ""]
