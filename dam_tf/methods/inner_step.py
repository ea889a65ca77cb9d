"""A step of training on synthetic images, its reverse, and the loss of real images.

Methods that differentiate through training (DD, LD) are made of these three.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from dam_tf.base.memory import PROCESS, check_memory
from dam_tf.data.sampling import ClassBatch
from dam_tf.methods.chunks import images_at_once, sum_of_chunks
from dam_tf.methods.method import Task, check_unused
from dam_tf.networks.functional import FunctionalNetwork, Outputs
from dam_tf.networks.memory import TAPE, available_bytes, halves, memory_of, sketch

_COPIES = 4  # of what is learned, and of weights: they, gradients, optimizers
_ORDERS = 2  # tapes of a step that is differentiated: its own, and one around it

# A network at one moment: its weights, then the statistics of batch norm.
State = list[tf.Tensor]


class Reverse(NamedTuple):
    """Derivatives of a loss in what a step of training takes.

    Attributes:
        state: In weights and statistics before the step.
        images: In the images of the step, `[n, h, w, c]`.
        labels: In their labels, `[n, classes]`.
        rate: In the step size.
    """

    state: State
    images: tf.Tensor
    labels: tf.Tensor
    rate: tf.Tensor


class RealLoss(NamedTuple):
    """The loss of a real batch.

    Attributes:
        loss: Mean cross-entropy.
        accuracy: Share of the images that are classified rightly.
        gradient: Of the loss, in weights and statistics.
    """

    loss: tf.Tensor
    accuracy: tf.Tensor
    gradient: State


class InnerStep:
    """A network, and how plain SGD on synthetic images moves it.

    A step is `weights - rate * gradient of the mean cross-entropy`, where labels are
    probabilities. Batch norm takes the statistics of the step's images in training, and
    the moving ones for real images. `reverse` computes a step anew, so whoever goes
    back through many steps keeps the weights before each, and no maps.

    Args:
        task: What is known of the run.
        preprocessing: A layer, pixels in 0..1 to model space, for real images.

    Attributes:
        network: The network.
        image_shape: Height, width and channels.

    Example:
        >>> from dam_tf.config.settings import Config, resolve
        >>> task = Task(resolve(Config(), (8, 8, 1)), (8, 8, 1), ("cat", "dog"))
        >>> step = InnerStep(task, keras.layers.Identity())
        >>> state, images = step.first(tf.constant([0, 1])), tf.ones([2, 8, 8, 1])
        >>> after = step.forward(state, images, tf.eye(2), tf.constant(0.1))
        >>> back = step.reverse(state, images, tf.eye(2), tf.constant(0.1), after)
        >>> back.images.shape, len(back.state) == len(state)
        (TensorShape([2, 8, 8, 1]), True)
    """

    def __init__(self, task: Task, preprocessing: keras.layers.Layer):
        compiled = task.config.distillation.jit == "xla"
        self.network = FunctionalNetwork(
            task.image_shape,
            len(task.class_names),
            task.config.network,
            compiled=compiled,
            second_order=True,
        )
        self._weights = len(self.network.weight_names)
        self._preprocessing, self.image_shape = preprocessing, task.image_shape

        def function(of):
            return tf.function(of, jit_compile=compiled, autograph=False)

        self.forward = function(self._forward)
        self.reverse = function(self._reverse)
        self.real = tf.function(self._real, jit_compile=compiled)

    def first(self, seed: tf.Tensor) -> State:
        """Returns a fresh network; outside of functions that XLA compiles."""
        return [*self.network.init(seed), *self.network.statistics]

    def weights(self, state: Sequence[tf.Tensor]) -> State:
        """Returns the weights alone."""
        return list(state[: self._weights])

    def statistics(self, state: Sequence[tf.Tensor]) -> State:
        """Returns the statistics of batch norm alone."""
        return list(state[self._weights :])

    def outputs(
        self, state: State, images: tf.Tensor, training: bool = True
    ) -> tuple[Outputs, State]:
        """Returns what the network makes of images, and the statistics afterwards."""
        weights, statistics = self.weights(state), self.statistics(state)
        return self.network.apply(weights, statistics, images, training)

    def seen(self, pixels: tf.Tensor) -> tf.Tensor:
        """Returns real images, uint8 `[n, h, w, c]`, in model space."""
        return self._preprocessing(tf.cast(pixels, tf.float32) / 255)

    def _gradient(
        self, state: State, images: tf.Tensor, labels: tf.Tensor
    ) -> tuple[State, State]:
        """Returns the gradient in the weights, and the statistics afterwards.

        Args:
            state: Of the network.
            images: `[n, h, w, c]`, in model space.
            labels: Probabilities, `[n, classes]`.
        """
        weights = self.weights(state)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            outputs, statistics = self.outputs(
                [*weights, *self.statistics(state)], images
            )
            # Of TensorFlow's own op the second derivative in the labels is missing.
            likelihoods = labels * tf.nn.log_softmax(outputs.logits)
            loss = -tf.reduce_mean(tf.reduce_sum(likelihoods, axis=1))
        return tape.gradient(loss, weights), statistics

    def _forward(
        self, state: State, images: tf.Tensor, labels: tf.Tensor, rate: tf.Tensor
    ) -> State:
        """Returns the network after a step; the arguments are those of `_gradient`."""
        gradient, statistics = self._gradient(state, images, labels)
        pairs = zip(self.weights(state), gradient, strict=True)
        return [*(weight - rate * one for weight, one in pairs), *statistics]

    def _reverse(
        self,
        state: State,
        images: tf.Tensor,
        labels: tf.Tensor,
        rate: tf.Tensor,
        adjoint: State,
    ) -> Reverse:
        """Returns the derivatives of a loss in what `forward` takes.

        Args:
            state: As of `forward`.
            images: As of `forward`.
            labels: As of `forward`.
            rate: As of `forward`.
            adjoint: Its derivatives in what `forward` returns.
        """
        state = list(state)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([state, images, labels, rate])
            after = self._forward(state, images, labels, rate)
        found = tape.gradient(after, [state, images, labels, rate], adjoint, "zero")
        return Reverse(*found)

    def _real(self, state: State, images: tf.Tensor, labels: tf.Tensor) -> RealLoss:
        """Returns the loss of real images and its gradient; they pass in chunks.

        Args:
            state: Of the network.
            images: uint8 `[n, h, w, c]`, pixels.
            labels: Their classes, int32 `[n]`.
        """
        count = images.shape[0]

        def of_rows(rows, valid):
            some, right = self.seen(tf.gather(images, rows)), tf.gather(labels, rows)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(state)
                logits = self.outputs(state, some, training=False)[0].logits
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(right, logits)
                loss = tf.reduce_sum(losses * valid) / count
            gradient = tape.gradient(
                loss, state, unconnected_gradients=tf.UnconnectedGradients.ZERO
            )
            hits = tf.equal(tf.argmax(logits, axis=1, output_type=right.dtype), right)
            hits = tf.reduce_sum(tf.cast(hits, tf.float32) * valid) / count
            return [loss, hits, *gradient]

        zeros = [tf.zeros([]), tf.zeros([]), *map(tf.zeros_like, state)]
        size = images_at_once(self.image_shape, count)
        loss, hits, *gradient = sum_of_chunks(of_rows, zeros, count, size)
        return RealLoss(loss, hits, gradient)


def check_trains_fresh_networks(task: Task) -> None:
    """Raises a `UserError` where a setting has no meaning for DD and LD."""
    check_unused(
        task,
        "trains one network on all classes",
        "differentiates through all its maps",
        "trains fresh networks",
    )


def flat_batch(batch: ClassBatch) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the images `[n, h, w, c]` and classes `[n]` of a batch of all classes."""
    classes, count, *shape = batch.images.shape
    images = tf.reshape(batch.images, [classes * count, *shape])
    return images, tf.repeat(batch.classes, count)


def check_inner_steps(task: Task, kept: int, images: int) -> None:
    """Raises a `UserError` where training in steps takes more memory than there is.

    Args:
        task: What is known of the run.
        kept: Networks whose weights are kept.
        images: Synthetic images of a step.
    """
    config, (height, width, _) = task.config, task.image_shape
    classes, stored = len(task.class_names), task.images_at()
    network = memory_of(sketch(task.image_shape, classes, config.network))
    values = math.prod(task.image_shape)

    def needed(changed: Mapping[str, int]) -> float:
        share = task.images_at(changed.get("--ipc")) / stored
        learned = _COPIES * 4 * stored * share * values
        real = 3 * classes * changed.get("--batch_real", batch) * values
        weights = (kept * share + _COPIES) * network.weights
        tape = _ORDERS * images * TAPE * network.maps
        return PROCESS + learned + real + weights + tape

    batch = config.distillation.batch_real
    through = f"{config.network.name} (network.width {config.network.width})"
    check_memory(
        f"training {through} on synthetic images of {height}x{width}",
        needed,
        {"--ipc": task.smaller_ipcs, "--batch_real": halves(batch)},
        available_bytes(),
        "choose a smaller network or --image_size",
    )
