"""A chart of measured values as multiples of a floor, a panel for each kind."""

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dam_tf.plots.figures import new_figure, save_figure, style


class Panel(NamedTuple):
    """A part of the chart.

    Attributes:
        title: Above it.
        ticks: What the places along its axis are.
        series: By name, mean and deviation of the multiple at each place.
    """

    title: str
    ticks: Sequence[str]
    series: Mapping[str, Sequence[tuple[float, float]]]


def save_multiples(
    rows: Sequence[Sequence[Panel]], title: str, path: os.PathLike | str
) -> None:
    """Draws rows of panels with one logarithmic axis; the floor is a line at 1.

    Args:
        rows: As many panels each.
        title: Above the chart.
        path: The PNG file to write; an old one is replaced at once.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "multiples.png"
        >>> panel = Panel("block 1", ["p = 1", "p = 4"], {"dm": [(2, 0.1), (9, 0.0)]})
        >>> save_multiples([[panel]], "digits", path)
        >>> path.read_bytes()[1:4]
        b'PNG'
    """
    columns = len(rows[0])
    widths = [0.8 + len(panel.ticks) for panel in rows[0]]
    figure = new_figure(max(5.0, 1.2 + 0.75 * sum(widths)), 1.1 + 2.2 * len(rows))
    all_axes = figure.subplots(
        len(rows), columns, squeeze=False, sharey=True, width_ratios=widths
    )
    names = list(dict.fromkeys(name for row in rows for one in row for name in one[2]))
    handles = {}
    for axes, panel in zip(
        all_axes.ravel(), (panel for row in rows for panel in row), strict=True
    ):
        axes.axhline(1, color="#888888", linewidth=1)
        for number, name in enumerate(names):
            if name not in panel.series:
                continue
            means, deviations = np.array(panel.series[name], float).T
            # Side by side, so that equal values are all seen.
            shift = 0.12 * (number - (len(names) - 1) / 2)
            handles[name] = axes.errorbar(
                np.arange(len(means)) + shift,
                means,
                np.where(deviations > 0, deviations, np.nan),
                capsize=2,
                markersize=4,
                **{**style(number), "linestyle": "none"},
            )
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_xticks(range(len(panel.ticks)), panel.ticks)
        axes.set(xlim=(-0.6, len(panel.ticks) - 0.4))
        axes.set_title(panel.title, size=10)
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in all_axes[:, 0]:
        axes.set_ylabel("multiple of the floor")
    figure.suptitle(title)
    if handles:
        place, most = "outside lower center", min(4, len(handles))
        labels = list(handles)
        figure.legend(handles.values(), labels, loc=place, ncols=most, frameon=False)
    save_figure(figure, path)
