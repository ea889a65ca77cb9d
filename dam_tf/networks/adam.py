"""Adam for the weights of a functional network: a pure function of tensors.

Methods that keep a network of their own, and training by a recipe, update it with this.
"""

from collections.abc import Sequence

import tensorflow as tf

_BETAS, _EPSILON = (0.9, 0.999), 1e-8  # PyTorch's defaults

Tensors = Sequence[tf.Tensor]


def adam_step(
    weights: Tensors,
    gradients: Tensors,
    means: Tensors,
    squares: Tensors,
    steps: tf.Tensor,
    rate: tf.Tensor | float,
) -> tuple[list[tf.Tensor], list[tf.Tensor], list[tf.Tensor]]:
    """Returns weights, first and second moments after a step of Adam.

    Args:
        weights: Before the step.
        gradients: In the weights.
        means: First moments, zeros at first.
        squares: Second moments, zeros at first.
        steps: Steps done before, an integer scalar.
        rate: The learning rate.

    Reference:
        Kingma and Ba, Adam, ICLR 2015, algorithm 1.

    Example:
        >>> one, zero = [tf.constant(1.0)], [tf.constant(0.0)]
        >>> weights, *_ = adam_step(one, one, zero, zero, tf.constant(0), 0.25)
        >>> round(float(weights[0]), 4)
        0.75
    """
    done = tf.cast(steps + 1, tf.float32)
    first, second = (1 - tf.pow(beta, done) for beta in _BETAS)
    moved, new_means, new_squares = [], [], []
    for weight, gradient, mean, square in zip(
        weights, gradients, means, squares, strict=True
    ):
        mean = _BETAS[0] * mean + (1 - _BETAS[0]) * gradient
        square = _BETAS[1] * square + (1 - _BETAS[1]) * tf.square(gradient)
        root = tf.sqrt(square / second) + _EPSILON
        moved.append(weight - rate * (mean / first) / root)
        new_means.append(mean)
        new_squares.append(square)
    return moved, new_means, new_squares
