"""Line charts with a deviation band around each mean, such as the paper's Figure 7."""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence

import numpy as np

from dam_tf.plots.figures import new_figure, save_figure

# Okabe and Ito's colours, which the colour-blind tell apart; markers for the rest.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_COLUMNS = 2


@dataclasses.dataclass(frozen=True, eq=False)
class Band:
    """A line: its name in the legend, and means and deviations at its places.

    Attributes:
        label: In the legend.
        x: Places, `[n]`.
        mean: Values, `[n]`.
        deviation: Half the width of the band, `[n]`.
    """

    label: str
    x: Sequence[float]
    mean: Sequence[float]
    deviation: Sequence[float]


def save_bands(
    panels: Mapping[str, Sequence[Band]],
    path: os.PathLike | str,
    x_label: str,
    y_label: str,
) -> None:
    """Draws panels of lines with bands into a PNG file, all on the same scale.

    A line has the same colour in each panel.

    Args:
        panels: The lines of each panel, by its title.
        path: The file to write; an old one is replaced at once.
        x_label: With its unit.
        y_label: With its unit.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "bands.png"
        >>> band = Band("random", [1, 2], [50.0, 40.0], [1.0, 2.0])
        >>> save_bands({"2 steps": [band]}, path, "classes", "accuracy (%)")
        >>> path.read_bytes()[1:4]
        b'PNG'
    """
    columns = min(len(panels), _COLUMNS)
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(max(6.4, 5.2 * columns), 4.6 * rows)
    all_axes = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    labels = list(dict.fromkeys(b.label for bands in panels.values() for b in bands))
    for axes in all_axes[len(panels) :]:
        axes.set_visible(False)
    for axes, (title, bands) in zip(all_axes, panels.items(), strict=False):
        for band in bands:
            style = labels.index(band.label)
            _draw(axes, band, COLORS[style % 7], MARKERS[style % 7])
        axes.set_title(title)
        axes.set_xlabel(x_label)
        axes.set_xticks(sorted({x for band in bands for x in band.x}))
        axes.grid(color="#dddddd", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    for axes in all_axes[::columns]:
        axes.set_ylabel(y_label)
    save_figure(figure, path)


def _draw(axes, band: Band, color: str, marker: str) -> None:
    mean, deviation = np.array(band.mean), np.array(band.deviation)
    low, high = mean - deviation, mean + deviation
    axes.fill_between(band.x, low, high, color=color, alpha=0.18, linewidth=0)
    axes.plot(band.x, mean, color=color, marker=marker, label=band.label)
