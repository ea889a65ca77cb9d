"""Layers as XLA compiles them best on a CPU; their values are those of Keras' own.

A step of distillation spends most of its time in the forward pass of real images.
XLA's loops over channels or positions are slow where a sum cannot be vectorised, so
sums here go by halves, which are plain additions of long rows; and 3x3 convolutions
go by Winograd's minimal filtering, with a quarter of the multiplications. Of an image
of a few channels the patches are small, and what they have in common says mean and
variance of every map, so that the first convolution gives normalised maps at once.
"""

import collections

import keras
import tensorflow as tf

from dam_tf.networks.xla_cpu.operations import (
    FEW_CHANNELS,
    add_bias,
    average_of_pairs,
    convolution,
    normalized_convolution,
    scale_and_shift,
    sum_of_positions,
)
from dam_tf.networks.xla_cpu.winograd import TILE, winograd_convolution

_LEAST_CHANNELS = 32  # below, the transforms cost more than Winograd saves
# What XLA compiles well as it is, forward and backward.
_SIMPLE_LAYERS = (
    keras.layers.InputLayer,
    keras.layers.ZeroPadding2D,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.Activation,
    keras.layers.Flatten,
    keras.layers.Dense,
)


def for_xla_on_cpu(network: keras.Model) -> keras.Model:
    """Returns `network` anew, of these layers where they apply.

    Args:
        network: Untrained; its variables, of the same order and shapes, are new.

    Example:
        >>> images = keras.Input([8, 8, 3])
        >>> network = keras.Model(images, keras.layers.AveragePooling2D(2)(images))
        >>> type(for_xla_on_cpu(network).layers[-1]).__name__
        'PairPooling'
    """

    convolutions = _normalized_convolutions(network)
    names = {convolution.name for convolution in convolutions.values()}

    def clone(layer):
        if layer.name in names:
            return keras.layers.Identity(name=layer.name)
        if layer.name in convolutions:
            return NormalizedConv2D.of(convolutions[layer.name], layer)
        return _kind(layer).from_config(layer.get_config())

    return keras.models.clone_model(network, clone_function=clone)


def _normalized_convolutions(network):
    """Convolutions of a few channels that an instance norm follows, by its name."""
    users = collections.defaultdict(list)
    for user in (*network.layers, network):
        tensors = user.outputs if user is network else tf.nest.flatten(user.input)
        for tensor in tensors:
            users[id(tensor)].append(user)
    found = {}
    for layer in network.layers:
        if _is_of_few_channels(layer):
            after = users[id(layer.output)]
            if [_kind(user) for user in after] == [InstanceNormalization]:
                found[after[0].name] = layer
    return found


def _is_of_few_channels(layer):
    return (
        _kind(layer) is WinogradConv2D
        and _is_simple(layer)
        and layer.activation is keras.activations.linear
        and layer.input.shape[-1] <= FEW_CHANNELS
        and layer.filters >= _LEAST_CHANNELS
    )


def _kind(layer):
    """The class that stands for `layer`: one of those here, or its own."""
    kind = type(layer)
    if kind is keras.layers.Conv2D:
        return WinogradConv2D
    if kind is keras.layers.AveragePooling2D:
        return PairPooling
    # Once built, -1 groups are as many as there are channels.
    if kind is keras.layers.GroupNormalization and layer.groups in (
        -1,
        layer.input.shape[-1],
    ):
        return InstanceNormalization
    if kind is keras.layers.BatchNormalization:
        return BatchNormalization
    return kind


def in_precision(network: keras.Model, policy: str) -> keras.Model:
    """Returns `network` anew, under another of Keras' policies of types.

    Args:
        network: Untrained; its variables, of the same order and shapes, are new.
        policy: Such as "mixed_bfloat16": float32 weights, bfloat16 maps.

    Example:
        >>> images = keras.Input([8, 8, 3])
        >>> network = keras.Model(images, keras.layers.Conv2D(4, 3)(images))
        >>> in_precision(network, "mixed_bfloat16").output.dtype
        'bfloat16'
    """

    def clone(layer):
        return type(layer).from_config({**layer.get_config(), "dtype": policy})

    return keras.models.clone_model(network, clone_function=clone)


def trains_faster_by_xla(network: keras.Model) -> bool:
    """Returns whether `for_xla_on_cpu(network)`, compiled, trains faster on a CPU.

    So it does from 32 filters on, where all of it goes by these layers: other gradients
    of convolutions and norms take XLA many times as long as oneDNN.

    Example:
        >>> from dam_tf.config.sections import NetworkConfig
        >>> from dam_tf.networks.registry import create
        >>> wide, narrow = NetworkConfig(), NetworkConfig(width=16)
        >>> [trains_faster_by_xla(create("convnet", (32, 32, 3), 10, config))
        ...  for config in (wide, narrow)]
        [True, False]
    """

    def fast(layer):
        kind = _kind(layer)
        if kind is WinogradConv2D:
            return _is_simple(layer) and layer.filters >= _LEAST_CHANNELS
        if kind is PairPooling:
            return _takes_pairs(layer)
        norms = InstanceNormalization, BatchNormalization
        return kind in norms or isinstance(layer, _SIMPLE_LAYERS)

    convolves = any(_kind(layer) is WinogradConv2D for layer in network.layers)
    return convolves and all(map(fast, network.layers))


def _is_simple(layer):
    """Whether a convolution is 3x3 and keeps height and width."""
    return (
        layer.kernel_size == (3, 3)
        and layer.strides == layer.dilation_rate == (1, 1)
        and (layer.padding, layer.groups) == ("same", 1)
    )


