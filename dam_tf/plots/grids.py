"""Pictures of image sets: a labelled grid as a PNG file, and a bare one as an array.

Pixels are enlarged by whole factors, and shown as `to_pixels` says. matplotlib draws
the names alone: it would turn the images, which may be many, into floating-point
numbers several times over.
"""

import bisect
import dataclasses
import math
import os
from collections.abc import Sequence

import numpy as np

from dam_tf.base.files import atomic_file
from dam_tf.plots.figures import DPI, new_figure
from dam_tf.plots.letters import class_labels, fit_text, numbers_note
from dam_tf.plots.pixels import to_pixels

# All lengths are in pixels of the picture.
_PER_LINE = 10  # images beside each other within a class; more go below them
_GAP = 2  # between the images of a class
_MARGIN = 14  # between columns of classes, and around everything
_ASPECT = 1.4  # width to height, as far as the classes allow
_LARGEST, _VISIBLE = 128, 64  # sides of an enlarged image: at most, and if possible
_GLANCE, _LIMIT = 1600, 3900  # sides of the picture: if possible, and at most
_SMALL = {"sides": (64, 32), "glance": 800}  # the same for a smaller picture


def save_grid(
    images: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    path: os.PathLike | str,
    max_per_class: int = 10,
    caption: str = "",
) -> None:
    """Writes images to a PNG file, grouped by class, with the names of the classes.

    Classes of one or two images are tiles with the name above, others rows with the
    name beside. Many classes are laid out in several columns. What would make the
    picture too large is left out, images of each class first, then details of large
    images, then the last classes; the picture says so.

    Args:
        images: `[n, height, width, channels]` with 1 or 3 channels, nominally 0..1.
        labels: Whole numbers `[n]`, positions in `class_names`.
        class_names: The name of each class.
        path: The file to write; an old one is replaced at once.
        max_per_class: The most images that are drawn of a class, its first ones.
        caption: A line below.

    Raises:
        ValueError: `images` are neither grey nor colour.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "preview.png"
        >>> save_grid(np.ones([2, 8, 8, 1]), np.array([0, 1]), ["cat", "dog"], path)
        >>> path.read_bytes()[1:4]
        b'PNG'
    """
    from PIL import Image

    pixels = _picture(images, labels, class_names, max_per_class, caption, {})
    with atomic_file(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")


def grid_picture(
    images: np.ndarray, labels: np.ndarray, class_names: Sequence[str], caption: str
) -> np.ndarray:
    """Returns what `save_grid` would write, smaller, as for a frame of an animation.

    Args:
        images: `[n, height, width, channels]` with 1 or 3 channels, nominally 0..1.
        labels: Whole numbers `[n]`, positions in `class_names`.
        class_names: The name of each class.
        caption: A line below.

    Returns:
        uint8 `[height, width, 3]`.

    Example:
        >>> images, labels = np.ones([2, 8, 8, 1]), np.array([0, 1])
        >>> grid_picture(images, labels, ["cat", "dog"], "iteration 7").shape[-1]
        3
    """
    return _picture(images, labels, class_names, 10, caption, _SMALL)


def _picture(images, labels, class_names, max_per_class, caption, sizes):
    """Returns the picture of a grid with its names, uint8 `[height, width, 3]`."""
    most = _largest_class(labels)
    shown = min(most, max_per_class)
    figure = new_figure(1, 1, layout=None)
    grid, names, font = _plan(figure, images, class_names, shown, sizes)
    if shown > 2 >= grid.per_class:  # then names stand above, and leave more room
        shown = grid.per_class
        grid, names, font = _plan(figure, images, class_names, shown, sizes)
    notes = [caption] if caption else []
    if grid.per_class < most:
        of = "of" if np.bincount(labels).min() == most else "of up to"
        notes.append(f"{grid.per_class} {of} {most} images per class")
    if grid.step > 1:
        notes.append(f"images at 1/{grid.step} of their size")
    if grid.num_classes < len(names):
        notes.append(f"the first {grid.num_classes:,} of {len(names):,} classes")
    note = numbers_note(class_names, range(grid.num_classes))
    if note and _width(figure, note, font) <= grid.shape[1] - 2 * _MARGIN:
        notes.append(note)
    foot = len(notes) * (font + _MARGIN)
    height, width = grid.shape[0] + foot, grid.shape[1]
    figure.set_size_inches(width / DPI, height / DPI)
    for index, name in enumerate(names[: grid.num_classes]):
        top, left = grid.corner(index)
        if space := grid.name[1]:
            x, y = left + space - 8, top + grid.cell[0] / 2
            alignment = {"ha": "right", "va": "center"}
        else:
            x, y = left, top + font + 2
            alignment = {"ha": "left", "va": "baseline"}
            name = _shorten(figure, name, grid.cell[1], font)
        _write(figure, x / width, 1 - y / height, name, font, **alignment)
    for line, note in enumerate(reversed(notes)):
        y = (_MARGIN + line * (font + _MARGIN)) / height
        note = _shorten(figure, note, width, font)
        _write(figure, 0.5, y, note, font, ha="center", va="baseline")
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
    grid.draw(images, labels, pixels)
    return pixels


def _plan(figure, images, class_names, per_class, sizes):
    """Returns the grid, the names as they are written, and the size of letters."""
    names = class_labels(class_names)
    if per_class <= 2:
        font = 12
        space = (font + 6, 0)
    else:
        font = 16
        names = [_shorten(figure, name, 10 * font, font) for name in names]
        space = (0, math.ceil(max(_width(figure, name, font) for name in names)) + 8)
    return _fit(images, len(names), per_class, space, **sizes), names, font


def _write(figure, x: float, y: float, text: str, font: int, **alignment: str):
    style = {"size": font * 72 / DPI, "color": "#333333", "parse_math": False}
    artist = figure.text(x, y, text, **style, **alignment)
    fit_text(artist)
    return artist


def _width(figure, text: str, font: int) -> float:
    artist = _write(figure, 0, 0, text, font)
    extent = artist.get_window_extent(figure.canvas.get_renderer()).width
    artist.remove()
    return extent


def _shorten(figure, name: str, space: float, font: int) -> str:
    if _width(figure, name, font) <= space:
        return name
    kept = bisect.bisect_right(
        range(len(name)),
        space,
        key=lambda length: _width(figure, name[:length] + "…", font),
    )
    return name[: max(kept - 1, 0)].rstrip() + "…"


def grid_array(
    images: np.ndarray, labels: np.ndarray, max_per_class: int = 10
) -> np.ndarray:
    """Returns one picture of all images, grouped by class, as for TensorBoard.

    Args:
        images: `[n, height, width, channels]` with 1 or 3 channels, nominally 0..1.
        labels: Whole numbers `[n]`.
        max_per_class: The most images that are drawn of a class, its first ones.

    Returns:
        uint8 `[grid height, grid width, 3]`.

    Raises:
        ValueError: `images` are neither grey nor colour.

    Example:
        >>> grid_array(np.ones([2, 8, 8, 1]), np.array([0, 1])).shape[-1]
        3
    """
    shown = min(_largest_class(labels), max_per_class)
    num_classes = int(np.max(labels)) + 1
    grid = _fit(images, num_classes, shown, (0, 0), **_SMALL)
    pixels = np.full([*grid.shape, 3], 255, np.uint8)
    grid.draw(images, labels, pixels)
    return pixels


@dataclasses.dataclass(frozen=True)
class _Grid:
    """Where everything lies; every pair is height and width, or top and left."""

    num_classes: int
    per_class: int
    columns: int  # of classes
    image: tuple[int, int]  # as it is drawn
    name: tuple[int, int]  # what a name takes above the images, and beside them
    step: int = 1  # pixels of an image, across, that become one

    @property
    def rows(self) -> int:
        return math.ceil(self.num_classes / self.columns)

    @property
    def cell(self) -> tuple[int, int]:
        """Size of a class: its images and its name."""
        lines = math.ceil(self.per_class / _PER_LINE)
        across = min(self.per_class, _PER_LINE)
        return (
            self.name[0] + lines * (self.image[0] + _GAP) - _GAP,
            self.name[1] + across * (self.image[1] + _GAP) - _GAP,
        )

    @property
    def between(self) -> tuple[int, int]:
        """Space between classes: less where names keep them apart already."""
        above, beside = self.name
        return _MARGIN if above else 3 * _GAP, _MARGIN if above or beside else 3 * _GAP

    @property
    def shape(self) -> tuple[int, int]:
        (height, width), (below, right) = self.cell, self.between
        return (
            self.rows * (height + below) - below + 2 * _MARGIN,
            self.columns * (width + right) - right + 2 * _MARGIN,
        )

    def corner(self, index: int) -> tuple[int, int]:
        """Returns where a class begins: tiles read across, rows of images down."""
        if self.name[1]:
            column, row = divmod(index, self.rows)
        else:
            row, column = divmod(index, self.columns)
        (height, width), (below, right) = self.cell, self.between
        return _MARGIN + row * (height + below), _MARGIN + column * (width + right)

    def draw(self, images: np.ndarray, labels: np.ndarray, canvas: np.ndarray) -> None:
        """Draws the images into the uint8 `canvas` `[height, width, 3]`."""
        height, width = self.image
        for index in range(self.num_classes):
            top, left = np.add(self.corner(index), self.name)
            for number, place in enumerate(
                np.flatnonzero(labels == index)[: self.per_class]
            ):
                line, across = divmod(number, _PER_LINE)
                y, x = top + line * (height + _GAP), left + across * (width + _GAP)
                image = _smaller(images[place], self.step)
                canvas[y : y + height, x : x + width] = to_pixels(
                    image, height // image.shape[0]
                )


def _fit(
    images: np.ndarray,
    num_classes: int,
    per_class: int,
    name: tuple[int, int],
    sides: tuple[int, int] = (_LARGEST, _VISIBLE),
    glance: int = _GLANCE,
) -> _Grid:
    """Returns the grid that shows most: all images, as large as there is room for."""
    if np.ndim(images) != 4 or np.shape(images)[-1] not in (1, 3):
        raise ValueError(
            f"images must be [n, height, width, 1 or 3], not {list(np.shape(images))}"
        )
    height, width = np.shape(images)[1:3]
    largest = max(1, sides[0] // max(height, width))
    visible = min(largest, math.ceil(sides[1] / max(height, width)))

    def grid(per_class: int, factor: int, step: int = 1, classes: int = num_classes):
        image = (max(1, height // step) * factor, max(1, width // step) * factor)
        return _with_columns(_Grid(classes, per_class, 1, image, name, step))

    for factor in range(largest, visible - 1, -1):
        choice = grid(per_class, factor)
        if max(choice.shape) <= glance:
            return choice
    for factor in range(visible, 0, -1):
        choice = grid(per_class, factor)
        if max(choice.shape) <= _LIMIT:
            return choice
    while choice.per_class > 1 and max(choice.shape) > _LIMIT:
        choice = grid(choice.per_class - 1, factor=1)
    while max(height, width) // (choice.step + 1) >= sides[1] and (
        max(choice.shape) > _LIMIT
    ):
        choice = grid(1, 1, choice.step + 1)
    if max(choice.shape) > _LIMIT:
        fitting = bisect.bisect_right(
            range(1, num_classes),
            _LIMIT,
            key=lambda classes: max(grid(1, 1, choice.step, classes).shape),
        )
        choice = grid(1, 1, choice.step, max(1, fitting))
    return choice


def _smaller(image: np.ndarray, step: int) -> np.ndarray:
    """Returns the means of an image's squares of `step` x `step` pixels."""
    if step == 1:
        return image
    down, right = (min(step, side) for side in image.shape[:2])
    height, width = image.shape[0] // down, image.shape[1] // right
    image = image[: height * down, : width * right]
    return image.reshape(height, down, width, right, -1).mean((1, 3))


def _with_columns(grid: _Grid) -> _Grid:
    """Chooses the columns that give the best shape and leave few places empty."""

    def badness(columns: int) -> float:
        height, width = dataclasses.replace(grid, columns=columns).shape
        empty = math.ceil(grid.num_classes / columns) * columns / grid.num_classes - 1
        return abs(math.log(width / height / _ASPECT)) + 4 * empty

    # The best number of columns is near that of a square, stretched.
    square = math.sqrt(grid.num_classes * _ASPECT * grid.cell[0] / grid.cell[1])
    last = min(grid.num_classes, math.ceil(square * 2))
    near = range(min(last, max(1, int(square / 1.5))), last + 1)
    return dataclasses.replace(grid, columns=min(near, key=badness))


def _largest_class(labels: np.ndarray) -> int:
    return int(np.bincount(labels).max())
