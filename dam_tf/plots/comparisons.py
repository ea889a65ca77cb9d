"""Charts of accuracies side by side: grouped bars, and lines with error bars."""

import os
from collections.abc import Mapping, Sequence

import numpy as np

from dam_tf.plots.figures import new_figure, save_figure

# Okabe and Ito's colours, which the colour-blind tell apart, without their yellow.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "osD^vPX"
_ACCURACY = "test accuracy (%)"


def save_bars(
    names: Sequence[str],
    series: Mapping[str, Sequence[tuple[float, float] | None]],
    axis: str,
    title: str,
    path: os.PathLike | str,
) -> None:
    """Draws groups of bars with deviations into a PNG file.

    Args:
        names: Of the groups, along the axis.
        series: By name, one bar for each group: mean and deviation of an accuracy in
            %, None where there is none. The names go into a legend, if there are
            several.
        axis: What the groups are.
        title: Above the chart.
        path: The file to write; an old one is replaced at once.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "bars.png"
        >>> save_bars(["l1", "l2"], {"": [(50, 1), None]}, "norm", "norms", path)
        >>> path.read_bytes()[1:4]
        b'PNG'
    """
    from matplotlib.patches import Patch

    figure = new_figure(max(5.0, 1.5 + 1.0 * len(names) * len(series) ** 0.7), 4.2)
    axes, handles = figure.add_subplot(), []
    width = 0.8 / len(series)
    for number, (label, bars) in enumerate(series.items()):
        shift = (number - (len(series) - 1) / 2) * width
        for place, bar in enumerate(bars):
            if bar is None:
                axes.text(place + shift, 0.5, "none", ha="center", va="bottom", size=9)
                continue
            mean, deviation = bar
            axes.bar(
                place + shift,
                mean,
                width * 0.9,
                yerr=deviation or None,  # of one network there is none
                capsize=3,
                color=_COLORS[number % len(_COLORS)],
            )
            top = mean + deviation
            axes.annotate(
                f"{mean:.1f}",
                (place + shift, top),
                (0, 2),
                textcoords="offset points",
                ha="center",
                va="bottom",
                size=9,
            )
        handles.append(Patch(color=_COLORS[number % len(_COLORS)], label=label))
    axes.set_xticks(range(len(names)), names)
    tops = [bar[0] + bar[1] for bars in series.values() for bar in bars if bar]
    axes.set(xlabel=axis, ylabel=_ACCURACY, title=title)
    axes.set(xlim=(-0.6, len(names) - 0.4), ylim=(0, 1.12 * max(tops, default=90)))
    _finish(figure, axes, handles)
    save_figure(figure, path)


def save_lines(
    series: Mapping[str, Sequence[tuple[float, float, float]]],
    axis: str,
    title: str,
    path: os.PathLike | str,
    ticks: Mapping[float, str] | None = None,
) -> None:
    """Draws lines with deviations into a PNG file.

    Args:
        series: By name, its points: place on the axis, mean and deviation of an
            accuracy in %. The names go into a legend, if there are several.
        axis: What the places are, with the unit.
        title: Above the chart.
        path: The file to write; an old one is replaced at once.
        ticks: Places and what stands there; the axis is then logarithmic if all are
            above zero.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "lines.png"
        >>> save_lines({"noise": [(0, 10, 1), (9, 30, 2)]}, "it", "noise", path)
        >>> path.read_bytes()[1:4]
        b'PNG'
    """
    figure = new_figure(6.4, 4.2)
    axes = figure.add_subplot()
    for number, (label, points) in enumerate(series.items()):
        if not points:
            continue
        places, means, deviations = np.array(points, float).T
        axes.errorbar(
            places,
            means,
            np.where(deviations > 0, deviations, np.nan),
            label=label,
            color=_COLORS[number % len(_COLORS)],
            marker=_MARKERS[number % len(_MARKERS)],
            capsize=3,
        )
    if ticks:
        if min(ticks) > 0:
            axes.set_xscale("log")
            axes.minorticks_off()
        axes.set_xticks(list(ticks), list(ticks.values()))
    axes.set(xlabel=axis, ylabel=_ACCURACY, title=title)
    _finish(figure, axes, axes.get_legend_handles_labels()[0])
    save_figure(figure, path)


def _finish(figure, axes, handles: Sequence) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    if len(handles) > 1:
        place = "outside lower center"
        figure.legend(handles=handles, loc=place, ncols=len(handles), frameon=False)
