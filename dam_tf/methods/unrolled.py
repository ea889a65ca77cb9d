"""One step of a network that is trained on synthetic images, and the step's reverse.

Methods that differentiate through training (`mtt.py`) call it step after step, with all
weights as one vector. A step is computed anew for its reverse, and images pass some at
a time, so memory grows neither with the steps nor with the images of a step.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from dam_tf.augmentation import dsa
from dam_tf.methods.chunks import chunks_of, sum_of_chunks, times_here
from dam_tf.methods.method import Task
from dam_tf.networks.functional import FunctionalNetwork

_PIXELS = 64 * 32 * 32  # of the images that pass at once, on a CPU


class Batch(NamedTuple):
    """The synthetic images of a step.

    Attributes:
        images: `[n, h, w, c]`, in model space, not augmented yet.
        labels: The probabilities of each class, `[n, classes]`.
        parameters: Of the augmentation, a row for each image.
    """

    images: tf.Tensor
    labels: tf.Tensor
    parameters: dsa.Parameters


class Reverse(NamedTuple):
    """The derivatives of <g, vector>, where g is the gradient of a step.

    Attributes:
        product: <g, vector> itself.
        gradient: g, `[parameters]`.
        weights: Derivative in the weights, `[parameters]`: the Hessian times the
            vector. Zeros where it was not asked for.
        images: Derivative in the images of the step, `[n, h, w, c]`.
    """

    product: tf.Tensor
    gradient: tf.Tensor
    weights: tf.Tensor
    images: tf.Tensor


class StudentStep:
    """The gradient g of the mean cross-entropy of a batch, and derivatives of it.

    Args:
        task: What is known of the run.
        through_weights: Whether `reverse` is asked for the derivative in the weights.

    Attributes:
        network: The network; batch norm takes the statistics of the batch.
        size: How many parameters it has.

    Example:
        >>> from dam_tf.config.settings import Config, resolve
        >>> task = Task(resolve(Config(), (8, 8, 1)), (8, 8, 1), ("cat", "dog"))
        >>> step = StudentStep(task)
        >>> theta = tf.zeros([step.size])
        >>> batch = Batch(tf.ones([3, 8, 8, 1]), tf.eye(3, 2), dsa.identity(3))
        >>> step.gradient(theta, batch).shape == theta.shape
        True
        >>> step.reverse(theta, batch, theta).images.shape
        TensorShape([3, 8, 8, 1])
    """

    def __init__(self, task: Task, through_weights: bool = True):
        config, shape = task.config, task.image_shape
        compiled = config.distillation.jit == "xla"
        self.network = FunctionalNetwork(
            shape,
            len(task.class_names),
            config.network,
            compiled=compiled,
            second_order=True,
        )
        weights = self.network.init(tf.constant([0, 0]))
        self._shapes = [tuple(weight.shape) for weight in weights]
        self._sizes = [math.prod(shape) for shape in self._shapes]
        self.size = sum(self._sizes)
        self._through_weights = through_weights
        self._at_once = images_at_once(task)
        self.gradient = tf.function(self._gradient, jit_compile=compiled)
        self.reverse = tf.function(self._reverse, jit_compile=compiled)
        self.answer = tf.function(self._answer, jit_compile=compiled)

    @tf.autograph.experimental.do_not_convert  # no tensor decides; it takes seconds
    def _answer(self, theta: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        """Returns the logits of images, `[n, classes]`.

        Args:
            theta: Weights of the network, `[parameters]`.
            images: `[n, h, w, c]`, in model space.
        """
        count, size = images.shape[0], self._at_once
        if count <= size:
            return self._logits(theta, images)
        parts = tf.pad(images, [(0, -count % size)] + [(0, 0)] * 3)
        found = tf.map_fn(
            lambda some: self._logits(theta, some),
            tf.reshape(parts, [-1, size, *images.shape[1:]]),
            fn_output_signature=tf.float32,
        )
        return tf.reshape(found, [-1, found.shape[-1]])[:count]

    def _logits(self, theta, images):
        weights = [
            tf.reshape(values, shape)
            for values, shape in zip(
                tf.split(theta, self._sizes), self._shapes, strict=True
            )
        ]
        return self.network.apply(weights, self.network.statistics, images)[0].logits

    def _gradient(self, theta: tf.Tensor, batch: Batch) -> tf.Tensor:
        """Returns g.

        Args:
            theta: Weights of the network, `[parameters]`.
            batch: The images of the step.
        """

        def of_some(some: Batch, shares: tf.Tensor, _: tf.Tensor) -> list[tf.Tensor]:
            return [self._of_weights(theta, some, shares)]

        (gradient,) = self._added_up(of_some, batch, [tf.zeros_like(theta)])
        return gradient

    def _reverse(self, theta: tf.Tensor, batch: Batch, vector: tf.Tensor) -> Reverse:
        """Returns the derivatives of <g, vector>.

        Args:
            theta: Weights of the network, `[parameters]`.
            batch: The images of the step.
            vector: `[parameters]`.
        """

        def of_some(some: Batch, shares: tf.Tensor, rows: tf.Tensor) -> list[tf.Tensor]:
            inputs = [theta, some.images] if self._through_weights else [some.images]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(inputs)
                gradient = self._of_weights(theta, some, shares)
                product = tf.reduce_sum(gradient * vector)
            *weights, images = tape.gradient(
                product, inputs, unconnected_gradients="zero"
            )
            images = tf.scatter_nd(rows[:, None], images, batch.images.shape)
            weights = weights[0] if weights else tf.zeros_like(theta)
            return [product, gradient, weights, images]

        nothing = tf.zeros_like(theta)
        start = [tf.zeros([]), nothing, nothing, tf.zeros_like(batch.images)]
        return Reverse(*self._added_up(of_some, batch, start))

    @tf.autograph.experimental.do_not_convert  # no tensor decides; it takes seconds
    def _of_weights(self, theta, batch, shares):
        """The gradient of the sum of `shares` of the images' losses."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(theta)
            images = dsa.apply(batch.images, batch.parameters)
            losses = tf.nn.softmax_cross_entropy_with_logits(
                batch.labels, self._logits(theta, images)
            )
            loss = tf.reduce_sum(losses * shares)
        return tape.gradient(loss, theta)

    def _added_up(
        self, of_some: Callable, batch: Batch, start: Sequence[tf.Tensor]
    ) -> list[tf.Tensor]:
        """Adds up what `of_some` makes of some images, all as large as `start`."""
        count = batch.images.shape[0]
        if count <= self._at_once:
            return of_some(batch, tf.fill([count], 1 / count), tf.range(count))
        size = -(-count // chunks_of(count, self._at_once))  # all of about the same

        def of_rows(rows, valid):
            some = tf.nest.map_structure(lambda values: tf.gather(values, rows), batch)
            return of_some(some, valid / count, rows)

        return sum_of_chunks(of_rows, start, count, size)


def images_at_once(task: Task) -> int:
    """Returns how many synthetic images of a step pass through the network at once.

    Example:
        >>> from dam_tf.config.settings import Config
        >>> images_at_once(Task(Config(), (32, 32, 3), ("cat", "dog")))
        2
    """
    height, width, _ = task.image_shape
    images = task.images_at()
    if task.config.network.norm == "batch":  # its statistics are those of the batch
        return images
    most = times_here() * _PIXELS // (height * width)
    return max(1, min(images, most))
