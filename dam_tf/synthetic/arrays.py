"""Arrays that another program made, as what a `DistilledSet` holds: nothing is guessed.

`DistilledSet.from_arrays` takes them from a program, `npz.py` from a file.
"""

import typing
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from dam_tf.base.errors import UserError, choice_error
from dam_tf.data.preprocessing.preprocessing import Preprocessing, load_arrays
from dam_tf.data.sources.classes import class_numbers
from dam_tf.data.sources.pixels import checked_range

Space = Literal["pixels", "network"]
SPACES: tuple[Space, ...] = typing.get_args(Space)

_MARGIN = 1.0  # by which learned pixels may leave 0 to 1 and still look like pixels
_ROUNDING = 1e-3  # by which the sum of a row of soft labels may differ from 1
_LAYOUTS = (
    "[n, height, width, channels] or [n, channels, height, width] with 1 or 3 "
    "channels, or [n, height, width]"
)


def check_space(space: str) -> None:
    """Raises a `UserError` where `space` is none of `SPACES`."""
    if space == "model":
        raise UserError("space 'model' is called 'network' now: what a network sees")
    if space not in SPACES:
        raise choice_error("space", space, SPACES)


def channels_last(images: Any) -> np.ndarray:
    """Returns images as `[n, height, width, channels]`, of any type of number.

    Args:
        images: `[n, h, w, c]`, `[n, c, h, w]` as PyTorch has it, or `[n, h, w]`.

    Raises:
        UserError: the shape tells no layout, or two; or these are no numbers.

    Example:
        >>> channels_last(np.zeros([5, 3, 32, 32])).shape
        (5, 32, 32, 3)
    """
    images = _array(images, "images")
    if images.ndim == 3:
        return images[..., np.newaxis]
    first, last = (images.ndim == 4 and images.shape[axis] in (1, 3) for axis in (1, 3))
    if first and last:
        raise UserError(
            f"images of shape {images.shape} may have their channels first or last, "
            "and nothing tells which; give images that are higher and wider than 3"
        )
    if not (first or last) or 0 in images.shape:
        raise UserError(f"images have shape {images.shape}; they must be {_LAYOUTS}")
    return np.moveaxis(images, 1, 3) if first else images


@np.errstate(over="ignore", invalid="ignore")  # what comes of it is refused
def pixels_and_preprocessing(
    images: Any,
    space: str = "pixels",
    mean: Any = None,
    deviation: Any = None,
    pixel_range: tuple[float, float] | None = None,
    preprocessing: Preprocessing | None = None,
) -> tuple[np.ndarray, Preprocessing | None]:
    """Returns images as pixels, nominally 0 to 1, and what networks see of them.

    The arguments are those of `DistilledSet.from_arrays`.

    Returns:
        float32 `[n, height, width, channels]`, and a fitted layer, or None.

    Raises:
        UserError: they do not fit together, or the images are no such pixels.
    """
    check_space(space)
    images = channels_last(images)
    if mean is not None or deviation is not None:
        given = {"preprocessing": preprocessing, "pixel_range": pixel_range}
        for name, value in given.items():
            if value is not None:
                raise UserError(
                    f"{name} cannot be given beside mean and deviation, which say what "
                    "the images are; leave one of them out"
                )
        preprocessing = _standardisation(images.shape[1:], mean, deviation)
        space = "network"
    if space == "pixels":
        return _unit(images, pixel_range), preprocessing
    if pixel_range is not None:
        raise UserError("pixel_range is for images in space 'pixels'; leave it out")
    if preprocessing is None:
        raise UserError(
            "images in space 'network' need the preprocessing that made them: give "
            "preprocessing=, or test the file as --distilled=npz:FILE --dataset=NAME, "
            "which takes that of the data set"
        )
    shape = tuple(getattr(preprocessing, "image_shape", images.shape[1:]))
    if shape != images.shape[1:]:
        raise UserError(
            f"the preprocessing is of images {shape}, and these are {images.shape[1:]}"
        )
    pixels = preprocessing.inverse(images.astype(np.float32))
    return np.asarray(pixels, np.float32), preprocessing


