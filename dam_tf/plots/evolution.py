"""How images change while they are learned: a strip (Figure 10) and an animation."""

import math
import os
from collections.abc import Mapping, Sequence

import numpy as np

from dam_tf.base.files import atomic_file
from dam_tf.plots.figures import DPI, new_figure, save_figure
from dam_tf.plots.grids import grid_picture
from dam_tf.plots.letters import class_labels, fit_text, numbers_note
from dam_tf.plots.pixels import to_pixels

# All lengths are in pixels of the picture.
_GAP = 2
_BETWEEN = 8  # between classes
_MARGIN = 12
_VISIBLE = 64  # side of an enlarged image, about
_LONGEST = 24  # letters of a class name
_FONT = 14

_FRAME, _LAST_FRAME = 400, 2500  # milliseconds that they are shown


def save_evolution(
    stages: Mapping[int, np.ndarray],
    labels: np.ndarray,
    class_names: Sequence[str],
    path: os.PathLike | str,
    per_class: int = 2,
    caption: str = "",
) -> None:
    """Draws images in rows, their iterations in columns, into a PNG file.

    Args:
        stages: Images `[n, height, width, 1 or 3]` by iteration, in order.
        labels: Whole numbers `[n]`, positions in `class_names`.
        class_names: The name of each class; one without an image has no row.
        path: The file to write; an old one is replaced at once.
        per_class: The most images of a class, its first ones.
        caption: A line below.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "evolution.png"
        >>> stages = {0: np.zeros([2, 8, 8, 1]), 10: np.ones([2, 8, 8, 1])}
        >>> save_evolution(stages, np.array([0, 1]), ["cat", "dog"], path)
        >>> path.read_bytes()[1:4]
        b'PNG'
    """
    rows = [np.flatnonzero(labels == k)[:per_class] for k in range(len(class_names))]
    named = [(k, some) for k, some in enumerate(rows) if len(some)]
    canvas, centers, step = _strip(stages, [some for _, some in named])
    labels_of = class_labels(class_names, _LONGEST)
    names = [labels_of[k] for k, _ in named]
    figure = new_figure(1, 1, layout=None)
    left = _MARGIN + 8 + max(_width(figure, name) for name in names)
    height, width = canvas.shape[:2]
    note = numbers_note(class_names, [k for k, _ in named])
    if note and _width(figure, f"{caption}; {note}") <= width + left:
        caption = f"{caption}; {note}" if caption else note
    top = bottom = _MARGIN + 2 * _FONT
    if not caption:
        bottom = _MARGIN
    total = (width + left + _MARGIN, height + top + bottom)
    figure.set_size_inches(total[0] / DPI, total[1] / DPI)
    axes = figure.add_axes(
        (left / total[0], bottom / total[1], width / total[0], height / total[1])
    )
    axes.imshow(canvas, interpolation="nearest", aspect="auto")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=_FONT * 72 / DPI, pad=4)
    axes.tick_params(labeltop=True, labelbottom=False)
    axes.set_yticks(centers, names, parse_math=False)
    places = (np.arange(len(stages)) + 0.5) * step - _GAP / 2
    axes.set_xticks(places, [f"{iteration:,}" for iteration in stages])
    size = {"size": _FONT * 72 / DPI, "parse_math": False}
    at = {"xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate("iteration", (0, 1), (-6, 4), ha="right", **at, **size)
    if caption:
        x = _MARGIN / total[0]
        figure.text(x, _MARGIN / total[1], caption, ha="left", **size)
    save_figure(figure, path)


def save_animation(
    stages: Mapping[int, np.ndarray],
    labels: np.ndarray,
    class_names: Sequence[str],
    path: os.PathLike | str,
) -> None:
    """Writes a GIF that shows the grid of images at one iteration after the other.

    Args:
        stages: Images `[n, height, width, 1 or 3]` by iteration, in order.
        labels: Whole numbers `[n]`, positions in `class_names`.
        class_names: The name of each class.
        path: The file to write; an old one is replaced at once.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "evolution.gif"
        >>> stages = {0: np.zeros([2, 8, 8, 1]), 10: np.ones([2, 8, 8, 1])}
        >>> save_animation(stages, np.array([0, 1]), ["cat", "dog"], path)
        >>> path.read_bytes()[:3]
        b'GIF'
    """
    from PIL import Image

    frames = [
        Image.fromarray(
            grid_picture(images, labels, class_names, f"iteration {iteration:,}")
        ).convert("P", palette=Image.Palette.ADAPTIVE)
        for iteration, images in stages.items()
    ]
    durations = [_FRAME] * (len(frames) - 1) + [_LAST_FRAME]
    with atomic_file(path) as temporary:
        frames[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=frames[1:],
            duration=durations,
            loop=0,
        )


def _strip(
    stages: Mapping[int, np.ndarray], rows: Sequence[np.ndarray]
) -> tuple[np.ndarray, list[float], int]:
    """Returns the images side by side, each class's middle, and a column's width."""
    height, width = next(iter(stages.values())).shape[1:3]
    factor = max(1, math.ceil(_VISIBLE / max(height, width)))
    height, width = height * factor, width * factor
    lines = sum(map(len, rows))
    total = lines * (height + _GAP) + (len(rows) - 1) * _BETWEEN - _GAP
    step = width + _GAP
    canvas = np.full([total, len(stages) * step - _GAP, 3], 255, np.uint8)
    top, centers = 0, []
    for some in rows:
        centers.append(top + (len(some) * (height + _GAP) - _GAP) / 2 - 0.5)
        for place in some:
            for column, images in enumerate(stages.values()):
                left = column * step
                canvas[top : top + height, left : left + width] = to_pixels(
                    images[place], factor
                )
            top += height + _GAP
        top += _BETWEEN
    return canvas, centers, step


def _width(figure, text: str) -> int:
    artist = figure.text(0, 0, text, size=_FONT * 72 / DPI, parse_math=False)
    fit_text(artist)
    extent = artist.get_window_extent(figure.canvas.get_renderer()).width
    artist.remove()
    return math.ceil(max(extent, 5 * _FONT))  # the word iteration stands there, too
