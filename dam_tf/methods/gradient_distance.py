"""How far two gradients of a network's weights are apart, for gradient matching.

`dc.py` moves synthetic images down this distance (Zhao et al., ICLR 2021, and the
DC/DSA/DM code, utils.py, match_loss).
"""

import math
from collections.abc import Callable, Sequence

import tensorflow as tf

_SMALL = 1e-6  # added to the product of two norms, as in the DC/DSA/DM code


def inputs_of(
    names: Sequence[str],
    shapes: Sequence[Sequence[int]],
    fan_in: Sequence[int | None],
) -> list[int | None]:
    """Returns of each weight how many values of it lead to one output of its layer.

    A kernel `[kh, kw, in, out]` has kh * kw * in for each of its outputs; TensorFlow
    has the outputs last, PyTorch first. The heads of attention are outputs, too.
    Weights of one axis, biases and most scales and shifts, have None: they do not
    count. Layer norm's, of three axes, count by channel, as in PyTorch.

    Args:
        names: As of `FunctionalNetwork.weight_names`.
        shapes: Of the weights.
        fan_in: As of `FunctionalNetwork.fan_in`.

    Example:
        >>> names = ["conv_1/kernel", "conv_1/bias", "norm_1/gamma"]
        >>> inputs_of(names, [(3, 3, 2, 8), (8,), (8,)], [18, 18, None])
        [18, None, None]
    """

    def inputs(name, shape, drawn):
        if len(shape) < 2 or name.endswith("bias"):
            return None
        return drawn or math.prod(shape[:-1])

    return [inputs(*one) for one in zip(names, shapes, fan_in, strict=True)]


def rows_distance(
    real: Sequence[tf.Tensor],
    synthetic: Sequence[tf.Tensor],
    inputs: Sequence[int | None],
) -> tf.Tensor:
    """Returns the sum of 1 - cosine over the outputs of all layers, a scalar.

    Lengths do not matter, so neither does the number of images. An output whose
    gradient is zero counts 1.

    Args:
        real: A gradient for each weight.
        synthetic: Another one.
        inputs: Of `inputs_of`.

    Example:
        >>> kernel = tf.constant([[1.0, 0.0], [0.0, 2.0]])
        >>> found = rows_distance([kernel], [3 * kernel], [2])
        >>> reversed = rows_distance([kernel], [kernel[::-1]], [2])
        >>> round(float(found), 5), float(reversed)
        (0.0, 2.0)
    """
    total = tf.zeros([])
    for one, other, count in zip(real, synthetic, inputs, strict=True):
        if count is not None:
            one, other = tf.reshape(one, [count, -1]), tf.reshape(other, [count, -1])
            total += tf.reduce_sum(1 - _cosine(one, other))
    return total


def cosine_distance(
    real: Sequence[tf.Tensor],
    synthetic: Sequence[tf.Tensor],
    inputs: Sequence[int | None],
) -> tf.Tensor:
    """Returns 1 - the cosine of all weights as one vector; arguments as above."""
    del inputs
    one, other = (
        tf.concat([tf.reshape(g, [-1, 1]) for g in gradients], 0)
        for gradients in (real, synthetic)
    )
    return tf.reduce_sum(1 - _cosine(one, other))


def squared_distance(
    real: Sequence[tf.Tensor],
    synthetic: Sequence[tf.Tensor],
    inputs: Sequence[int | None],
) -> tf.Tensor:
    """Returns the squared norm of the difference of all weights."""
    del inputs
    pairs = zip(real, synthetic, strict=True)
    return tf.add_n([tf.reduce_sum(tf.square(r - s)) for r, s in pairs])


DISTANCES: dict[str, Callable[..., tf.Tensor]] = {
    "rows": rows_distance,
    "cosine": cosine_distance,
    "mse": squared_distance,
}


def _cosine(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """Of the columns of two matrices."""
    product = tf.reduce_sum(one * other, axis=0)
    return product / (_norm(one) * _norm(other) + _SMALL)


def _norm(values: tf.Tensor) -> tf.Tensor:
    """The norms of columns; the root's slope at zero is infinite, so it stays out."""
    squared = tf.reduce_sum(tf.square(values), axis=0)
    zero = tf.equal(squared, 0)
    return tf.where(zero, 0.0, tf.sqrt(tf.where(zero, 1.0, squared)))