@np.errstate(over="ignore", invalid="ignore")
def labels_and_names(
    labels: Any, class_names: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Returns the class of each image, soft labels if there are, and class names.

    Args:
        labels: Positions in the class names, or names, `[n]` or `[n, 1]`; or the
            probabilities of the classes, `[n, classes]`.
        class_names: The classes in the order of the labels; numbers if left out.

    Returns:
        int64 `[n]`; float32 `[n, classes]`, or None where each row is one class; names.

    Raises:
        UserError: the labels cannot be read, or do not fit to the names.

    Example:
        >>> hard, soft, names = labels_and_names([[0.2, 0.8], [1.0, 0.0]])
        >>> hard.tolist(), soft.shape, names
        ([1, 0], (2, 2), ('0', '1'))
    """
    array = np.asarray(labels)
    if array.ndim != 2 or array.shape[1] == 1:
        array = array.reshape(-1)
        if array.dtype.kind not in "biuf" and class_names is not None:
            names = tuple(map(str, class_names))
            return class_numbers(array, names, "the labels"), None, names
        numbers = _array(array, "labels")
        if not numbers.size or (numbers != np.round(numbers)).any():
            raise UserError(
                "labels must be whole numbers, positions in the class names, not "
                f"{listed_values(numbers)}"
            )
        if class_names is None:
            class_names = range(int(max(numbers.max(), 0)) + 1)
        return numbers.astype(np.int64), None, tuple(map(str, class_names))
    soft = _array(array, "labels").astype(np.float32)
    names = class_names if class_names is not None else range(soft.shape[1])
    names = tuple(map(str, names))
    if soft.shape[1] != len(names) or not len(soft):
        raise UserError(
            f"labels are {list(soft.shape)}, and there are {len(names)} classes; give "
            "a row of probabilities for each image, one a class"
        )
    if not ((soft >= 0).all() and (np.abs(soft.sum(axis=1) - 1) < _ROUNDING).all()):
        raise UserError(
            "soft labels must be probabilities, 0 to 1 with the sum 1, not "
            f"{listed_values(soft[0])}; give softmax(labels) where they are logits"
        )
    hard = soft.argmax(axis=1)
    one_hot = np.eye(len(names), dtype=np.float32)[hard]
    return hard, None if np.array_equal(soft, one_hot) else soft, names


def listed_values(values: np.ndarray) -> str:
    """Returns the first values of an array for a message."""
    text = ", ".join(str(value) for value in np.ravel(values)[:4].tolist())
    return f"[{text}{', ...' if values.size > 4 else ''}]"


def _array(values: Any, what: str) -> np.ndarray:
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{what} cannot be made an array ({reason})") from None
    if array.dtype.kind not in "biuf":
        raise UserError(f"{what} are of type {array.dtype}; they must be numbers")
    return array


def _unit(images: np.ndarray, pixel_range: tuple[float, float] | None) -> np.ndarray:
    """Pixels as float32, nominally 0 to 1."""
    kind = images.dtype.kind
    least, most = float(images.min()), float(images.max())
    if pixel_range is not None:
        low, high = checked_range(pixel_range)
    elif kind in "iu":
        low, high = 0.0, 255.0
        if least < low or most > high:
            raise UserError(
                f"images are {images.dtype} with values {least:g} to {most:g}; whole "
                "numbers must be 0 to 255, or give pixel_range=(black, white)"
            )
    else:
        low, high = 0.0, 1.0
        if not -_MARGIN <= least <= most <= 1 + _MARGIN:
            raise UserError(
                f"images are {images.dtype} with values {least:g} to {most:g}, which "
                "do not look like pixels of 0 to 1; give mean and deviation if they "
                "are standardised, space='network' if they are whitened, and "
                "pixel_range=(black, white) if they are pixels of another range"
            )
    return ((images.astype(np.float64) - low) / (high - low)).astype(np.float32)


def _standardisation(
    shape: tuple[int, ...], mean: Any, deviation: Any
) -> Preprocessing:
    """The layer that subtracts a mean and divides by a deviation."""
    arrays = {"kind": "standardize", "eps": 0.1, "image_shape": shape}
    for name, values in {"mean": mean, "deviation": deviation}.items():
        if values is None:
            raise UserError(f"{name} is missing: give mean and deviation, both")
        array = np.ravel(_array(values, name)).astype(np.float32)
        if array.shape != shape[-1:]:
            raise UserError(
                f"{name} must be {list(shape[-1:])}, a number for each channel, not "
                f"{listed_values(array)}"
            )
        if not ((array >= 0) & (array <= 1)).all() or (
            name == "deviation" and not array.all()
        ):
            raise UserError(
                f"{name} must be that of pixels of 0 to 1, not {listed_values(array)}; "
                "divide by 255 where it is that of 0 to 255"
            )
        arrays[name] = array
    return load_arrays(arrays)
