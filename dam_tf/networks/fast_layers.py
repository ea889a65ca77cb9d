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
import numpy as np
import tensorflow as tf

_LEAST_CHANNELS = 32  # below, the transforms cost more than Winograd saves
_FEW_CHANNELS = 4  # of which 3x3 patches are few numbers beside the maps
_TILE = 4  # outputs of a tile, in each direction
_PATCH = _TILE + 2

# F(4x4, 3x3) of Lavin and Gray (CVPR 2016): the kernel's transform, of a line and of
# both directions at once. Those of patches and outputs are written out below, in few
# operations, which are quick to compile.
_LINE_TRANSFORM = (
    np.array(
        [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]],
        np.float32,
    )
    / 24
)
_KERNEL_TRANSFORM = np.kron(_LINE_TRANSFORM, _LINE_TRANSFORM)  # [36, 9]
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
        and layer.input.shape[-1] <= _FEW_CHANNELS
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
        >>> from dam_tf.config import NetworkConfig
        >>> from dam_tf.networks import create
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
        return kind is InstanceNormalization or isinstance(layer, _SIMPLE_LAYERS)

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
        fits = inputs.shape[1] % _TILE == inputs.shape[2] % _TILE == 0
        fits = fits and inputs.dtype == tf.float32  # others lack the digits it loses
        if fits and min(kernel.shape[2:]) >= _LEAST_CHANNELS:
            outputs = winograd_convolution(inputs, kernel)
        else:
            outputs = _convolution(inputs, kernel)
        if self.use_bias:
            outputs = _add_bias(outputs, tf.convert_to_tensor(self.bias))
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
        def single(values):
            return tf.cast(tf.convert_to_tensor(values), tf.float32)

        gamma = single(self.gamma) if self.scale else tf.ones([self.filters])
        beta = single(self.beta) if self.center else tf.zeros([self.filters])
        if self.use_bias:  # of which the norm leaves nothing but a gradient of 0
            beta += 0.0 * single(self.bias)
        images, kernel = single(inputs), single(self.kernel)
        return _normalized_convolution(
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
        count = inputs.shape[1] * inputs.shape[2]
        maps = tf.cast(inputs, tf.float32)
        mean = sum_of_positions(maps) / count
        squares = sum_of_positions(tf.square(maps)) / count
        variance = tf.maximum(squares - tf.square(mean), 0.0)
        factor = tf.math.rsqrt(variance + self.epsilon)
        if self.scale:
            factor *= tf.cast(self.gamma, tf.float32)
        shift = -mean * factor
        if self.center:
            shift += tf.cast(self.beta, tf.float32)
        return tf.cast(_scale_and_shift(maps, factor, shift), inputs.dtype)


class PairPooling(keras.layers.AveragePooling2D):
    """An `AveragePooling2D` that adds neighbours where it is 2x2 with stride 2."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        shape = inputs.shape
        if (
            _takes_pairs(self)
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

    patches, kernels = _patches(images), _kernels(kernel)

    def gradient(upstream):
        tiles = _tiles_adjoint(upstream)
        of_patches = tf.linalg.matmul(tiles, kernels, transpose_b=True)
        of_kernels = tf.linalg.matmul(patches, tiles, transpose_a=True)
        of_kernel = tf.linalg.matmul(
            _KERNEL_TRANSFORM, tf.reshape(of_kernels, [_PATCH**2, -1]), transpose_a=True
        )
        return _patches_adjoint(of_patches, images.shape), tf.reshape(
            of_kernel, kernel.shape
        )

    return _tiles(patches @ kernels, images.shape), gradient


def _patches(images):
    """The transformed patches of images, `[36, patches, channels]`."""
    _, height, width, channels = images.shape
    padded = _padded(images)
    last_row, last_column = height - _TILE + 1, width - _TILE + 1
    rows = tf.stack(
        _of_patch([padded[:, i : i + last_row : _TILE] for i in range(_PATCH)])
    )
    columns = [rows[:, :, :, j : j + last_column : _TILE] for j in range(_PATCH)]
    return tf.reshape(tf.stack(_of_patch(columns), axis=1), [_PATCH**2, -1, channels])


def _patches_adjoint(factors, shape):
    """The adjoint of `_patches`: `[36, patches, channels]` to maps of `shape`."""
    count, height, width, channels = shape
    down, across = height // _TILE, width // _TILE
    factors = tf.reshape(factors, [_PATCH, _PATCH, count, down, across, channels])
    columns = _overlapping(_of_factors(tf.unstack(factors, axis=1)), axis=3)
    columns = tf.stack(columns, axis=4)  # [6, count, down, across, 4, channels]
    rows = _overlapping(_of_factors(tf.unstack(columns)), axis=1)
    return tf.reshape(tf.stack(rows, axis=2), shape)


def _kernels(kernel):
    """The transformed kernel, `[36, channels, filters]`."""
    kernels = _KERNEL_TRANSFORM @ tf.reshape(kernel, [9, -1])
    return tf.reshape(kernels, [_PATCH**2, *kernel.shape[2:]])


def _tiles(products, shape):
    """Maps of the count, height and width of `shape`, from `[36, patches, filters]`."""
    (count, height, width, _), filters = shape, products.shape[-1]
    down, across = height // _TILE, width // _TILE
    products = tf.reshape(products, [_PATCH, _PATCH, count, down, across, filters])
    rows = tf.stack(_of_output(tf.unstack(products)), axis=3)
    tiles = tf.stack(_of_output(tf.unstack(rows)), axis=4)
    # [count, down, 4, across, 4, filters]
    return tf.reshape(tiles, [count, height, width, filters])


def _tiles_adjoint(maps):
    """The adjoint of `_tiles`: maps to `[36, patches, filters]`."""
    rows = tf.stack(_of_tile([maps[:, i::_TILE] for i in range(_TILE)]))
    columns = [rows[:, :, :, j::_TILE] for j in range(_TILE)]
    return tf.reshape(
        tf.stack(_of_tile(columns), axis=1), [_PATCH**2, -1, maps.shape[-1]]
    )


def _of_patch(parts):
    """Six inputs of a line to six factors."""
    p0, p1, p2, p3, p4, p5 = parts
    even, odd = p4 - 4.0 * p2, p3 - 4.0 * p1
    near, far = p4 - p2, 2.0 * (p3 - p1)
    first, last = 4.0 * p0 - 5.0 * p2 + p4, 4.0 * p1 - 5.0 * p3 + p5
    return [first, even + odd, even - odd, near + far, near - far, last]


def _of_factors(factors):
    """The adjoint of `_of_patch`."""
    f0, f1, f2, f3, f4, f5 = factors
    near, near_odd, far, far_odd = f1 + f2, f1 - f2, f3 + f4, f3 - f4
    return [
        4.0 * f0,
        4.0 * (f5 - near_odd) - 2.0 * far_odd,
        -5.0 * f0 - 4.0 * near - far,
        near_odd + 2.0 * far_odd - 5.0 * f5,
        f0 + near + far,
        f5,
    ]


def _overlapping(parts, axis):
    """The four places of each tile, of its six and of what its neighbours reach over.

    Tiles, along `axis`, begin a place after their patches.
    """
    p0, p1, p2, p3, p4, p5 = parts
    return [p1 + _moved(p5, axis, 1), p2, p3, p4 + _moved(p0, axis, -1)]


def _moved(values, axis, by):
    """`values` moved by 1 or -1 along `axis`, 0 where nothing came from."""
    first, last = tf.split(values, [1, -1] if by < 0 else [-1, 1], axis)
    empty = tf.zeros_like(first if by < 0 else last)
    return tf.concat([last, empty] if by < 0 else [empty, first], axis)


def _of_output(products):
    """Six products of a line to four outputs."""
    p0, p1, p2, p3, p4, p5 = products
    sum_1, difference_1, sum_2, difference_2 = p1 + p2, p1 - p2, p3 + p4, p3 - p4
    return [
        p0 + sum_1 + sum_2,
        difference_1 + 2.0 * difference_2,
        sum_1 + 4.0 * sum_2,
        difference_1 + 8.0 * difference_2 + p5,
    ]


def _of_tile(outputs):
    """The adjoint of `_of_output`."""
    o0, o1, o2, o3 = outputs
    even, odd, even_2, odd_2 = o0 + o2, o1 + o3, o0 + 4.0 * o2, 2.0 * o1 + 8.0 * o3
    return [o0, even + odd, even - odd, even_2 + odd_2, even_2 - odd_2, o3]


def _padded(images):
    return tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]])


@tf.custom_gradient
def _convolution(images, kernel):
    channels, filters = kernel.shape[2:]

    def of_images(upstream):
        if channels >= _LEAST_CHANNELS:
            turned = tf.transpose(tf.reverse(kernel, [0, 1]), [0, 1, 3, 2])
            return tf.nn.conv2d(upstream, turned, 1, "SAME")
        products = tf.linalg.matmul(
            tf.reshape(upstream, [-1, filters]),
            tf.reshape(kernel, [9 * channels, filters]),
            transpose_b=True,
        )
        return _neighbours_adjoint(products, images.shape)

    def of_kernel(upstream):
        product = tf.linalg.matmul(
            tf.reshape(_neighbours(images), [-1, 9 * channels]),
            tf.reshape(upstream, [-1, filters]),
            transpose_a=True,
        )
        return tf.reshape(product, kernel.shape)

    def gradient(upstream):
        return of_images(upstream), of_kernel(upstream)

    return tf.nn.conv2d(images, kernel, 1, "SAME"), gradient


def _normalized_convolution(images, kernel, gamma, beta, epsilon, dtype):
    """A convolution and the instance norm after it, from patches of the images.

    Where p are the patches of an image less their mean, and C the mean of p p', the map
    of a filter k has the variance k' C k. So filters are scaled before they meet the
    patches; and of the gradient u of the maps the norm needs nothing but the sum of
    p u', which is that of the filters anyway.
    """
    _, height, width, channels = images.shape
    count, filters = height * width, kernel.shape[3]

    @tf.custom_gradient
    def of(images, kernel, gamma, beta):
        patches = _neighbours(images)
        patches -= tf.reduce_mean(patches, axis=1, keepdims=True)
        flat = tf.reshape(kernel, [9 * channels, filters])
        shared = tf.linalg.matmul(patches, patches, transpose_a=True) @ flat / count
        variance = tf.reduce_sum(shared * flat, axis=1)
        inverse = tf.math.rsqrt(variance + epsilon)
        factors = inverse * gamma
        # Transposed, which is the faster product.
        scaled = tf.cast(tf.transpose(flat) * factors[:, :, None], dtype)
        maps = tf.linalg.matmul(tf.cast(patches, dtype), scaled, transpose_b=True)
        maps = tf.reshape(maps + tf.cast(beta, dtype), [-1, height, width, filters])

        def gradient(upstream):
            upstream = tf.cast(upstream, tf.float32)
            of_beta = tf.reduce_sum(sum_of_positions(upstream), axis=0)
            upstream = tf.reshape(upstream, [-1, count, filters])
            products = tf.linalg.matmul(patches, upstream, transpose_a=True)
            of_factors = tf.reduce_sum(products * flat, axis=1)
            of_variance = -0.5 * of_factors * gamma * inverse**3
            of_kernel = products * factors[:, None]
            of_kernel += 2.0 * of_variance[:, None] * shared
            through_variance = tf.linalg.matmul(
                flat * of_variance[:, None], flat, transpose_b=True
            )
            of_patches = tf.linalg.matmul(
                upstream, flat * factors[:, None], transpose_b=True
            )
            of_patches += patches @ (2.0 / count * through_variance)
            of_patches -= tf.reduce_mean(of_patches, axis=1, keepdims=True)
            return (
                _neighbours_adjoint(of_patches, images.shape),
                tf.reshape(tf.reduce_sum(of_kernel, axis=0), kernel.shape),
                tf.reduce_sum(of_factors * inverse, axis=0),
                of_beta,
            )

        return maps, gradient

    return of(images, kernel, gamma, beta)


def _neighbours(images):
    """The 3x3 patch around each place, `[n, h * w, 9 * channels]`."""
    _, height, width, channels = images.shape
    padded = _padded(images)
    shifted = [
        padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)
    ]
    return tf.reshape(tf.concat(shifted, axis=3), [-1, height * width, 9 * channels])


def _neighbours_adjoint(patches, shape):
    """The adjoint of `_neighbours`: patches to images of `shape`."""
    _, height, width, channels = shape
    patches = tf.reshape(patches, [-1, height, width, 9, channels])
    padded = tf.pad(patches, [[0, 0], [1, 1], [1, 1], [0, 0], [0, 0]])
    return tf.add_n(
        [
            padded[:, 2 - i : 2 - i + height, 2 - j : 2 - j + width, 3 * i + j]
            for i in range(3)
            for j in range(3)
        ]
    )


@tf.custom_gradient
def _add_bias(maps, bias):
    def gradient(upstream):
        return upstream, tf.reduce_sum(sum_of_positions(upstream), axis=0)

    return maps + bias, gradient


@tf.custom_gradient
def _scale_and_shift(maps, factors, shifts):
    """Channels of each image times its `factors` plus its `shifts`, `[n, c]`."""

    def gradient(upstream):
        of_factors = sum_of_positions(upstream * maps)
        return upstream * factors[:, None, None], of_factors, sum_of_positions(upstream)

    return maps * factors[:, None, None] + shifts[:, None, None], gradient


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
