"""Class-wise batches that the compiled step draws itself, from images on its device.

`sampling.py` draws them on the host and loads them ahead. Here they are drawn by XLA,
for a program that runs where TensorFlow is not (`exports/program/`).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from dam_tf.data.sampling import ClassBatch


class DrawnBatches:
    """Random real images of the classes of one iteration, group by group.

    As in `ClassBatches`, a class with at least `batch` images is sampled without
    replacement, a smaller one with replacement, and every set of `classes_per_step`
    classes is as likely as any other.

    Args:
        real: uint8 `[n, h, w, c]`, sorted by class.
        counts: Of each class, its images.
        batch: Images per class.
        seed: `[2]`, as of a stateless op.
        classes_per_step: Classes that are drawn.
        classes_per_group: Classes that come together; divides `classes_per_step`.

    Example:
        >>> real = tf.zeros([5, 8, 8, 1], tf.uint8)
        >>> batches = DrawnBatches(real, [2, 3], 2, tf.constant([0, 1]), 2, 1)
        >>> batches[1].images.shape, batches[1].classes.numpy().tolist()
        (TensorShape([1, 2, 8, 8, 1]), [1])
    """

    def __init__(
        self,
        real: tf.Tensor,
        counts: Sequence[int],
        batch: int,
        seed: tf.Tensor,
        classes_per_step: int,
        classes_per_group: int,
    ):
        self._real, self._batch, self._size = real, batch, classes_per_group
        self._counts = counts
        self._seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        total = len(counts)
        self._classes = tf.range(total)
        if classes_per_step < total:
            order = tf.argsort(tf.random.stateless_uniform([total], self._seeds[0]))
            self._classes = tf.sort(order[:classes_per_step])

    def __getitem__(self, group: tf.Tensor | int) -> ClassBatch:
        """Returns the batch of a group, by its number."""
        classes = tf.slice(self._classes, [group * self._size], [self._size])
        seed = tf.random.experimental.stateless_fold_in(self._seeds[1], group)
        rows = rows_of_classes(self._counts, classes, self._batch, seed)
        images = tf.gather(self._real, tf.reshape(rows, [-1]))
        shape = [self._size, self._batch, *self._real.shape[1:]]
        return ClassBatch(classes, tf.reshape(images, shape))


def rows_of_classes(
    counts: Sequence[int], classes: tf.Tensor, many: int, seed: tf.Tensor
) -> tf.Tensor:
    """Draws `many` images of each class, and returns their rows among all images.

    Args:
        counts: Of each class, its images; rows are sorted by class.
        classes: Which classes, int32 `[n]`.
        many: Different images, where a class has as many.
        seed: `[2]`, as of a stateless op.

    Returns:
        int32 `[n, many]`.
    """
    counts = np.asarray(counts, np.int32)
    first = tf.gather(np.cumsum(counts, dtype=np.int32) - counts, classes)
    sizes = tf.gather(counts, classes)[:, None]
    one, other = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    shape = [classes.shape[0], int(counts.max())]
    places = tf.zeros([shape[0], many], tf.int32)
    if shape[1] >= many:
        # The images of a class in random order; what is beyond the class comes last.
        keys = tf.random.stateless_uniform(shape, one)
        beyond = tf.range(shape[1])[None] >= sizes
        places = tf.argsort(tf.where(beyond, 2.0, keys), axis=1)[:, :many]
    if counts.min() < many:
        shares = tf.random.stateless_uniform([shape[0], many], other)
        again = tf.cast(shares * tf.cast(sizes, tf.float32), tf.int32)
        again = tf.minimum(again, sizes - 1)
        places = tf.where(sizes < many, again, places)
    return first[:, None] + places


def element(batches: Iterator | DrawnBatches, number: tf.Tensor | int) -> ClassBatch:
    """Returns an element of an iteration, the next of an iterator or that number."""
    return batches[number] if isinstance(batches, DrawnBatches) else next(batches)
