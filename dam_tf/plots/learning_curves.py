"""How a run gets on: its loss, and what its images teach, against the iteration."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dam_tf.plots.figures import new_figure, save_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SMOOTH = 40  # stretches that a loss is averaged over
_LONGEST = 40  # letters of a run's name

# Iterations and values, `[n]` each.
Series = tuple[Sequence[float], Sequence[float]]


def save_curves(
    losses: Mapping[str, Series],
    accuracies: Mapping[str, tuple[Sequence[float], Sequence[Sequence[float]]]],
    path: os.PathLike | str,
) -> None:
    """Draws losses and, where some are known, test accuracies, into a PNG file.

    Args:
        losses: By name of the run, iterations `[n]` and losses `[n]`.
        accuracies: By name of the run, iterations `[n]` and, for each, the accuracy
            of every network, 0 to 1.
        path: The file to write; an old one is replaced at once.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "curves.png"
        >>> losses = {"run": ([10, 20], [3.0, 2.0])}
        >>> save_curves(losses, {"run": ([0, 20], [[0.2, 0.3], [0.5, 0.6]])}, path)
        >>> path.read_bytes()[1:4]
        b'PNG'
    """
    names = list(dict.fromkeys([*losses, *accuracies]))
    panels = bool(losses) + bool(accuracies)
    figure = new_figure(5.5 * max(panels, 1), 4 + 0.25 * len(names))
    axes = iter(figure.subplots(1, max(panels, 1), squeeze=False)[0])
    if losses:
        draw_losses(next(axes), losses, names)
    if accuracies:
        draw_accuracies(next(axes), accuracies, names)
    drawn = figure.axes[-1].get_legend_handles_labels()
    figure.legend(*drawn, loc="outside lower center", frameon=False)
    save_figure(figure, path)


def draw_losses(
    axes: "Axes", losses: Mapping[str, Series], names: Sequence[str]
) -> None:
    """Draws losses on a logarithmic scale: each pale, and its running mean."""
    for name, (iterations, values) in losses.items():
        look = style(names.index(name)) | {"marker": ""}
        iterations, values = np.asarray(iterations), np.asarray(values, float)
        label = shorten(name)
        if len(values) > 2 * _SMOOTH:
            axes.plot(iterations, values, **look | {"linestyle": "-"}, alpha=0.25,
                      linewidth=0.8)  # fmt: skip
            parts = np.array_split(np.arange(len(values)), _SMOOTH)
            iterations = [iterations[part].mean() for part in parts]
            values = [values[part].mean() for part in parts]
        axes.plot(iterations, values, **look, linewidth=1.8, label=label)
    if all(np.all(np.asarray(values) > 0) for _, values in losses.values()):
        axes.set_yscale("log")
        _few_log_ticks(axes)
    axes.set(xlabel="iteration", ylabel="loss")
    axes.grid(alpha=0.5, which="both", linewidth=0.5)


def draw_accuracies(
    axes: "Axes",
    accuracies: Mapping[str, tuple[Sequence[float], Sequence[Sequence[float]]]],
    names: Sequence[str],
) -> None:
    """Draws mean test accuracies, with bars of a standard deviation."""
    for name, (iterations, values) in accuracies.items():
        means = [100 * np.mean(some) for some in values]
        # One network has no deviation.
        bars = [100 * np.std(some) if len(some) > 1 else np.nan for some in values]
        axes.errorbar(iterations, means, bars, **style(names.index(name)), capsize=3,
                      markersize=5, linewidth=1.8, label=shorten(name))  # fmt: skip
    axes.set(xlabel="iteration", ylabel="test accuracy (%)")
    axes.grid(alpha=0.5, linewidth=0.5)


def shorten(name: str) -> str:
    """Returns the end of a long name, which tells runs apart, fit for a legend.

    Example:
        >>> shorten("runs/cifar10"), len(shorten("x" * 99))
        ('runs/cifar10', 40)
    """
    name = name if len(name) <= _LONGEST else "…" + name[1 - _LONGEST :]
    return f" {name}" if name.startswith("_") else name  # else it has no legend


def _few_log_ticks(axes: "Axes") -> None:
    """Numbers as people write them, also where less than a decade is seen."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axes.get_ylim()
    if high / low > 1000:
        return
    steps = (1, 2, 5) if high / low > 4 else (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)
    axes.yaxis.set_major_locator(LogLocator(subs=steps))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
