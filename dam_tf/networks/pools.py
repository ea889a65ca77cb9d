"""Networks to draw from in place of random ones: stored weights by a seed."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


class NetworkPool:
    """Draws one of several stored networks, each as likely as the others.

    The distribution of theta in Algorithm 1 becomes the uniform one over the pool.

    Args:
        networks: Of each network its weights, in the order of the trainable
            variables, as of `FunctionalNetwork`.

    Raises:
        ValueError: there is no network, or two differ in the shapes of their weights.

    Example:
        >>> pool = NetworkPool([[np.zeros([2, 2])], [np.ones([2, 2])]])
        >>> (kernel,) = pool.draw_network(tf.constant([0, 1]))
        >>> len(pool), kernel.shape
        (2, TensorShape([2, 2]))
    """

    def __init__(self, networks: Sequence[Sequence[np.ndarray]]):
        shapes = {tuple(np.shape(weight) for weight in one) for one in networks}
        if len(shapes) != 1:
            raise ValueError(
                "a pool needs networks of the same weights, not of "
                f"{len(shapes)} kinds of shapes"
            )
        self._count = len(networks)
        self._weights = [
            tf.constant(np.stack(column), tf.float32)
            for column in zip(*networks, strict=True)
        ]

    def __len__(self) -> int:
        """The number of networks."""
        return self._count

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shapes of one network's weights."""
        return [tuple(weight.shape[1:]) for weight in self._weights]

    def draw_network(self, seed: tf.Tensor) -> list[tf.Tensor]:
        """Returns one network's weights.

        Args:
            seed: `[2]`, as of a stateless op.
        """
        row = tf.random.stateless_uniform([], seed, 0, self._count, tf.int32)
        return [tf.gather(weight, row) for weight in self._weights]