def _takes_pairs(layer):
    """Whether a pooling is 2x2 with stride 2."""
    return layer.pool_size == layer.strides == (2, 2)


class WinogradConv2D(keras.layers.Conv2D):
    """A `Conv2D` that goes by `winograd_convolution` where that applies.

    Of a few channels it is TensorFlow's own, but for its gradient, whose kernel part
    XLA compiles badly: that is a product of matrices here.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        if not (_is_simple(self) and inputs.shape.num_elements()):
            return super().call(inputs)
        kernel = tf.convert_to_tensor(self.kernel)
        fits = inputs.shape[1] % TILE == inputs.shape[2] % TILE == 0
        fits = fits and inputs.dtype == tf.float32  # others lack the digits it loses
        if fits and min(kernel.shape[2:]) >= _LEAST_CHANNELS:
            outputs = winograd_convolution(inputs, kernel)
        else:
            outputs = convolution(inputs, kernel)
        if self.use_bias:
            outputs = add_bias(outputs, tf.convert_to_tensor(self.bias))
        return self.activation(outputs)


class NormalizedConv2D(keras.layers.Conv2D):
    """A 3x3 `Conv2D` of a few channels and the instance norm after it, in one.

    Its weights are those of both, in their order.
    """

    def __init__(self, *args, epsilon: float, scale: bool, center: bool, **kwargs):
        super().__init__(*args, **kwargs)
        self.epsilon, self.scale, self.center = epsilon, scale, center

    @classmethod
    def of(cls, convolution: keras.layers.Conv2D, norm: keras.layers.Layer):
        """Returns the layer that stands for both, with new weights."""
        own = {name: getattr(norm, name) for name in ("epsilon", "scale", "center")}
        return cls.from_config({**convolution.get_config(), "name": norm.name, **own})

    def build(self, input_shape: tuple) -> None:
        super().build(input_shape)
        self.gamma = self.beta = None
        if self.scale:
            self.gamma = self.add_weight([self.filters], "ones", name="gamma")
        if self.center:
            self.beta = self.add_weight([self.filters], "zeros", name="beta")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        gamma = _single(self.gamma) if self.scale else tf.ones([self.filters])
        beta = _single(self.beta) if self.center else tf.zeros([self.filters])
        if self.use_bias:  # of which the norm leaves nothing but a gradient of 0
            beta += 0.0 * _single(self.bias)
        images, kernel = _single(inputs), _single(self.kernel)
        return normalized_convolution(
            images, kernel, gamma, beta, self.epsilon, self.compute_dtype
        )

    def get_config(self) -> dict:
        own = {"epsilon": self.epsilon, "scale": self.scale, "center": self.center}
        return {**super().get_config(), **own}


class InstanceNormalization(keras.layers.GroupNormalization):
    """A `GroupNormalization(groups=-1)` whose sums go by halves."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        if inputs.shape.num_elements() is None:
            return super().call(inputs)
        maps = tf.cast(inputs, tf.float32)
        return _normalized(self, maps, *_moments(maps), inputs.dtype)


class BatchNormalization(keras.layers.BatchNormalization):
    """A `BatchNormalization` whose sums go by halves."""

    def call(
        self, inputs: tf.Tensor, training: bool | None = None, mask: None = None
    ) -> tf.Tensor:
        if len(inputs.shape) != 4 or inputs.shape.num_elements() is None:
            return super().call(inputs, training, mask)
        maps = tf.cast(inputs, tf.float32)
        if not (training and self.trainable):
            moments = self.moving_mean, self.moving_variance
            return _normalized(self, maps, *map(_single, moments), inputs.dtype)
        mean, variance = _moments(maps, batch=True)
        for moving, value in (
            (self.moving_mean, mean),
            (self.moving_variance, variance),
        ):
            moving.assign(moving * self.momentum + value * (1 - self.momentum))
        return _normalized(self, maps, mean, variance, inputs.dtype)


def _moments(maps, batch=False):
    """Mean and variance of each map, `[n, c]`; or with `batch` of all, `[c]`."""
    mean, squares = (
        sum_of_positions(values) / (maps.shape[1] * maps.shape[2])
        for values in (maps, tf.square(maps))
    )
    if batch:
        mean, squares = tf.reduce_mean(mean, axis=0), tf.reduce_mean(squares, axis=0)
    return mean, tf.maximum(squares - tf.square(mean), 0.0)


def _normalized(layer, maps, mean, variance, dtype):
    """Maps of mean 0 and variance 1, times the norm's scales, plus its shifts."""
    factor = tf.math.rsqrt(variance + layer.epsilon)
    if layer.scale:
        factor *= _single(layer.gamma)
    shift = -mean * factor
    if layer.center:
        shift += _single(layer.beta)
    # Those of batch norm are the same for each image.
    shape = [maps.shape[0], maps.shape[3]]
    factor, shift = tf.broadcast_to(factor, shape), tf.broadcast_to(shift, shape)
    return tf.cast(scale_and_shift(maps, factor, shift), dtype)


def _single(values):
    return tf.cast(tf.convert_to_tensor(values), tf.float32)


class PairPooling(keras.layers.AveragePooling2D):
    """An `AveragePooling2D` that adds neighbours where it is 2x2 with stride 2."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        shape = inputs.shape
        if (
            _takes_pairs(self)
            and shape.num_elements()
            and shape[1] % 2 == shape[2] % 2 == 0
        ):
            return average_of_pairs(inputs)
        return super().call(inputs)
