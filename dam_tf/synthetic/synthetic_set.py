"""What is learned: images, and with some methods labels and step sizes, as variables.

It knows no method. Methods read it and give gradients by the names of its variables;
the run applies them, stores the variables in checkpoints and exports the set.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.synthetic.formation import decode, factor_of
from dam_tf.synthetic.recipe import Recipe


class SyntheticSet:
    """Synthetic images in model space, sorted by class.

    Args:
        images: What is stored at first, by class, float32 `[n_k, h, w, c]` each, in
            model space; `[classes, ipc, h, w, c]` where all have as many.
        soft_labels: Initial logits `[n, classes]`, for methods that learn labels;
            left out, each image is of its class and nothing else.
        scalars: Initial values of what else is learned, such as a learning rate.
        formation: How images are made of what is stored (`formation.py`): `"raw"`, or
            `"factor:2"` for four of each.
        kept: How many of the images of each class, the first, stay as they are; 0
            where classes have different numbers.

    Attributes:
        stored: What is learned of the images, `[m, h, w, c]`.
        owners: The class of each image, int64 `[n]`.
        classes: Number of classes.
        counts: Stored images of each class, which the budget counts.
        kept: Those of each class that are not learned.
        variables_by_name: All that is learned: `images`, `labels` where labels are,
            and the scalars.

    Example:
        >>> synthetic = SyntheticSet(np.zeros([2, 3, 8, 8, 1], np.float32))
        >>> synthetic.images().shape, synthetic.labels().shape
        (TensorShape([6, 8, 8, 1]), TensorShape([6, 2]))
        >>> synthetic.rows_of(tf.constant([1]), 3).numpy()
        array([[3, 4, 5]], dtype=int32)
    """

    def __init__(
        self,
        images: np.ndarray | Sequence[np.ndarray],
        soft_labels: np.ndarray | None = None,
        scalars: Mapping[str, float | np.ndarray] | None = None,
        formation: str = "raw",
        kept: int = 0,
    ):
        self.formation, self._parts = formation, factor_of(formation) ** 2
        self.counts, self.kept = tuple(len(one) for one in images), kept
        self.classes = len(self.counts)
        self.owners = self._labels(self.counts)
        self._fixed = tf.constant([one[:kept] for one in images], tf.float32)
        flat = np.concatenate([one[kept:] for one in images])
        self._first = np.cumsum([0, *self.counts[:-1]], dtype=np.int32)
        self._first -= kept * np.arange(self.classes, dtype=np.int32)
        self.stored = keras.Variable(flat, dtype="float32", name="images")
        self.variables_by_name = {"images": self.stored}
        if soft_labels is not None:
            logits = keras.Variable(soft_labels, dtype="float32", name="labels")
            self.variables_by_name["labels"] = logits
        for name, value in (scalars or {}).items():
            scalar = keras.Variable(value, dtype="float32", name=name)
            self.variables_by_name[name] = scalar

    @property
    def uneven(self) -> bool:
        """Whether classes have different numbers of images."""
        return len({*self.counts}) > 1

    def images(self) -> tf.Tensor:
        """Returns the images as networks see them, `[n, h, w, c]`."""
        stored = tf.convert_to_tensor(self.stored)
        if self.kept:
            by_class = self.stored_of(tf.range(self.classes), self.counts[0])
            stored = tf.reshape(by_class, [-1, *by_class.shape[2:]])
        return self.decode(stored)

    def decode(self, stored: tf.Tensor) -> tf.Tensor:
        """Returns the images made of some rows of `stored`, `[m, h, w, c]`."""
        return decode(stored, self.formation)

    def labels(self) -> tf.Tensor:
        """Returns the probabilities of the classes, float32 `[n, classes]`."""
        logits = self.variables_by_name.get("labels")
        if logits is not None:  # in one line, AutoGraph would warn
            return self.probabilities(logits.value)
        return tf.one_hot(self.owners, self.classes)

    def probabilities(self, labels: tf.Tensor) -> tf.Tensor:
        """Returns values of the variable `labels` as probabilities."""
        return tf.nn.softmax(labels)

    def scalar(self, name: str) -> tf.Tensor:
        """Returns what is learned beside images and labels, such as a step size."""
        return tf.convert_to_tensor(self.variables_by_name[name])

    def by_count(self, k: tf.Tensor | int, call: Callable[[int], Any]) -> Any:
        """Returns `call` of how many stored images class `k` has. In a graph, too.

        Compiled code needs that number when it is made, and `k` is a tensor: where
        classes differ, it is made for each number that a class has, and the one for
        `k` runs.
        """
        numbers = sorted({*self.counts})
        if len(numbers) == 1:
            return call(numbers[0])
        number = tf.gather(np.searchsorted(numbers, self.counts).astype(np.int32), k)
        return tf.switch_case(number, [functools.partial(call, n) for n in numbers])

    def rows_of(self, classes: tf.Tensor, count: int) -> tf.Tensor:
        """Returns where in `stored` some classes are, int32 `[len(classes), n]`.

        Args:
            classes: Their labels.
            count: Stored images of each of them.
        """
        first = tf.gather(self._first, tf.cast(classes, tf.int32))
        return first[:, None] + tf.range(count - self.kept)[None]

    def stored_of(self, classes: tf.Tensor, count: int) -> tf.Tensor:
        """Returns all stored images of some classes, `[len(classes), count, h, w, c]`.

        Args:
            classes: Their labels.
            count: Stored images of each of them.
        """
        learned = tf.gather(self.stored.value, self.rows_of(classes, count))
        if not self.kept:
            return learned
        return tf.concat([tf.gather(self._fixed, classes), learned], axis=1)

    def sample(self, seed: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns `count` different images and their labels.

        Args:
            seed: `[2]`, as of a stateless op.
            count: At most the number of images.
        """
        order = tf.argsort(tf.random.stateless_uniform([len(self.owners)], seed))
        rows = order[:count]
        return tf.gather(self.images(), rows), tf.gather(self.labels(), rows)

    def _labels(self, counts: Sequence[int]) -> np.ndarray:
        """The classes of the images made of so many stored ones of each."""
        return np.repeat(np.arange(self.classes), np.multiply(counts, self._parts))

    def export(
        self,
        preprocessing: keras.layers.Layer,
        class_names: Sequence[str],
        name: str = "",
        averages: Mapping[str, tf.Tensor] | None = None,
        provenance: Mapping[str, str] | None = None,
        recipe: Recipe | None = None,
    ) -> DistilledSet:
        """Returns what is learned as it is now, in pixel space.

        Images that are kept are left out: whoever gave them has their pixels.

        Args:
            preprocessing: The way back from model space is its `inverse`.
            class_names: In the order of the labels.
            name: Of the data set that was distilled.
            averages: Moving averages that take the place of variables, by name.
            provenance: What made the set, for its metadata.
            recipe: How networks are to be trained on it, where that was learned.

        Raises:
            ValueError: a formation cannot be told with this preprocessing.
        """
        if self.formation != "raw" and "zca" in getattr(preprocessing, "kind", ""):
            raise ValueError(
                "ZCA mixes the pixels that a formation takes apart, so the stored "
                "pixels would not decode into the images; standardise instead"
            )
        values = {**self.variables_by_name, **(averages or {})}
        stored = values["images"]
        stored = tf.convert_to_tensor(stored)
        pixels = preprocessing.inverse(self.decode(stored))
        pixels_stored, soft = None, None
        if self.formation != "raw":
            pixels_stored = np.asarray(preprocessing.inverse(stored))
        labels = self._labels([count - self.kept for count in self.counts])
        if "labels" in self.variables_by_name:
            soft = self.probabilities(tf.convert_to_tensor(values["labels"])).numpy()
            labels = soft.argmax(axis=1)
        return DistilledSet(
            np.asarray(pixels),
            labels,
            tuple(class_names),
            preprocessing,
            name,
            soft_labels=soft,
            stored=pixels_stored,
            formation=self.formation,
            recipe=recipe,
            provenance=provenance or {},
        )
