"""The picture of a confusion matrix."""

import os
from collections.abc import Sequence

import numpy as np

from dam_tf.plots.figures import new_figure, save_figure
from dam_tf.plots.letters import class_labels, numbers_note

_MOST_NAMED = 30  # classes, up to which there is room for names
_LONGEST = 24  # letters of a name


def save_confusion(
    matrix: np.ndarray, class_names: Sequence[str], path: os.PathLike | str
) -> None:
    """Draws a confusion matrix, each row as shares of its class, into a PNG file.

    Args:
        matrix: `[classes, classes]`: images of the row's class that were taken for
            the column's.
        class_names: The name of each class; above 30 classes they are left out.
        path: The file to write; an old one is replaced at once.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "confusion.png"
        >>> save_confusion(np.eye(2), ["cat", "dog"], path)
        >>> path.read_bytes()[1:4]
        b'PNG'
    """
    count = len(matrix)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    named = count <= _MOST_NAMED
    side = max(5.0, 0.45 * count) if named else 8.0
    figure = new_figure(side + 2, side + 1)
    axes = figure.add_subplot()
    shown = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(shown, label="share of the class", shrink=0.8)
    axes.set(xlabel="taken for", ylabel="class")
    if named:
        names = class_labels(class_names, _LONGEST)
        axes.set(xlabel=f"taken for\n{numbers_note(class_names)}".strip())
        style = {"parse_math": False}
        axes.set_xticks(range(count), names, rotation=90, **style)
        axes.set_yticks(range(count), names, **style)
        for row, column in np.argwhere(shares >= 0.005):
            share = shares[row, column]
            color = "white" if share > 0.5 else "#333333"
            text = f"{100 * share:.0f}"
            axes.text(column, row, text, ha="center", va="center", size=9, color=color)
    save_figure(figure, path)
