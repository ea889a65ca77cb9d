"""Label solve: the best labels of given images (Nguyen et al., ICLR 2021)."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from dam_tf.base.messages import log
from dam_tf.config.kernels import LabelSolveSettings
from dam_tf.data.failures import Failures
from dam_tf.data.real_data import RealData
from dam_tf.methods.kernel_regression import InfiniteRegression, regularized
from dam_tf.methods.method import Gradients, Logs, Task
from dam_tf.synthetic.regression_set import centred_one_hot
from dam_tf.synthetic.synthetic_set import SyntheticSet


class _Part(NamedTuple):
    """Some of the real training images.

    Attributes:
        images: uint8 `[n, h, w, c]`, pixels.
        labels: int32 `[n]`.
        counts: Whether each is one; the last part is filled up with others. bool `[n]`.
        more: Whether parts follow.
    """

    images: tf.Tensor
    labels: tf.Tensor
    counts: tf.Tensor
    more: tf.Tensor


class LabelSolve(InfiniteRegression):
    """Labels by which a kernel regression on fixed images answers all real images best.

    With S the images, T all real training images, and centred one-hot labels Y_T:

        Y_S = (K_TS (K_SS + r tr(K_SS)/n I)^-1)^+ Y_T,  ^+ the pseudo-inverse

    The images stay where they start, as real images of each class by default. The first
    iteration reads all real images once, part by part, and keeps the triangle of a QR
    decomposition of [K_TS, Y_T] alone, `[n + C, n + C]`, so memory does not grow with
    them; the solution is (K_SS + r ... I) K_TS^+ Y_T, the same where the columns of
    K_TS are independent. Further iterations change nothing. A part is
    `distillation.batch_real` images for each class. How the set carries the labels is
    said of KIP.

    Example:
        >>> LabelSolve(kernel="nngp").settings.depth
        1
    """

    Settings = LabelSolveSettings
    shares = "nothing"
    moves_labels = True

    def optimizer(self, name: str, task: Task) -> keras.optimizers.Optimizer:
        """Returns one that takes a step as it is: to the solution, or none."""
        del name, task
        return keras.optimizers.SGD(1.0)

    def build(
        self,
        task: Task,
        synthetic: SyntheticSet,
        preprocessing: keras.layers.Layer,
    ) -> None:
        super().build(task, synthetic, preprocessing)
        self._loss = tf.Variable(0.0, trainable=False)
        self._failures = Failures()
        if (iterations := task.config.distillation.iterations) > 1:
            log.info(
                "Method %s solves in its first iteration; the other %d change nothing.",
                self.settings.name,
                iterations - 1,
            )

    @property
    def variables(self) -> dict[str, tf.Variable]:
        return {"loss": self._loss}

    def inputs(
        self, data: RealData, first: int, last: int, replica: int = 0
    ) -> tf.data.Dataset:
        del replica
        split, total = data.train, len(data.train.labels)
        size = min(self._batch_real * self._classes, total)
        parts = -(-total // size)

        def load(number: np.int64) -> tuple[np.ndarray, ...]:
            rows = number * size + np.arange(size)
            counts, rows = rows < total, np.minimum(rows, total - 1)
            with self._failures.kept():
                images = split.take(rows)
            return images, split.labels[rows].astype(np.int32), counts

        def load_tensors(number: tf.Tensor) -> _Part:
            kinds = (tf.uint8, tf.int32, tf.bool)
            found = tf.numpy_function(load, [number], kinds, stateful=False)
            shapes = [size, *split.images.shape[1:]], [size], [size]
            found = [tf.ensure_shape(*pair) for pair in zip(found, shapes, strict=True)]
            return _Part(*found, number < parts - 1)

        is_first = first == 0 < last
        return tf.data.Dataset.range(parts * is_first).map(load_tensors).prefetch(2)

    def failures_named(self) -> AbstractContextManager:
        return self._failures.named()

    def gradients(
        self, synthetic: SyntheticSet, batches: Iterator, iteration: tf.Tensor
    ) -> tuple[Gradients, Logs]:
        learned = self._learned(synthetic)
        labels, loss = learned["labels"], tf.convert_to_tensor(self._loss)
        solved = labels
        if iteration == 0:
            solved, loss = self._solved(learned["images"], batches)
            self._loss.assign(loss)
        return {"labels": labels - solved}, {"loss": loss}

    def _solved(self, images, batches):
        """Labels float32 `[n, classes]`, and half the mean squared error that stays."""
        count, classes = images.shape[0], self._classes
        triangle = tf.zeros([count + classes] * 2, tf.float64)
        seen, more = tf.zeros([], tf.float64), tf.constant(True)
        while more:
            part: _Part = next(batches)
            real = self._model_space(part.images)
            answers = centred_one_hot(part.labels, classes, tf.float64)
            rows = tf.concat([self._network.between(real, images), answers], axis=1)
            counts = tf.cast(part.counts, tf.float64)
            rows = tf.concat([triangle, rows * counts[:, None]], axis=0)
            triangle = tf.linalg.qr(rows).r
            seen, more = seen + tf.reduce_sum(counts), part.more
        kernel, answers = triangle[:count, :count], triangle[:count, count:]
        found = tf.linalg.pinv(kernel) @ answers
        left = tf.concat([kernel @ found - answers, triangle[count:, count:]], axis=0)
        loss = tf.reduce_sum(tf.square(left)) / (2 * classes * seen)
        within = regularized(self._network.within(images), self.settings.regularization)
        return tf.cast(within @ found, tf.float32), tf.cast(loss, tf.float32)
