"""The optimizer of the synthetic images: SGD that moves only rows with a gradient."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="dam_tf")
class LazySGD(keras.optimizers.SGD):
    """SGD with momentum whose gradients are some rows of a variable.

    Of a row without a gradient neither value nor momentum change, as in
    tensorflow-addons' LazyAdam; Keras' SGD would let its momentum carry it on. Each
    row is moved by `v = momentum * v - learning_rate * g; w = w + v`. Under a
    `tf.distribute` strategy the rows of the replicas are put together, and all of
    them applied on each.

    Args:
        learning_rate: Of every row.
        momentum: Share of the last movement that is kept, 0 to 1.
        name: Of the optimizer.
        **options: Those of `keras.optimizers.Optimizer`.

    Example:
        >>> variable = tf.Variable([[1.0], [1.0], [1.0]])
        >>> optimizer = LazySGD(1.0, 0.5)
        >>> gradient = tf.IndexedSlices([[0.25]], [1], [3, 1])
        >>> for _ in range(2):
        ...     optimizer.apply([gradient], [variable])
        >>> variable.numpy().ravel().tolist()
        [1.0, 0.375, 1.0]
    """

    def __init__(
        self,
        learning_rate: float = 1.0,
        momentum: float = 0.5,
        name: str = "lazy_sgd",
        **options: Any,
    ):
        super().__init__(learning_rate, momentum, name=name, **options)

    def build(self, variables: list) -> None:
        super().build(variables)
        if not self.momentums:  # as Keras has it where the momentum is 0
            self.momentums = self.add_optimizer_variables(variables, "momentum")

    def update_step(
        self, gradient: tf.IndexedSlices, variable: tf.Variable, learning_rate: Any
    ) -> None:
        """Moves the rows of `gradient`, none of which may come twice."""
        velocities = self.momentums[self._get_variable_index(variable)].value
        rows = gradient.indices
        moved = self.momentum * tf.gather(velocities, rows)
        moved = tf.IndexedSlices(moved - learning_rate * gradient.values, rows)
        velocities.scatter_update(moved)
        variable.scatter_add(moved)
