"""Norms whose gradients may be differentiated again.

Keras' take mean and variance from `tf.nn.moments`, which stops the gradient that the
variance sends to the mean. That gradient is zero, its own gradient is not: what
gradient matching needs of a ConvNet with instance norm is then 2 to 7 % wrong.
`FunctionalNetwork(second_order=True)` uses these layers in their place.
"""

import keras
import tensorflow as tf


def for_second_order(network: keras.Model) -> keras.Model:
    """Returns `network` anew, of these norms where it has Keras' own.

    Args:
        network: Untrained; its variables, of the same order and shapes, are new.

    Example:
        >>> images = keras.Input([8, 8, 3])
        >>> network = keras.Model(images, keras.layers.GroupNormalization(3)(images))
        >>> type(for_second_order(network).layers[-1]).__module__
        'dam_tf.networks.second_order'
    """

    def clone(layer):
        kind = _INSTEAD.get(type(layer), type(layer))
        return kind.from_config(layer.get_config())

    return keras.models.clone_model(network, clone_function=clone)


def _moments(maps: tf.Tensor, axes: list[int]) -> tuple[tf.Tensor, tf.Tensor]:
    mean = tf.reduce_mean(maps, axes, keepdims=True)
    return mean, tf.reduce_mean(tf.square(maps - mean), axes, keepdims=True)


def _single(values: tf.Tensor) -> tf.Tensor:
    """Maps whose type has too few digits for their sums, as float32."""
    return tf.cast(values, tf.float32) if values.dtype == tf.bfloat16 else values


class GroupNormalization(keras.layers.GroupNormalization):
    """Keras' `GroupNormalization` over the last axis."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        _, *sides, channels = inputs.shape
        grouped = [-1, *sides, self.groups, channels // self.groups]
        maps = tf.reshape(_single(inputs), grouped)
        mean, variance = _moments(maps, [*range(1, 1 + len(sides)), -1])
        maps = (maps - mean) * tf.math.rsqrt(variance + self.epsilon)
        return _scaled(self, tf.reshape(maps, [-1, *sides, channels]), inputs.dtype)


class LayerNormalization(keras.layers.LayerNormalization):
    """Keras' `LayerNormalization` over the last axis, or the last axes."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        maps = _single(inputs)
        axes = [self.axis] if isinstance(self.axis, int) else list(self.axis)
        mean, variance = _moments(maps, axes)
        maps = (maps - mean) * tf.math.rsqrt(variance + self.epsilon)
        return _scaled(self, maps, inputs.dtype)


class BatchNormalization(keras.layers.BatchNormalization):
    """Keras' `BatchNormalization` over the last axis."""

    def call(
        self, inputs: tf.Tensor, training: bool | None = None, mask: None = None
    ) -> tf.Tensor:
        del mask  # images have none
        maps = _single(inputs)
        mean, variance = self.moving_mean, self.moving_variance
        if training and self.trainable:
            mean, variance = _moments(maps, list(range(len(maps.shape) - 1)))
            for moving, value in (
                (self.moving_mean, mean),
                (self.moving_variance, variance),
            ):
                share = self.momentum
                value = tf.reshape(value, moving.shape)
                moving.assign(moving * share + value * (1 - share))
        maps = (maps - mean) * tf.math.rsqrt(variance + self.epsilon)
        return _scaled(self, maps, inputs.dtype)


def _scaled(layer, maps, dtype):
    if layer.scale:
        maps *= tf.cast(layer.gamma, maps.dtype)
    if layer.center:
        maps += tf.cast(layer.beta, maps.dtype)
    return tf.cast(maps, dtype)


_INSTEAD = {
    keras.layers.GroupNormalization: GroupNormalization,
    keras.layers.LayerNormalization: LayerNormalization,
    keras.layers.BatchNormalization: BatchNormalization,
}
