"""A step of SGD for a network, and its answers: the parts that may be compiled.

`trainer.py` calls them batch after batch. SGD is that of the DC/DSA/DM code (Zhao et
al., https://github.com/VICO-UoE/DatasetCondensation), which is PyTorch's.
"""

import tensorflow as tf

from dam_tf.base.target import in_program
from dam_tf.config.sections import EvaluationConfig
from dam_tf.config.settings import Config
from dam_tf.networks.adam import adam_step
from dam_tf.networks.functional import FunctionalNetwork, Outputs
from dam_tf.training.losses import image_losses

# One network's tensors: weights, velocities, statistics of batch norm.
State = tuple[list[tf.Tensor], list[tf.Tensor], list[tf.Tensor]]

# XLA takes a quarter of a minute for a training step, so it has to earn that back.
_PIXELS_WORTH_COMPILING = 20_000 * 32 * 32
TEST_BATCH = 40  # images of 32x32 whose maps a cache holds, of answers
_PIXELS_AT_ONCE = 20 * 32 * 32  # whose maps a cache holds, of a compiled step


class Descent:
    """Updates the weights of a network by one batch, and answers with them.

    XLA compiles both where the whole training is long enough to gain by it, and in a
    program.

    Args:
        image_shape: Height, width and channels.
        classes: Number of classes.
        config: Its network and evaluation sections are used.
        images: How many images an epoch has.

    Attributes:
        network: The network, a function of its weights.
        compiled: Whether XLA compiles.

    Example:
        >>> descent = Descent((8, 8, 1), 2, Config(), images=4)
        >>> weights = descent.network.init(tf.constant([0, 1]))
        >>> state = weights, [tf.zeros_like(weight) for weight in weights], []
        >>> images, labels = tf.ones([4, 8, 8, 1]), tf.constant([0, 1, 0, 1])
        >>> state, right = descent.step(state, images, labels, tf.constant(0.01))
        >>> int(tf.reduce_sum(tf.cast(right, tf.int32)))
        2
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        config: Config,
        images: int,
    ):
        network = FunctionalNetwork(image_shape, classes, config.network)
        worthwhile = worth_compiling(image_shape, config.evaluation, images)
        faster = network.trains_faster_compiled
        self.compiled = in_program() or (worthwhile and faster)
        self._at_once = None
        if self.compiled:
            network = FunctionalNetwork(
                image_shape, classes, config.network, compiled=True
            )
            if faster and not network.statistic_names:
                self._at_once = at_once(image_shape)
        self.network, self._settings = network, config.evaluation
        self.step = self._function(self._step)
        self.adam = self._function(self._adam)
        self.answer = self._function(self._answer)

    def _function(self, function):
        return tf.function(function, jit_compile=self.compiled, autograph=False)

    def _answer(self, state: State, images: tf.Tensor) -> Outputs:
        """Returns the outputs for `images`, in model space, in inference mode."""
        weights, _, statistics = state
        return self.network.apply(weights, statistics, images, training=False)[0]

    def _step(
        self, state: State, images: tf.Tensor, targets: tf.Tensor, rate: tf.Tensor
    ) -> tuple[State, tf.Tensor]:
        """Updates a state by one batch.

        Args:
            state: Of the network.
            images: `[n, h, w, c]`, in model space.
            targets: Their classes, int32 `[n]`, or the probabilities of each class,
                float32 `[n, classes]`.
            rate: The learning rate.

        Returns:
            The state, and a bool `[n]`: which images were classified rightly, that is
            as their likeliest class, before the update.
        """
        weights, velocities, statistics = state
        gradients, statistics, right = self._gradients(
            weights, statistics, images, targets
        )
        # PyTorch's SGD: the penalty joins the gradient before momentum, and the
        # velocity is free of the learning rate. Neither is so in Keras.
        momentum, decay = self._settings.momentum, self._settings.weight_decay
        velocities = [
            momentum * v + g + decay * w
            for w, v, g in zip(weights, velocities, gradients, strict=True)
        ]
        weights = [w - rate * v for w, v in zip(weights, velocities, strict=True)]
        return (weights, velocities, statistics), right

    def _adam(
        self,
        state: State,
        images: tf.Tensor,
        targets: tf.Tensor,
        rate: tf.Tensor,
        steps: tf.Tensor,
    ) -> State:
        """Updates a state by Adam, where `velocities` are both of its moments.

        Args:
            state: As of `step`, as the next three.
            images: As of `step`.
            targets: As of `step`.
            rate: As of `step`.
            steps: Updates done before.
        """
        weights, moments, statistics = state
        gradients, statistics, _ = self._gradients(weights, statistics, images, targets)
        count = len(weights)
        weights, means, squares = adam_step(
            weights, gradients, moments[:count], moments[count:], steps, rate
        )
        return weights, [*means, *squares], statistics

    def _gradients(self, weights, statistics, images, targets):
        """Of the mean loss; images pass so many at a time as keep their maps in cache.

        With batch norm, whose statistics are those of the whole batch, they all pass
        at once.
        """
        count = images.shape[0]
        parts = -(-count // (self._at_once or count))
        if parts == 1:
            return self._of_part(weights, statistics, images, targets, 1 / count)
        size = -(-count // parts)

        def add(part, sums, right):
            rows = part * size + tf.range(size)
            shares = tf.cast(rows < count, tf.float32) / count
            rows = tf.minimum(rows, count - 1)
            some = tf.gather(images, rows), tf.gather(targets, rows)
            found, _, flags = self._of_part(weights, statistics, *some, shares)
            sums = [total + one for total, one in zip(sums, found, strict=True)]
            return part + 1, sums, right.write(part, flags)

        start = [tf.zeros_like(weight) for weight in weights]
        right = tf.TensorArray(tf.bool, parts, element_shape=[size])
        _, gradients, right = tf.while_loop(
            lambda part, *_: part < parts, add, (0, start, right)
        )
        return gradients, statistics, tf.reshape(right.stack(), [-1])[:count]

    def _of_part(self, weights, statistics, images, targets, shares):
        """Gradients of the sum of `shares` of each image's loss, and so on."""
        with tf.GradientTape() as tape:
            tape.watch(weights)
            outputs, statistics = self.network.apply(weights, statistics, images)
            logits = outputs.logits
            losses = image_losses(self._settings.loss, targets, logits)
            labels = targets
            if not targets.dtype.is_integer:
                labels = tf.argmax(targets, axis=1, output_type=tf.int32)
            loss = tf.reduce_sum(losses * shares)
        right = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), labels)
        return tape.gradient(loss, weights), statistics, right


