"""Weights of a freshly initialised network, as a function of a seed alone.

A network is built once; each iteration draws its weights anew and calls it
without touching its variables, so nothing is rebuilt or retraced.
"""

import math
import re
from collections.abc import Iterator

import keras
import tensorflow as tf

from dam_tf.base.errors import UserError, choice_error
from dam_tf.config.sections import INITIALIZERS

# Layers whose kernel is [..., inputs, outputs].
_OUTPUTS_LAST = (
    keras.layers.Dense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
)


class RandomWeights:
    """Draws weights for the trainable variables of a network.

    `uniform` is PyTorch's default: kernels and biases from U(-b, b) with
    b = 1 / sqrt(fan_in) (Table 10). `he_normal` draws kernels from
    N(0, 2 / fan_in) and leaves biases zero (He et al., ICCV 2015). Scales of
    normalisation layers are 1 and their shifts 0 in both. To be drawn outside of
    functions compiled by XLA, where the same seed gives other numbers (tensorflow
    issue 117644).

    Args:
        network: A built Keras model.
        initializer: `"uniform"` or `"he_normal"`.

    Raises:
        UserError: `initializer` is unknown, or `network` has trainable variables
            that are neither kernel nor bias of a dense, einsum-dense or
            convolutional layer, nor scale nor shift of a normalisation.

    Attributes:
        fan_in: For each weight how many values enter one output of its layer; None
            for those of a normalisation.

    Example:
        >>> network = keras.Sequential([keras.Input([4]), keras.layers.Dense(2)])
        >>> [w.shape for w in RandomWeights(network)(tf.constant([0, 1]))]
        [TensorShape([4, 2]), TensorShape([2])]
    """

    def __init__(self, network: keras.Model, initializer: str = "uniform"):
        if initializer not in INITIALIZERS:
            raise choice_error("initializer", initializer, INITIALIZERS)
        self._rules = _rules(network, initializer)
        self.fan_in = tuple(fan_in for _, _, fan_in in self._rules)
        self._normal = initializer == "he_normal"

    def __call__(self, seed: tf.Tensor) -> list[tf.Tensor]:
        """Returns one network's weights, in the order of `trainable_variables`.

        Args:
            seed: `[2]`, as of a stateless op.
        """
        seeds = tf.unstack(
            tf.random.experimental.stateless_split(seed, len(self._rules))
        )
        return [
            self._draw(one_seed, *rule)
            for one_seed, rule in zip(seeds, self._rules, strict=True)
        ]

    def _draw(self, seed, shape, constant, fan_in) -> tf.Tensor:
        if constant is not None:
            return tf.fill(shape, constant)
        if self._normal:
            stddev = math.sqrt(2 / fan_in)
            return tf.random.stateless_normal(shape, seed, stddev=stddev)
        bound = 1 / math.sqrt(fan_in)
        return tf.random.stateless_uniform(shape, seed, -bound, bound)


def _rules(network: keras.Model, initializer: str) -> list[tuple]:
    """Returns (shape, constant, fan_in) of each trainable variable.

    Either the constant or the fan-in is None, as a weight is set or drawn.
    """
    constants, fans = {}, {}
    for layer in _leaves(network):
        fan_in, bias = _fan_in(layer), getattr(layer, "bias", None)
        if fan_in is not None:
            fans[id(layer.kernel)] = fan_in
            if initializer == "uniform":
                fans[id(bias)] = fan_in
            else:
                constants[id(bias)] = 0.0
        constants[id(getattr(layer, "gamma", None))] = 1.0
        constants[id(getattr(layer, "beta", None))] = 0.0
    rules = []
    for variable in network.trainable_variables:
        constant, fan_in = constants.get(id(variable)), fans.get(id(variable))
        if constant is None and fan_in is None:
            raise UserError(
                f"random weights are not defined for {variable.path!r}, only for "
                "dense and convolutional layers and scales and shifts of "
                "normalisation; build the network of those, or freeze that layer"
            )
        rules.append((variable.shape, constant, fan_in))
    return rules


def _leaves(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """Yields the layers that hold the weights of a layer."""
    if isinstance(layer, keras.layers.MultiHeadAttention):
        yield layer.query_dense
        yield layer.key_dense
        yield layer.value_dense
        yield layer.output_dense
    elif isinstance(layer, keras.Model):
        for inner in layer.layers:
            yield from _leaves(inner)
    else:
        yield layer


def _fan_in(layer: keras.layers.Layer) -> int | None:
    """Returns how many values enter one output of a layer, None if it draws none."""
    if isinstance(layer, keras.layers.EinsumDense):
        _, kernel, output = re.split(",|->", layer.equation)
        sides = zip(kernel, layer.kernel.shape, strict=True)
        return math.prod(side for letter, side in sides if letter not in output)
    if isinstance(layer, _OUTPUTS_LAST):
        return math.prod(layer.kernel.shape[:-1])
    return None
