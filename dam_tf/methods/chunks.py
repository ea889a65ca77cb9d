"""Sums over many images that pass a few at a time, so that memory stays flat.

Real images need no gradient themselves: nothing is kept of a chunk but what is added.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from dam_tf.base.target import target

# Enough to keep the convolutions busy, few enough for a pass to stay in a processor's
# cache and for memory to stay flat.
PIXELS_AT_ONCE = 16 * 32 * 32
# An accelerator has no such cache, and many more units to keep busy.
_TIMES_ON_ACCELERATORS = 32


def times_here() -> int:
    """Returns how many times as many pixels pass at once as on a CPU."""
    return 1 if target() == "cpu" else _TIMES_ON_ACCELERATORS


def images_at_once(image_shape: Sequence[int], count: int) -> int:
    """Returns how many of `count` images pass a network together.

    Args:
        image_shape: Height, width and channels.
        count: How many there are.

    Example:
        >>> images_at_once((32, 32, 3), 256), images_at_once((512, 512, 3), 256)
        (16, 1)
    """
    most = times_here() * PIXELS_AT_ONCE // (image_shape[0] * image_shape[1])
    return max(1, min(count, most))


def chunks_of(count: int, size: int) -> int:
    """Returns how many chunks of `size` images hold `count`."""
    return -(-count // size)


def chunk_rows(
    number: tf.Tensor | int, count: int, size: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the rows of a chunk of `count`, and 1 for each that is no repetition.

    Args:
        number: Of the chunk, from 0; the last one may repeat the last row.
        count: How many rows there are.
        size: Rows of a chunk.

    Example:
        >>> rows, valid = chunk_rows(1, 5, 3)
        >>> rows.numpy().tolist(), valid.numpy().tolist()
        ([3, 4, 4], [1.0, 1.0, 0.0])
    """
    rows = number * size + tf.range(size)
    return tf.minimum(rows, count - 1), tf.cast(rows < count, tf.float32)


def sum_of_chunks(
    of_rows: Callable[[tf.Tensor, tf.Tensor], Sequence[tf.Tensor]],
    zeros: Sequence[tf.Tensor],
    count: int,
    size: int,
) -> list[tf.Tensor]:
    """Returns sums over `count` rows. Runs in a graph.

    Args:
        of_rows: Takes the rows of a chunk and which of them count, `[size]` each, as
            `chunk_rows` gives them, and returns what they add.
        zeros: Where each sum begins.
        count: How many rows there are.
        size: Rows of a chunk.

    Example:
        >>> values = tf.range(5.0)
        >>> def of_rows(rows, valid):
        ...     return [tf.reduce_sum(tf.gather(values, rows) * valid)]
        >>> float(sum_of_chunks(of_rows, [tf.zeros([])], 5, 3)[0])
        10.0
    """
    sums = list(zeros)
    for number in tf.range(chunks_of(count, size)):
        found = of_rows(*chunk_rows(number, count, size))
        sums = [total + one for total, one in zip(sums, found, strict=True)]
    return sums
