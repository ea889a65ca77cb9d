"""Layers as XLA compiles them best on a CPU; their values are those of Keras' own.

A step of distillation spends most of its time in the forward pass of real images.
XLA's loops over channels or positions are slow where a sum cannot be vectorised, so
sums here go by halves, which are plain additions of long rows; and 3x3 convolutions
go by Winograd's minimal filtering, with a quarter of the multiplications.
"""

import keras
import numpy as np
import tensorflow as tf

_LEAST_CHANNELS = 32  # below, the transforms cost more than Winograd saves
_TILE = 4  # outputs of a tile, in each direction
_PATCH = _TILE + 2

# F(4x4, 3x3) of Lavin and Gray (CVPR 2016): patch, kernel and output transforms.
_PATCH_TRANSFORM = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float32,
)
_KERNEL_TRANSFORM = (
    np.array(
        [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]],
        np.float32,
    )
    / 24
)
_OUTPUT_TRANSFORM = np.array(
    [
        [1, 1, 1, 1, 1, 0],
        [0, 1, -1, 2, -2, 0],
        [0, 1, 1, 4, 4, 0],
        [0, 1, -1, 8, -8, 1],
    ],
    np.float32,
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

    def clone(layer):
        kind = type(layer)
        if kind is keras.layers.Conv2D:
            kind = WinogradConv2D
        elif kind is keras.layers.GroupNormalization:
            # Once built, -1 groups are as many as there are channels.
            if layer.groups in (-1, layer.input.shape[-1]):
                kind = InstanceNormalization
        elif kind is keras.layers.AveragePooling2D:
            kind = PairPooling
        return kind.from_config(layer.get_config())

    return keras.models.clone_model(network, clone_function=clone)


class WinogradConv2D(keras.layers.Conv2D):
    """A `Conv2D` that goes by `winograd_convolution` where that applies."""

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        simple = (
            self.kernel_size == (3, 3)
            and self.strides == self.dilation_rate == (1, 1)
            and (self.padding, self.groups) == ("same", 1)
        )
        shape = inputs.shape
        if (
            simple
            and shape.num_elements()
            and shape[1] % _TILE == shape[2] % _TILE == 0
            and min(kernel.shape[2:]) >= _LEAST_CHANNELS
        ):
            return winograd_convolution(inputs, tf.convert_to_tensor(kernel))
        return super().convolution_op(inputs, kernel)


class InstanceNormalization(keras.layers.GroupNormalization):
    """A `GroupNormalization(groups=-1)` whose sums go by halves."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        if inputs.shape.num_elements() is None:
            return super().call(inputs)
        count = inputs.shape[1] * inputs.shape[2]
        mean = sum_of_positions(inputs) / count
        squares = sum_of_positions(tf.square(inputs)) / count
        variance = tf.maximum(squares - tf.square(mean), 0.0)
        factor = tf.math.rsqrt(variance + self.epsilon)
        if self.scale:
            factor *= self.gamma
        shift = -mean * factor
        if self.center:
            shift += self.beta
        return inputs * factor[:, None, None] + shift[:, None, None]


class PairPooling(keras.layers.AveragePooling2D):
    """An `AveragePooling2D` that adds neighbours where it is 2x2 with stride 2."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        shape = inputs.shape
        if (
            self.pool_size == self.strides == (2, 2)
            and shape.num_elements()
            and shape[1] % 2 == shape[2] % 2 == 0
        ):
            return _average_of_pairs(inputs)
        return super().call(inputs)


@tf.custom_gradient
def winograd_convolution(images: tf.Tensor, kernel: tf.Tensor):
    """Returns the 3x3 convolution of padded `images`, as `tf.nn.conv2d` with "SAME".

    F(4x4, 3x3) of Lavin and Gray (CVPR 2016). In float32 it is exact to about 1e-5
    of the largest value.

    Args:
        images: float32 `[n, h, w, c]`, h and w multiples of 4.
        kernel: `[3, 3, c, d]`.

    Returns:
        `[n, h, w, d]`.

    Example:
        >>> winograd_convolution(tf.ones([1, 4, 4, 1]), tf.ones([3, 3, 1, 1])).shape
        TensorShape([1, 4, 4, 1])
    """

    def gradient(upstream):
        # The adjoint of such a convolution is one with the kernel turned around.
        turned = tf.transpose(tf.reverse(kernel, [0, 1]), [0, 1, 3, 2])
        of_kernel = tf.raw_ops.Conv2DBackpropFilter(
            input=images,
            filter_sizes=kernel.shape,
            out_backprop=upstream,
            strides=[1, 1, 1, 1],
            padding="SAME",
        )
        return _winograd(upstream, turned), of_kernel

    return _winograd(images, kernel), gradient


def _winograd(images, kernel):
    count, height, width, channels = images.shape
    down, across, filters = height // _TILE, width // _TILE, kernel.shape[3]
    padded = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]])
    last_row, last_column = _TILE * (down - 1) + 1, _TILE * (across - 1) + 1
    rows = [padded[:, i : i + last_row : _TILE] for i in range(_PATCH)]
    patches = [
        patch
        for row in _combine(_PATCH_TRANSFORM, rows)
        for patch in _combine(
            _PATCH_TRANSFORM,
            [row[:, :, j : j + last_column : _TILE] for j in range(_PATCH)],
        )
    ]
    patches = tf.reshape(tf.stack(patches), [_PATCH**2, -1, channels])
    transform = tf.constant(_KERNEL_TRANSFORM)
    kernels = tf.einsum("ai,bj,ijcd->abcd", transform, transform, kernel)
    kernels = tf.reshape(kernels, [_PATCH**2, channels, filters])
    products = tf.reshape(
        tf.linalg.matmul(patches, kernels),
        [_PATCH, _PATCH, count, down, across, filters],
    )
    lines = _combine(_OUTPUT_TRANSFORM, tf.unstack(products))
    tiles = tf.stack(
        [
            tf.stack(_combine(_OUTPUT_TRANSFORM, tf.unstack(line)), axis=3)
            for line in lines
        ],
        axis=2,
    )  # [count, down, 4, across, 4, filters]
    return tf.reshape(tiles, [count, height, width, filters])


