"""The picture of how well proxies rank architectures (Figures 14 and 15)."""

import dataclasses
import os
from collections.abc import Sequence

import numpy as np

from dam_tf.plots.figures import new_figure, save_figure

# Okabe and Ito's colours, which are told apart without seeing red or green.
_REST, _TOP, _CHOSEN = "#0072B2", "#E69F00", "#D55E00"

_LONGEST = 40  # letters of a name that there is room for


@dataclasses.dataclass(frozen=True, eq=False)
class ProxyPoints:
    """What is drawn of one proxy.

    Attributes:
        name: Its name, or the folder of its run.
        accuracies: Test accuracies of networks trained on it, `[architectures]`, 0 to
            1; NaN for one that was left out.
        chosen: Which architecture it ranks first.
        correlation: Of ranks, over all architectures; None if it has no meaning.
        correlation_top: Over the best fifth.
    """

    name: str
    accuracies: np.ndarray
    chosen: int
    correlation: float | None
    correlation_top: float | None


def save_rank_scatter(
    proxies: Sequence[ProxyPoints],
    whole: np.ndarray,
    top: np.ndarray,
    path: os.PathLike | str,
) -> None:
    """Draws a point for each architecture, into a PNG file.

    A column a proxy; above, all architectures, below, the best on the whole set
    alone.

    Args:
        proxies: What is drawn of each.
        whole: Test accuracies of networks trained on the whole set,
            `[architectures]`.
        top: The numbers of the best fifth.
        path: The file to write; an old one is replaced at once.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "scatter.png"
        >>> accuracies = np.array([0.1, 0.2, 0.3])
        >>> points = ProxyPoints("random", accuracies, 2, 1.0, None)
        >>> save_rank_scatter([points], accuracies, np.array([2]), path)
        >>> path.read_bytes()[1:4]
        b'PNG'
    """
    figure = new_figure(max(4.6, 4.0 * len(proxies)), 8.0)
    grid = figure.subplots(2, len(proxies), squeeze=False)
    rest = np.setdiff1d(np.arange(len(whole)), top)
    everything = np.arange(len(whole))
    for proxy, (upper, lower) in zip(proxies, grid.T, strict=True):
        own = proxy.accuracies
        for axes, shown, what, correlation in (
            (upper, everything, _short(proxy.name), proxy.correlation),
            (lower, top, "best 20 %", proxy.correlation_top),
        ):
            _draw_line(axes, 100 * own[shown], 100 * whole[shown])
            if axes is upper:
                _draw_points(axes, own, whole, rest, _REST, "architecture")
            _draw_points(axes, own, whole, top, _TOP, "best 20 % on the whole set")
            if proxy.chosen in shown:
                _draw_chosen(axes, own, whole, proxy.chosen)
            if correlation is not None:
                text = f"{what}\nSpearman's correlation {correlation:.2f}"
            else:
                text = f"{what}\n{'too few' if len(shown) < 3 else 'too alike'} to rank"
            axes.set_title(text, size=11, parse_math=False)
            axes.set_xlabel("accuracy when trained on the proxy (%)")
            axes.grid(color="#dddddd", linewidth=0.6)
            axes.set_axisbelow(True)
            axes.margins(0.08)
    for axes in grid[:, 0]:
        axes.set_ylabel("accuracy when trained on the whole set (%)")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    save_figure(figure, path)


def _draw_points(axes, own, whole, places, color, label):
    axes.scatter(
        100 * own[places],
        100 * whole[places],
        s=26,
        color=color,
        alpha=0.8,
        label=label,
    )


def _draw_chosen(axes, own, whole, place):
    axes.scatter(
        100 * own[place],
        100 * whole[place],
        s=150,
        facecolor="none",
        edgecolor=_CHOSEN,
        linewidth=2,
        label="chosen by the proxy",
    )


def _draw_line(axes, x, y):
    """The straight line that is nearest to the points, where there are enough."""
    known = ~np.isnan(x) & ~np.isnan(y)
    x, y = x[known], y[known]
    if len(x) > 2 and np.ptp(x) > 0:
        slope, height = np.polyfit(x, y, 1)
        ends = np.array([x.min(), x.max()])
        axes.plot(ends, slope * ends + height, color="#777777", label="fitted line")


def _short(name: str) -> str:
    text = name.rstrip("/").rpartition("/")[2].replace("_", " ")
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
