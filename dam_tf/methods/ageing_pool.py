"""A pool of networks that are trained step by step, and drawn anew when they are old.

FRePo (`frepo.py`) regresses on the features of one of them in each iteration.
"""

from collections.abc import Mapping

import tensorflow as tf

from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.networks.adam import adam_step
from dam_tf.networks.functional import FunctionalNetwork

Tensors = list[tf.Tensor]


class AgeingPool:
    """Networks of one kind, each with its weights, its Adam and its age.

    The ages of the first networks are spread evenly below `max_age`, though none is
    trained yet, so that they are not all drawn anew at once.

    Args:
        network: The network, a function of its weights.
        size: How many there are.
        max_age: A network beyond this age is drawn anew in place of a step.
        rate: The learning rate of Adam.
        seed: The run's.
        compiled: Whether XLA compiles a step.

    Attributes:
        variables: All of its state, by a name that stays.

    Example:
        >>> from dam_tf.config.sections import NetworkConfig
        >>> network = FunctionalNetwork((8, 8, 1), 2, NetworkConfig(depth=1))
        >>> pool = AgeingPool(network, 4, 100, 3e-4, seed=0, compiled=False)
        >>> pool.variables["ages"].numpy().tolist()
        [0, 25, 50, 75]
    """

    def __init__(
        self,
        network: FunctionalNetwork,
        size: int,
        max_age: int,
        rate: float,
        seed: int,
        compiled: bool,
    ):
        self._network, self._size, self._max_age = network, size, max_age
        self._rate, self._seed = rate, seed
        self._trained = tf.function(self._step, jit_compile=compiled, autograph=False)
        fresh = [self._fresh(number) for number in range(size)]
        names = [*network.weight_names, *network.statistic_names]
        values = {
            f"{kind}/{name}": tf.stack(copies)
            for kind, states in zip(
                ("network", "mean", "square"), zip(*fresh, strict=True), strict=True
            )
            for name, copies in zip(names, zip(*states, strict=True), strict=False)
        }
        values["ages"] = tf.range(size) * max_age // size
        values["steps"] = tf.zeros([size], tf.int32)
        self.variables: Mapping[str, tf.Variable] = {
            name: tf.Variable(value, trainable=False) for name, value in values.items()
        }

    def slot(self, iteration: tf.Tensor) -> tf.Tensor:
        """Returns which network an iteration works with, int32."""
        seed = tensor_seed(self._seed, Purpose.POOL_SLOT, iteration)
        return tf.random.stateless_uniform([], seed, 0, self._size, tf.int32)

    def state(self, slot: tf.Tensor) -> tuple[Tensors, Tensors]:
        """Returns the weights and the statistics of a network."""
        return self._split(self._part("network", slot))

    def train_or_replace(
        self,
        slot: tf.Tensor,
        iteration: tf.Tensor,
        images: tf.Tensor,
        targets: tf.Tensor,
    ) -> None:
        """Takes a step of Adam down half the squared error, or draws a network anew.

        Args:
            slot: Of the network.
            iteration: Updates of the images that were done before this one.
            images: `[n, h, w, c]`, in model space.
            targets: What the logits are to be, `[n, classes]`.
        """
        age = tf.gather(self.variables["ages"], slot)
        steps = tf.gather(self.variables["steps"], slot)
        parts = [self._part(kind, slot) for kind in ("network", "mean", "square")]

        def replace():
            number = tf.cast(iteration, tf.int32) + self._size
            return (*self._fresh(number), tf.constant(0), tf.constant(0))

        def train():
            found = self._trained(*parts, steps, images, targets)
            return (*found, age + 1, steps + 1)

        found = tf.cond(age > self._max_age, replace, train)
        for kind, values in zip(("network", "mean", "square"), found, strict=False):
            for variable, value in zip(self._kind(kind), values, strict=True):
                variable.scatter_update(tf.IndexedSlices(value[None], slot[None]))
        for name, value in zip(("ages", "steps"), found[3:], strict=True):
            row = tf.IndexedSlices(value[None], slot[None])
            self.variables[name].scatter_update(row)

    def _fresh(self, number):
        """Weights and statistics, and both moments of Adam, of a network by number."""
        weights = self._network.init(
            tensor_seed(self._seed, Purpose.POOL_MEMBER, number)
        )
        zeros = [tf.zeros_like(weight) for weight in weights]
        return [*weights, *self._network.statistics], zeros, list(zeros)

    def _step(self, state, means, squares, steps, images, targets):
        weights, statistics = self._split(state)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            outputs, statistics = self._network.apply(weights, statistics, images)
            squared = tf.square(outputs.logits - targets)
            loss = tf.reduce_mean(tf.reduce_sum(squared, axis=1)) / 2
        gradients = tape.gradient(loss, weights)
        weights, means, squares = adam_step(
            weights, gradients, means, squares, steps, self._rate
        )
        return [*weights, *statistics], means, squares

    def _split(self, state):
        count = len(self._network.weight_names)
        return list(state[:count]), list(state[count:])

    def _kind(self, kind):
        return [v for n, v in self.variables.items() if n.startswith(f"{kind}/")]

    def _part(self, kind, slot):
        return [tf.gather(variable, slot) for variable in self._kind(kind)]