def _combine(matrix, parts):
    """Returns matrix @ parts, as sums of whole tensors."""
    return [
        sum(
            part if factor == 1 else part * float(factor)
            for factor, part in zip(row, parts, strict=True)
            if factor
        )
        for row in matrix
    ]


@tf.custom_gradient
def sum_of_channels(values: tf.Tensor):
    """Returns the sum over the last axis, by halves.

    Args:
        values: `[..., c]`.

    Example:
        >>> sum_of_channels(tf.ones([2, 64])).numpy()
        array([64., 64.], dtype=float32)
    """
    shape = tf.shape(values)

    def gradient(upstream):
        return tf.broadcast_to(upstream[..., None], shape)

    while values.shape[-1] % 2 == 0 and values.shape[-1] > 16:
        half = values.shape[-1] // 2
        values = values[..., :half] + values[..., half:]
    return tf.reduce_sum(values, axis=-1), gradient


@tf.custom_gradient
def sum_of_positions(values: tf.Tensor):
    """Returns the sum over height and width, by halves.

    Args:
        values: `[n, h, w, c]`.

    Example:
        >>> sum_of_positions(tf.ones([1, 4, 6, 1])).numpy()
        array([[24.]], dtype=float32)
    """
    shape = values.shape

    def gradient(upstream):
        return tf.broadcast_to(upstream[:, None, None], shape)

    while values.shape[1] % 2 == 0:
        half = values.shape[1] // 2
        values = values[:, :half] + values[:, half:]
    values = tf.reduce_sum(values, axis=1) if values.shape[1] > 1 else values[:, 0]
    while values.shape[1] % 2 == 0:
        half = values.shape[1] // 2
        values = values[:, :half] + values[:, half:]
    return tf.reduce_sum(values, axis=1), gradient


@tf.custom_gradient
def _average_of_pairs(values):
    count, height, width, channels = values.shape

    def gradient(upstream):
        spread = tf.broadcast_to(
            upstream[:, :, None, :, None] / 4,
            [count, height // 2, 2, width // 2, 2, channels],
        )
        return tf.reshape(spread, [count, height, width, channels])

    rows = values[:, 0::2] + values[:, 1::2]
    return (rows[:, :, 0::2] + rows[:, :, 1::2]) / 4, gradient
