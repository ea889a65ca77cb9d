"""The network psi of NCFM, which learns at which frequencies two sets differ the most.

It stands beside `ncfm.py`, which compares characteristic functions there.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.methods.bilevel import kept_variable

PER_COMPONENT = 16  # frequencies, as in the paper
_LAYERS = 3
_SLOPE = 0.2  # of LeakyReLU, below 0
_MOMENTUM = 0.5
_EPSILON = 1e-5  # of batch norm, as in PyTorch


class FrequencySampler:
    """Draws frequencies from a scale mixture of normals, and learns their scales.

    A sixteenth as many components as frequencies have a row of scales each, which
    three dense layers of the features' width make of standard normal noise: batch norm
    over the components after each, then LeakyReLU (0.2), and tanh after the last. A
    frequency is the row of its component times standard normal values, element by
    element (Wang et al., CVPR 2025, sections 4.2.2 and 5.1). Noise and normal values
    are drawn anew in each iteration.

    Weights start as PyTorch's do, from U(-1, 1) / sqrt(width), without a bias, since
    batch norm would take it away again. They climb the loss by SGD with momentum 0.5:
    v = momentum * v + rate * slope; w = w + v.

    Args:
        width: Values of a feature.
        frequencies: How many are drawn.
        rate: Learning rate.
        seed: Of all that is drawn.

    Example:
        >>> sampler = FrequencySampler(5, 40, 0.001, seed=0)
        >>> sampler.draw(tf.constant(0)).shape, len(sampler.variables)
        (TensorShape([5, 40]), 18)
    """

    def __init__(
        self, width: int, frequencies: int, rate: float, seed: int | tf.Variable
    ):
        self._shape, self._rate, self._seed = (frequencies, width), rate, seed
        self._components = -(-frequencies // PER_COMPONENT)
        self._weights, self._velocities = {}, {}
        for layer in range(_LAYERS):
            one = tensor_seed(seed, Purpose.SAMPLER_WEIGHTS, layer)
            drawn = tf.random.stateless_uniform([width, width], one, -1.0, 1.0)
            values = {
                "kernel": drawn / np.float32(np.sqrt(width)),
                "gamma": tf.ones([width]),
                "beta": tf.zeros([width]),
            }
            for name, value in values.items():
                name = f"{name}_{layer + 1}"
                self._weights[name] = kept_variable(value)
                self._velocities[name] = kept_variable(tf.zeros_like(value))

    @property
    def variables(self) -> Mapping[str, tf.Variable]:
        """Weights and their velocities, by a name that stays."""
        kinds = {"weight": self._weights, "velocity": self._velocities}
        return {
            f"psi/{kind}/{name}": variable
            for kind, variables in kinds.items()
            for name, variable in variables.items()
        }

    def draw(self, iteration: tf.Tensor) -> tf.Tensor:
        """Returns the frequencies of an iteration, `[width, frequencies]`. In a graph.

        Args:
            iteration: Updates done before.
        """
        weights = {name: tf.identity(v) for name, v in self._weights.items()}
        return self._drawn(weights, iteration)

    def ascend(self, slope: tf.Tensor, iteration: tf.Tensor) -> None:
        """Takes one step that makes the loss larger. In a graph.

        Args:
            slope: The loss's gradient in what `draw` gave, the same on all replicas.
            iteration: As of `draw`.
        """
        weights = {name: tf.identity(v) for name, v in self._weights.items()}
        with tf.GradientTape() as tape:
            tape.watch(weights)
            frequencies = self._drawn(weights, iteration)
        slopes = tape.gradient(frequencies, weights, output_gradients=slope)
        for name, weight in weights.items():
            velocity = _MOMENTUM * self._velocities[name] + self._rate * slopes[name]
            self._velocities[name].assign(velocity)
            self._weights[name].assign(weight + velocity)

    def _drawn(self, weights, iteration):
        count, width = self._shape
        of_noise, of_values = (
            tensor_seed(self._seed, purpose, iteration)
            for purpose in (Purpose.SAMPLER_NOISE, Purpose.FREQUENCIES)
        )
        scales = tf.random.stateless_normal([self._components, width], of_noise)
        for layer in range(1, _LAYERS + 1):
            scales = tf.matmul(scales, weights[f"kernel_{layer}"])
            mean, variance = tf.nn.moments(scales, axes=[0])
            scales = (scales - mean) * tf.math.rsqrt(variance + _EPSILON)
            scales = scales * weights[f"gamma_{layer}"] + weights[f"beta_{layer}"]
            last = layer == _LAYERS
            scales = tf.tanh(scales) if last else tf.nn.leaky_relu(scales, _SLOPE)
        own = tf.gather(scales, tf.range(count) % self._components)
        return tf.transpose(own * tf.random.stateless_normal(self._shape, of_values))
