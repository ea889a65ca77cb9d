"""Class-wise batches of real images, as a tf.data pipeline (Algorithm 1, line 4).

The images lie sorted by class, so a class's random batch is a gather. Each batch
is a function of (seed, iteration, class) alone: a resumed run sees exactly the
batches that an uninterrupted one would, and several devices those of a single one.
"""

from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from dam_tf.base.messages import log
from dam_tf.base.seeds import Purpose, drawn_classes, numpy_generator
from dam_tf.data.failures import Failures
from dam_tf.data.real_data import Split

_READERS = 2  # groups that are read at once, and as many more wait for the step


class ClassBatch(NamedTuple):
    """Real images of some classes.

    Attributes:
        classes: Their labels, int32 `[n]`, ascending.
        images: uint8 `[n, batch, h, w, c]`, pixels.
    """

    classes: tf.Tensor
    images: tf.Tensor


class ClassBatches:
    """Random real images of the classes of every iteration.

    A class with at least `batch` images is sampled without replacement; a
    smaller one with replacement.

    Args:
        split: Real images, uint8, sorted by class.
        batch: Images per class per iteration.
        seed: The run's seed.
        classes_per_step: Classes that an iteration draws; all if left out.

    Attributes:
        split: As given.
    """

    def __init__(
        self,
        split: Split,
        batch: int,
        seed: int,
        classes_per_step: int | None = None,
    ):
        self.split = split
        self._batch = batch
        self._seed = seed
        self._sizes = np.diff(split.offsets)
        self._drawn = classes_per_step or len(self._sizes)
        self._failures = Failures()

    def say_if_small(self) -> None:
        """Says so if some class is sampled with replacement."""
        if small := int(np.sum(self._sizes < self._batch)):
            log.info(
                "%d of %d classes have fewer than %d images; they are sampled "
                "with replacement.",
                small,
                len(self._sizes),
                self._batch,
            )

    def failures_named(self) -> AbstractContextManager:
        """Returns a context in which a failure of loading is raised as what it is."""
        return self._failures.named()

    def indices(self, iteration: int, label: int) -> np.ndarray:
        """Returns which images `[batch]` of the split class `label` gets."""
        counters = int(iteration), int(label)
        return self._rows(self._batch, Purpose.REAL_BATCH, *counters)

    def _rows(self, count: int, purpose: Purpose, *counters: int) -> np.ndarray:
        """Random rows of the class that the last of `counters` is."""
        generator = numpy_generator(self._seed, purpose, *counters)
        size = self._sizes[counters[-1]]
        chosen = generator.choice(size, count, replace=size < count)
        return self.split.offsets[counters[-1]] + chosen

    def images_of(
        self, label: tf.Tensor, count: int, purpose: Purpose, *counters: tf.Tensor
    ) -> tf.Tensor:
        """Returns random images of a class, read when a graph comes to them.

        Args:
            label: Of the class, a scalar.
            count: How many; drawn with replacement where the class has fewer.
            purpose: What they are for.
            *counters: Scalars that tell this draw from others of that purpose.

        Returns:
            uint8 `[count, h, w, c]`.
        """

        def load(*counters: np.ndarray) -> np.ndarray:
            return self._taken(self._rows(count, purpose, *map(int, counters)))

        images = tf.numpy_function(load, [*counters, label], tf.uint8, stateful=False)
        return tf.ensure_shape(images, [count, *self.split.images.shape[1:]])

    def _taken(self, rows: np.ndarray) -> np.ndarray:
        """Images of the split; a failure is kept for `failures_named`."""
        with self._failures.kept():
            return self.split.take(rows)

    def dataset(
        self,
        first: int,
        last: int,
        classes_per_group: int,
        places: range | None = None,
    ) -> tf.data.Dataset:
        """Returns the batches of iterations `first` to `last` - 1.

        Elements are `ClassBatch`es of `classes_per_group` classes, the groups of an
        iteration one after the other, loaded ahead while a step computes.

        Args:
            first: Iteration to start with.
            last: Iteration to end before.
            classes_per_group: Classes that come together; must divide the number of
                `places`.
            places: A replica's share of an iteration's classes; all if left out.
        """
        places = range(self._drawn) if places is None else places
        size, total = classes_per_group, len(self._sizes)
        groups = len(places) // size
        shape = (size, self._batch, *self.split.images.shape[1:])

        def load(element: np.int64) -> tuple[np.ndarray, np.ndarray]:
            iteration, group = divmod(int(element), groups)
            classes = drawn_classes(self._seed, iteration, total, self._drawn)
            classes = classes[places.start + group * size :][:size]
            rows = np.concatenate([self.indices(iteration, k) for k in classes])
            return classes, self._taken(rows).reshape(shape)

        def load_tensors(element: tf.Tensor) -> ClassBatch:
            classes, images = tf.numpy_function(
                load, [element], (tf.int32, tf.uint8), stateful=False
            )
            return ClassBatch(
                tf.ensure_shape(classes, [size]), tf.ensure_shape(images, shape)
            )

        elements = tf.data.Dataset.range(first * groups, last * groups)
        batches = elements.map(load_tensors, _READERS, deterministic=True)
        return batches.prefetch(_READERS)
