"""Real and synthetic images as points in a plane (Figures 5 and 16)."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dam_tf.plots.figures import new_figure, save_figure
from dam_tf.plots.letters import class_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIDE = 5.0  # of a panel, hundred pixels
_MOST_NAMED = 20  # classes, up to which each is named where its real points lie
_LONGEST = 24  # letters of a class's name
_MOST_ACROSS = 3  # panels


def save_embedding(
    real: tuple[np.ndarray, np.ndarray],
    synthetic: Mapping[str, tuple[np.ndarray, np.ndarray]],
    class_names: Sequence[str],
    path: os.PathLike | str,
) -> None:
    """Draws a panel for each set: real points small and pale, its own as stars.

    Args:
        real: Points `[n, 2]` and their labels `[n]`, the same in every panel.
        synthetic: Points `[m, 2]` and labels `[m]` of each set, by its title.
        class_names: The name of each class.
        path: The file to write; an old one is replaced at once.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "tsne.png"
        >>> points = np.array([[0.0, 1.0], [2.0, 3.0]]), np.array([0, 1])
        >>> save_embedding(points, {"run": points}, ["cat", "dog"], path)
        >>> path.read_bytes()[1:4]
        b'PNG'
    """
    across = min(len(synthetic), _MOST_ACROSS)
    down = math.ceil(len(synthetic) / across)
    figure = new_figure(_SIDE * across, (_SIDE + 0.3) * down + 0.4)
    panels = figure.subplots(
        down, across, squeeze=False, sharex=True, sharey=True
    ).ravel()
    colors = _colors(len(class_names))
    for axes, (title, points) in zip(panels, synthetic.items(), strict=False):
        _draw(axes, real, points, class_names, colors)
        axes.set_title(title, size=12, parse_math=False)
    for axes in panels[len(synthetic) :]:
        axes.set_axis_off()
    _legend(figure)
    save_figure(figure, path)


def _draw(axes: "Axes", real, synthetic, class_names, colors) -> None:
    from matplotlib.patheffects import withStroke

    (points, labels), (stars, star_labels) = real, synthetic
    axes.scatter(*points.T, s=7, c=colors[labels], alpha=0.3, linewidths=0)
    axes.scatter(
        *stars.T, s=130, c=colors[star_labels], marker="*", edgecolors="black",
        linewidths=0.8, zorder=2,
    )  # fmt: skip
    axes.set(xticks=[], yticks=[])
    if len(class_names) > _MOST_NAMED:
        return
    names = class_labels(class_names, _LONGEST)
    halo = [withStroke(linewidth=3, foreground="white", alpha=0.85)]
    for label in np.unique(labels):
        x, y = np.median(points[labels == label], axis=0)
        axes.text(x, y, names[label], ha="center", va="center", size=11, weight="bold",
                  color=colors[label] * 0.6, path_effects=halo, parse_math=False,
                  zorder=1.5)  # fmt: skip


def _legend(figure) -> None:
    """Says what the two kinds of marks are; colours are named in the panels."""
    from matplotlib.lines import Line2D

    style = {"linestyle": "", "color": "#888888"}
    marks = [
        Line2D([], [], marker="o", markersize=4, label="real", **style),
        Line2D([], [], marker="*", markersize=12, markeredgecolor="black",
               label="synthetic", **style),
    ]  # fmt: skip
    figure.legend(handles=marks, loc="outside lower center", ncols=2, frameon=False)


def _colors(count: int) -> np.ndarray:
    """Returns a colour for each class, RGB `[count, 3]`."""
    from matplotlib import colormaps

    if count <= 10:
        return np.array(colormaps["tab10"].colors)[:count]
    if count <= 20:
        return np.array(colormaps["tab20"].colors)[:count]
    return colormaps["hsv"](np.arange(count) / count)[:, :3] * 0.85
