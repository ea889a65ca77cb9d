"""A chart of many rows: each a dot with its deviation, a panel for each setting."""

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dam_tf.plots.figures import new_figure, save_figure

_COMMON, _OWN = "#0072B2", "#D55E00"  # of Okabe and Ito


class Dot(NamedTuple):
    """A row of a chart.

    Attributes:
        name: Beside it.
        common: Mean and deviation of an accuracy in %; None where there is none.
        own: The same by the row's own recipe.
    """

    name: str
    common: tuple[float, float] | None
    own: tuple[float, float] | None = None


def save_dots(
    panels: Mapping[str, Sequence[Dot]], title: str, path: os.PathLike | str
) -> None:
    """Draws accuracies, a row below the other, into a PNG file.

    Args:
        panels: By title, the rows of a panel.
        title: Above the chart.
        path: The file to write; an old one is replaced at once.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "dots.png"
        >>> rows = [Dot("dm", (50, 1)), Dot("dd", (30, 2), (70, 1)), Dot("x", None)]
        >>> save_dots({"1 image per class": rows}, "digits", path)
        >>> path.read_bytes()[1:4]
        b'PNG'
    """
    most = max(map(len, panels.values()), default=1)
    figure = new_figure(1.5 + 4.2 * max(1, len(panels)), 1.6 + 0.27 * most)
    all_axes = figure.subplots(1, max(1, len(panels)), squeeze=False)[0]
    recipes = False
    for axes, (name, rows) in zip(all_axes, panels.items(), strict=True):
        for place, row in enumerate(rows):
            for found, style in (
                (row.own, {"color": _OWN, "fmt": "s", "mfc": "white"}),
                (row.common, {"color": _COMMON, "fmt": "o"}),
            ):
                if found is not None:
                    mean, deviation = found
                    errors = {"xerr": deviation} if deviation else {}
                    axes.errorbar(mean, place, capsize=3, **errors, **style)
            if row.common is None:
                axes.text(1, place, "none", va="center", size=9)
            recipes = recipes or row.own is not None
        axes.set_yticks(range(len(rows)), [row.name for row in rows])
        axes.set(xlabel="test accuracy (%)", title=name, ylim=(len(rows) - 0.5, -0.5))
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    if recipes:
        handles = [
            all_axes[0].errorbar([], [], color=_COMMON, fmt="o"),
            all_axes[0].errorbar([], [], color=_OWN, fmt="s", mfc="white"),
        ]
        labels = ["common protocol", "by the set's own recipe"]
        place = "outside lower center"
        figure.legend(handles, labels, loc=place, ncols=2, frameon=False)
    save_figure(figure, path)
