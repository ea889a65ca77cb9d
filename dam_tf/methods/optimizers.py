"""Optimizers of what is learned: SGD that moves only rows with a gradient, Adam, LAMB.

Each can keep moving averages that begin with the first value.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from dam_tf.config.sections import DistillationConfig


@keras.saving.register_keras_serializable(package="dam_tf")
class LazySGD(keras.optimizers.SGD):
    """SGD with momentum whose gradients are some rows of a variable.

    Of a row without a gradient neither value nor momentum change, as in
    tensorflow-addons' LazyAdam; Keras' SGD would let its momentum carry it on. Each
    row is moved by `v = momentum * v - learning_rate * g; w = w + v`. Under a
    `tf.distribute` strategy the rows of the replicas are put together, and all of
    them applied on each.

    With `ema_decay`, a moving average of each row's values, `a = ema_decay * a +
    (1 - ema_decay) * w`, follows at the updates of that row (Polyak and Juditsky
    1992); it begins at the first value.

    Args:
        learning_rate: Of every row.
        momentum: Share of the last movement that is kept, 0 to 1.
        ema_decay: Share of the average that an update keeps, below 1; 0 for none.
        name: Of the optimizer.
        **options: Those of `keras.optimizers.Optimizer`.

    Attributes:
        momentums: The last movement of each variable, as `keras.optimizers.SGD` has it.
        averages: The average of each variable; empty where `ema_decay` is 0.
        projection: Takes moved rows to where they may be; None where that is
            everywhere. It is to be set before the first update.

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
        ema_decay: float = 0.0,
        name: str = "lazy_sgd",
        **options: Any,
    ):
        super().__init__(learning_rate, momentum, name=name, **options)
        self.ema_decay = ema_decay
        self.averages: list = []
        self.projection: Callable[[tf.Tensor], tf.Tensor] | None = None

    def build(self, variables: list) -> None:
        super().build(variables)
        if not self.momentums:  # as Keras has it where the momentum is 0
            self.momentums = self.add_optimizer_variables(variables, "momentum")
        if self.ema_decay and not self.averages:
            self.averages = self.add_optimizer_variables(variables, "average")
            for average, variable in zip(self.averages, variables, strict=True):
                average.assign(variable.numpy())

    def update_step(
        self,
        gradient: tf.IndexedSlices | tf.Tensor,
        variable: tf.Variable,
        learning_rate: Any,
    ) -> None:
        """Moves the rows of `gradient`, none of which may come twice, or all rows."""
        if not isinstance(gradient, tf.IndexedSlices):
            shape = tf.shape(gradient)
            gradient = tf.IndexedSlices(gradient, tf.range(shape[0]), shape)
        index = self._get_variable_index(variable)
        velocities = self.momentums[index].value
        rows = gradient.indices
        moved = self.momentum * tf.gather(velocities, rows)
        moved = tf.IndexedSlices(moved - learning_rate * gradient.values, rows)
        velocities.scatter_update(moved)
        if self.projection is None:
            variable.scatter_add(moved)
        else:
            values = self.projection(tf.gather(variable, rows) + moved.values)
            variable.scatter_update(tf.IndexedSlices(values, rows))
        if self.averages:
            averages = self.averages[index].value
            distance = tf.gather(variable, rows) - tf.gather(averages, rows)
            averages.scatter_add(
                tf.IndexedSlices((1.0 - self.ema_decay) * distance, rows)
            )

    def get_config(self) -> dict:
        return {**super().get_config(), "ema_decay": self.ema_decay}


class _Averaging:
    """Adds to an optimizer of Keras the moving averages that a run can keep.

    Keras' own begin with the first update; these with the first value.
    """

    @property
    def averages(self) -> list:
        """The average of each variable; empty where none is kept."""
        return self._model_variables_moving_average if self.use_ema else []

    def build(self, variables: list) -> None:
        super().build(variables)
        for average, variable in zip(self.averages, variables, strict=False):
            average.assign(variable)


@keras.saving.register_keras_serializable(package="dam_tf")
class Adam(_Averaging, keras.optimizers.Adam):
    """Adam (Kingma and Ba, ICLR 2015), with averages where `use_ema` is given.

    Attributes:
        projection: As of `LazySGD`, of all values.

    Example:
        >>> variable = keras.Variable([1.0, 2.0])
        >>> optimizer = Adam(0.5, use_ema=True, ema_momentum=0.9)
        >>> optimizer.build([variable])
        >>> optimizer.averages[0].numpy().tolist()
        [1.0, 2.0]
    """

    projection: Callable[[tf.Tensor], tf.Tensor] | None = None

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: Any
    ) -> None:
        """Moves a variable, and brings it to where it may be."""
        super().update_step(gradient, variable, learning_rate)
        if self.projection is not None:
            variable.assign(self.projection(tf.convert_to_tensor(variable)))


@keras.saving.register_keras_serializable(package="dam_tf")
class AdamMini(Adam):
    """Adam whose second moment is one number for all of a variable.

    As Adam-mini (Zhang et al., ICLR 2025) does with a block of weights: the number is
    the mean of the squares. So values move in proportion to their gradients, and by
    `learning_rate` in the root mean square, however large these are.

    Example:
        >>> variable = keras.Variable([0.0, 0.0])
        >>> AdamMini(0.1).apply([tf.constant([3.0, 4.0])], [variable])
        >>> print(variable.numpy().round(3))
        [-0.085 -0.113]
    """

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: Any
    ) -> None:
        """Moves a variable, and brings it to where it may be."""
        index = self._get_variable_index(variable)
        mean, square = self._momentums[index], self._velocities[index]
        mean.assign_add((1 - self.beta_1) * (gradient - mean))
        square.assign_add((1 - self.beta_2) * (tf.reduce_mean(gradient**2) - square))
        step = tf.cast(self.iterations + 1, gradient.dtype)
        root = tf.sqrt(square / (1 - self.beta_2**step)) + self.epsilon
        move = learning_rate * mean / (1 - self.beta_1**step) / root
        values = tf.convert_to_tensor(variable) - move
        variable.assign(values if self.projection is None else self.projection(values))


def adam(settings: DistillationConfig, kind: type[Adam] = Adam) -> Adam:
    """Returns Adam with the learning rate, momentum and averages of a run.

    Args:
        settings: With the learning rate filled in; the momentum is Adam's beta_1.
        kind: `Adam`, or `AdamMini`.
    """
    return kind(settings.learning_rate, settings.momentum, **_averages(settings))


def _averages(settings: DistillationConfig) -> dict[str, Any]:
    if not settings.ema_decay:
        return {}
    return {"use_ema": True, "ema_momentum": settings.ema_decay}


def image_optimizer(settings: DistillationConfig) -> LazySGD:
    """Returns the optimizer of synthetic images (Table 10).

    Args:
        settings: With the learning rate filled in.
    """
    return LazySGD(settings.learning_rate, settings.momentum, settings.ema_decay)


@keras.saving.register_keras_serializable(package="dam_tf")
class Lamb(_Averaging, keras.optimizers.Lamb):
    """LAMB (You et al., ICLR 2020), with averages where `use_ema` is given."""


def lamb(settings: DistillationConfig, decay_over: int) -> Lamb:
    """Returns LAMB whose learning rate falls to a tenth along a cosine, then stays.

    Args:
        settings: With the learning rate filled in; the momentum is LAMB's beta_1.
        decay_over: Updates in which it falls.
    """
    rate = keras.optimizers.schedules.CosineDecay(
        settings.learning_rate, decay_over, alpha=0.1
    )
    return Lamb(rate, settings.momentum, epsilon=1e-6, **_averages(settings))


def slots(optimizer: keras.optimizers.Optimizer) -> dict[str, keras.Variable]:
    """Returns what an optimizer of one variable keeps of it, by a name that stays.

    Args:
        optimizer: Built for one variable.

    Example:
        >>> optimizer = keras.optimizers.Adam()
        >>> optimizer.build([keras.Variable(0.0, name="images")])
        >>> list(slots(optimizer))
        ['momentum', 'velocity']
    """
    own = ("iteration", "learning_rate")
    kept = [variable for variable in optimizer.variables if variable.name not in own]
    return {variable.name.rpartition("_")[2]: variable for variable in kept}
