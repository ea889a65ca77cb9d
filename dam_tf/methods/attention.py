"""Spatial attention maps of feature maps: equation 1 and its normalisation."""

import keras
import tensorflow as tf

from dam_tf.base.errors import UserError, choice_error
from dam_tf.config.methods import NORMALIZATIONS
from dam_tf.networks.xla_cpu.operations import sum_of_channels


@keras.saving.register_keras_serializable(package="dam_tf")
class SpatialAttention(keras.layers.Layer):
    """Where a layer looks: the channel sum of |feature| ** p, as one vector.

    Equation 1 of the paper, vectorised over positions and normalised as in
    equation 2.

    Args:
        power: p of equation 1, at least 0 (the paper: 4; its code: 1).
        normalization: `"l2"` or `"l1"` divides each map by its norm; `"none"`
            leaves it.

    Call arguments:
        features: `[batch, height, width, channels]`.

    Returns:
        `[batch, height * width]`, not negative.

    Raises:
        UserError: `normalization` is unknown or `power` negative.

    Example:
        >>> SpatialAttention(power=2)(tf.ones([1, 2, 2, 3])).numpy()
        array([[0.5, 0.5, 0.5, 0.5]], dtype=float32)
    """

    def __init__(self, power: float = 4.0, normalization: str = "l2", **kwargs):
        super().__init__(**kwargs)
        if normalization not in NORMALIZATIONS:
            raise choice_error("normalization", normalization, NORMALIZATIONS)
        if not power >= 0:
            raise UserError(f"power must be at least 0, not {power}")
        self.power = power
        self.normalization = normalization

    def call(self, features: tf.Tensor) -> tf.Tensor:
        _, height, width, _ = features.shape
        attention = sum_of_channels(_absolute_power(features, self.power))
        attention = tf.reshape(attention, [-1, height * width])
        if self.normalization == "none":
            return attention
        if self.normalization == "l2":
            squares = tf.reduce_sum(tf.square(attention), axis=1, keepdims=True)
            return attention * tf.math.rsqrt(tf.maximum(squares, 1e-24))
        total = tf.reduce_sum(attention, axis=1, keepdims=True)
        return attention / tf.maximum(total, 1e-12)

    def get_config(self) -> dict:
        config = super().get_config()
        return {**config, "power": self.power, "normalization": self.normalization}


def _absolute_power(features: tf.Tensor, power: float) -> tf.Tensor:
    """Returns |features| ** power; the usual powers without the slow general pow."""
    if power == 1:
        return tf.abs(features)
    if power == 2:
        return tf.square(features)
    if power == 4:
        return tf.square(tf.square(features))
    # The slope at 0 is that of |x|, 0; that of pow would not be finite below 1.
    zero = tf.equal(features, 0)
    values = tf.pow(tf.abs(tf.where(zero, tf.ones_like(features), features)), power)
    return tf.where(zero, tf.constant(0.0**power, features.dtype), values)
