"""How stored images become the images that are trained on (IDC's multi-formation).

A method that learns in this form calls `decode` under its tape; a distilled set says
with its `formation` how its images came from what is stored.
"""

import re
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from dam_tf.base.errors import UserError


def factor_of(formation: str) -> int:
    """Returns N of "factor:N", and 1 for "raw".

    Raises:
        UserError: the formation is none of those.

    Example:
        >>> factor_of("raw"), factor_of("factor:2")
        (1, 2)
    """
    if formation == "raw":
        return 1
    match = re.fullmatch(r"factor:([2-9])", str(formation))
    if not match:
        raise UserError(
            f"unknown formation {formation!r}; choose raw, or factor:2 to factor:9"
        )
    return int(match[1])


def decode(stored: tf.Tensor, formation: str) -> tf.Tensor:
    """Returns the images that a network is trained on.

    "raw" gives back what is stored. "factor:N" cuts each stored image into N x N
    parts and enlarges each part to the full size, bilinearly: output row i lies at
    row (i + 1/2) / N - 1/2 of the part, and what lies outside takes the value at
    the border (`tf.image.resize` without antialiasing, PyTorch's `Upsample` without
    aligned corners). Stored image k gives the outputs k * N * N and following: its
    parts from left to right, and from top to bottom.

    It is linear, and differentiable any number of times. With standardisation it
    makes no difference whether pixels or standardised pixels are decoded; with ZCA,
    which mixes pixels, it does.

    Args:
        stored: float `[m, height, width, channels]`; N divides height and width.
        formation: "raw" or "factor:N".

    Returns:
        `[m * N * N, height, width, channels]` of the same type.

    Raises:
        UserError: the formation is unknown, or N does not divide height and width.

    Reference:
        Kim et al., Dataset Condensation via Efficient Synthetic-Data
        Parameterization, ICML 2022, section 4 (multi-formation, uniform).

    Example:
        >>> stored = tf.reshape(tf.range(16.0), [1, 4, 4, 1])
        >>> images = decode(stored, "factor:2")
        >>> images.shape
        TensorShape([4, 4, 4, 1])
        >>> images[0, 0, :, 0].numpy().tolist()
        [0.0, 0.25, 0.75, 1.0]
    """
    factor = factor_of(formation)
    stored = tf.convert_to_tensor(stored)
    if factor == 1:
        return stored
    _, height, width, channels = stored.shape
    check_sides(height, width, formation)
    rows, columns = (
        tf.constant(_bilinear(side // factor, factor), stored.dtype)
        for side in (height, width)
    )
    parts = tf.reshape(
        stored, [-1, factor, height // factor, factor, width // factor, channels]
    )
    enlarged = tf.einsum("kyhxwc,Hh,Ww->kyxHWc", parts, rows, columns)
    return tf.reshape(enlarged, [-1, height, width, channels])


def encode(images: tf.Tensor, formation: str) -> tf.Tensor:
    """Returns what is to be stored of images, so that `decode` shows them blurred.

    "factor:N" reduces each image by the mean of N x N pixels, and lays N x N of them
    side by side, in the order of `decode`.

    Args:
        images: float `[m * N * N, height, width, channels]`.
        formation: "raw" or "factor:N".

    Returns:
        `[m, height, width, channels]`.

    Example:
        >>> images = tf.reshape(tf.repeat(tf.range(4.0), 16), [4, 4, 4, 1])
        >>> encode(images, "factor:2")[0, ::2, :, 0].numpy()
        array([[0., 0., 1., 1.],
               [2., 2., 3., 3.]], dtype=float32)
    """
    factor = factor_of(formation)
    _, height, width, channels = images.shape
    rows, columns = height // factor, width // factor
    cut = [-1, factor, factor, rows, factor, columns, factor, channels]
    means = tf.reduce_mean(tf.reshape(images, cut), axis=(4, 6))
    laid = tf.transpose(means, [0, 1, 3, 2, 4, 5])
    return tf.reshape(laid, [-1, height, width, channels])


def check_sides(height: int, width: int, formation: str) -> None:
    """Raises a `UserError` where images of this size cannot be cut into parts."""
    factor = factor_of(formation)
    if height % factor or width % factor:
        raise UserError(
            f"images of {height}x{width} cannot be cut into {factor} x {factor} equal "
            f"parts, as formation {formation!r} asks; choose another formation or size"
        )


def stored_shape(shape: Sequence[int], formation: str) -> list[int]:
    """Returns the shape of what `decode` makes images of shape `[n, h, w, c]` from.

    Example:
        >>> stored_shape([40, 32, 32, 3], "factor:2")
        [10, 32, 32, 3]
    """
    return [shape[0] // factor_of(formation) ** 2, *shape[1:]]


def _bilinear(size: int, factor: int) -> np.ndarray:
    """Returns the matrix `[size * factor, size]` that enlarges one axis."""
    place = (np.arange(size * factor) + 0.5) / factor - 0.5
    place = np.clip(place, 0, size - 1)
    # Row i has 1 - |distance| at the two pixels around its place.
    return np.maximum(0, 1 - np.abs(place[:, np.newaxis] - np.arange(size)))