def worth_compiling(
    image_shape: tuple[int, int, int], settings: EvaluationConfig, images: int
) -> bool:
    """Returns whether an evaluation trains so long that compiling is earned back.

    Example:
        >>> worth_compiling((32, 32, 3), EvaluationConfig(), 10)
        True
    """
    seen = images * settings.epochs * settings.networks
    return seen * image_shape[0] * image_shape[1] >= _PIXELS_WORTH_COMPILING


def at_once(image_shape: tuple[int, int, int]) -> int:
    """Returns how many images a compiled step passes at a time.

    Example:
        >>> at_once((32, 32, 3)), at_once((256, 256, 3))
        (20, 1)
    """
    return max(1, _PIXELS_AT_ONCE // (image_shape[0] * image_shape[1]))


def learning_rate(settings: EvaluationConfig, epoch: tf.Tensor) -> tf.Tensor:
    """Returns the learning rate of `epoch`, counted from 0.

    Example:
        >>> settings = EvaluationConfig(learning_rate=1.0, schedule="paper")
        >>> [float(learning_rate(settings, epoch)) for epoch in (14, 15, 30)]
        [1.0, 0.5, 0.25]
    """
    if settings.schedule == "constant":
        return tf.constant(settings.learning_rate)
    if settings.schedule == "paper":
        return settings.learning_rate * 0.5 ** tf.cast(epoch // 15, tf.float32)
    dropped = epoch > settings.epochs // 2
    return settings.learning_rate * tf.where(dropped, 0.1, 1.0)
