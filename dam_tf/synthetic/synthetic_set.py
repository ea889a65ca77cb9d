"""What is learned: images, and with some methods labels and step sizes, as variables.

It knows no method. Methods read it and give gradients by the names of its variables;
the run applies them, stores the variables in checkpoints and exports the set.
"""

from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.synthetic.formation import decode, factor_of
from dam_tf.synthetic.recipe import Recipe


class SyntheticSet:
    """Synthetic images in model space, sorted by class, as many of each class.

    Args:
        images: What is stored at first, float32 `[classes, ipc, h, w, c]`, in model
            space.
        soft_labels: Initial logits `[n, classes]`, for methods that learn labels;
            left out, each image is of its class and nothing else.
        scalars: Initial values of what else is learned, such as a learning rate.
        formation: How images are made of what is stored (`formation.py`): `"raw"`, or
            `"factor:2"` for four of each.
        kept: How many of the images of each class, the first, stay as they are.

    Attributes:
        stored: What is learned of the images, `[classes * (ipc - kept), h, w, c]`.
        owners: The class of each image, int64 `[n]`.
        classes: Number of classes.
        ipc: Stored images per class, which the budget counts.
        kept: Those of them that are not learned.
        variables_by_name: All that is learned: `images`, `labels` where labels are,
            and the scalars.

    Example:
        >>> synthetic = SyntheticSet(np.zeros([2, 3, 8, 8, 1], np.float32))
        >>> synthetic.images().shape, synthetic.labels().shape
        (TensorShape([6, 8, 8, 1]), TensorShape([6, 2]))
        >>> synthetic.rows_of(tf.constant([1])).numpy()
        array([[3, 4, 5]], dtype=int32)
    """

    def __init__(
        self,
        images: np.ndarray,
        soft_labels: np.ndarray | None = None,
        scalars: Mapping[str, float | np.ndarray] | None = None,
        formation: str = "raw",
        kept: int = 0,
    ):
        self.formation, self._parts = formation, factor_of(formation) ** 2
        self.classes, self.ipc = images.shape[:2]
        self.owners = np.repeat(np.arange(self.classes), self.ipc * self._parts)
        self.kept = kept
        self._fixed = tf.constant(images[:, :kept], tf.float32)
        flat = np.reshape(images[:, kept:], [-1, *images.shape[2:]])
        self.stored = keras.Variable(flat, dtype="float32", name="images")
        self.variables_by_name = {"images": self.stored}
        if soft_labels is not None:
            logits = keras.Variable(soft_labels, dtype="float32", name="labels")
            self.variables_by_name["labels"] = logits
        for name, value in (scalars or {}).items():
            scalar = keras.Variable(value, dtype="float32", name=name)
            self.variables_by_name[name] = scalar

    def images(self) -> tf.Tensor:
        """Returns the images as networks see them, `[n, h, w, c]`."""
        stored = tf.convert_to_tensor(self.stored)
        if self.kept:
            by_class = self.stored_of(tf.range(self.classes))
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

    def rows_of(self, classes: tf.Tensor) -> tf.Tensor:
        """Returns where in `stored` some classes are, int32 `[len(classes), n]`."""
        learned = self.ipc - self.kept
        first = tf.cast(classes, tf.int32) * learned
        return first[:, None] + tf.range(learned)[None]

    def stored_of(self, classes: tf.Tensor) -> tf.Tensor:
        """Returns all stored images of some classes, `[len(classes), ipc, h, w, c]`."""
        learned = tf.gather(self.stored.value, self.rows_of(classes))
        if not self.kept:
            return learned
        return tf.concat([tf.gather(self._fixed, classes), learned], axis=1)

    def of_class(self, k: tf.Tensor | int) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns images `[m, h, w, c]` and labels `[m, classes]` of class `k`."""
        count = self.ipc * self._parts
        rows = k * count + tf.range(count)
        return tf.gather(self.images(), rows), tf.gather(self.labels(), rows)

    def sample(self, seed: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns `count` different images and their labels.

        Args:
            seed: `[2]`, as of a stateless op.
            count: At most the number of images.
        """
        order = tf.argsort(tf.random.stateless_uniform([len(self.owners)], seed))
        rows = order[:count]
        return tf.gather(self.images(), rows), tf.gather(self.labels(), rows)

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
        labels = np.repeat(np.arange(self.classes), len(pixels) // self.classes)
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
