"""Images that a program holds, of any type of number, as uint8: nothing is guessed."""

from typing import Any

import numpy as np

from dam_tf.base.errors import UserError
from dam_tf.base.messages import log
from dam_tf.data.source import CHUNK

_SHAPES = "[n, height, width] or [n, height, width, channels] with 1 or 3 channels"


def to_pixels(
    images: Any,
    pixel_range: tuple[float, float] | None = None,
    what: str = "images",
    in_file: bool = False,
) -> np.ndarray:
    """Returns images as uint8 [n, height, width, channels].

    Whole numbers are 0 (black) to 255 (white), booleans black or white, and floating
    point is 0 to 1, unless `pixel_range` says what is black and white. Floating point
    is rounded to 256 levels, and may exceed its range by half a level.

    Args:
        images: [n, height, width] or [n, height, width, 1 or 3]: an array, or anything
            that NumPy makes one of. One of uint8 is not copied.
        pixel_range: The values of black and white.
        what: Names the images in messages.
        in_file: Whether they come from a file, for which no range can be given.

    Raises:
        UserError: the shape or the values are others.

    Example:
        >>> to_pixels(np.array([[[0.0, 0.5, 1.0]]])).ravel()
        array([  0, 128, 255], dtype=uint8)
        >>> to_pixels(np.array([[[0.0, 0.5, 1.0]]]), (-1, 1)).ravel()
        array([128, 191, 255], dtype=uint8)
    """
    images = _array(images, what)
    kind = images.dtype.kind
    if kind == "b":
        return images.astype(np.uint8) * np.uint8(255)
    if kind not in "iuf":
        raise UserError(
            f"{what} are of type {images.dtype}; pixels must be numbers, such as uint8"
        )
    if pixel_range is None:
        low, high = (0.0, 1.0) if kind == "f" else (0.0, 255.0)
    else:
        low, high = checked_range(pixel_range)
    if images.dtype != np.uint8 or pixel_range is not None:
        _check_values(images, low, high, pixel_range, what, in_file)
    if kind == "f":
        log.info(
            "The %s are kept as uint8: pixels are rounded to 256 levels.",
            what,
        )
    elif high == 255.0 and images.max() <= 1:
        log.warning(
            "the %s hold 0 and 1 only, nearly black of 255; where 1 is white, %s",
            what,
            "store them as bool" if in_file else "give pixel_range=(0, 1)",
        )
    if (low, high) == (0.0, 255.0) and kind != "f":
        return images.astype(np.uint8, copy=False)
    return _scaled(images, low, high)


def _array(images: Any, what: str) -> np.ndarray:
    try:
        images = np.asarray(images)
    except (ValueError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{what} cannot be made an array ({reason}); give {_SHAPES}"
        ) from None
    if images.dtype == object:
        raise UserError(
            f"{what} are an array of objects, not of numbers; stack images of one "
            "size, as in np.stack(list(images))"
        )
    shape = images.shape
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in shape:
        hint = ""
        if len(shape) == 2:
            hint = "; rows of pixels need images.reshape(-1, height, width, channels)"
        elif len(shape) == 4 and shape[1] in (1, 3):
            hint = "; channels come last: np.moveaxis(images, 1, -1)"
        raise UserError(f"{what} have shape {shape}; they must be {_SHAPES}{hint}")
    return images


def checked_range(pixel_range: tuple[float, float]) -> tuple[float, float]:
    """Returns the values of black and white, once they have been checked."""
    try:
        low, high = map(float, pixel_range)
    except (TypeError, ValueError):
        low = high = np.nan
    if not -np.inf < low < high < np.inf:
        raise UserError(
            "pixel_range must be the values of black and white, the smaller one "
            f"first, as in (-1, 1), not {pixel_range!r}"
        )
    return low, high


def _check_values(
    images: np.ndarray,
    low: float,
    high: float,
    given: Any,
    what: str,
    in_file: bool,
) -> None:
    least, most = float(images.min()), float(images.max())
    if not (np.isfinite(least) and np.isfinite(most)):
        raise UserError(f"{what} hold NaN or infinite values; give numbers for them")
    tolerance = (high - low) / 510 if images.dtype.kind == "f" else 0.0
    if least < low - tolerance or most > high + tolerance:
        found = f"{what} are {images.dtype} with values {least:g} to {most:g}"
        if given is not None:
            raise UserError(
                f"{found}, outside of pixel_range={given}; give their range"
            )
        instead = (
            "give the values of black and white, as in "
            f"pixel_range=({least:g}, {most:g})"
        )
        if in_file:
            instead = "bring them to one of these ranges before you save them"
        raise UserError(
            f"{found}; whole numbers must be 0 to 255 and others 0 to 1; else {instead}"
        )


def _scaled(images: np.ndarray, low: float, high: float) -> np.ndarray:
    """Returns the levels of values, uint8; some at a time, for the memory's sake."""
    levels = np.empty(images.shape, np.uint8)
    for start in range(0, len(images), CHUNK):
        values = images[start : start + CHUNK].astype(np.float64)
        values = (values - low) / (high - low) * 255
        levels[start : start + CHUNK] = np.round(np.clip(values, 0, 255))
    return levels
