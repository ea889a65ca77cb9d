"""Kernels of networks of infinite width, in closed form: the NTK and the NNGP.

KIP and label solve regress with them (`kernel_regression.py`), and so does whoever
tests a set by its kernel (`dam_tf/evaluation/kernel.py`).
"""

import functools
import math
from collections.abc import Callable

import tensorflow as tf

from dam_tf.config.kernels import KernelSettings

# Pairs of images times positions whose values are kept at once: 16 MiB in float64.
_AT_ONCE = 2**21
_WINDOW = 3  # height and width of the kernels of "conv"
# Below this, 1 - c^2 is rounding, and two images of cosine c are the same one.
_SAME = 1e-12
_LEAST_VARIANCE = 1e-12


class InfiniteNetwork:
    """The kernel of a ReLU network as its width goes to infinity, in float64.

    The weights of a layer are sigma_w / sqrt(fan_in) times standard normal parameters,
    and its biases sigma_b times such parameters (the NTK parameterisation; Jacot et
    al., NeurIPS 2018). With S the covariance of two images after the first layer, both
    kernels follow layer by layer from the arc-cosine kernels (Cho and Saul, NeurIPS
    2009):

        c = S(x, y) / sqrt(S(x, x) S(y, y)),  u = arccos(c)
        k1 = sqrt(S(x, x) S(y, y)) (sin u + (pi - u) c) / (2 pi)
        k0 = (pi - u) / (2 pi)
        S' = sigma_w^2 k1 + sigma_b^2
        T' = S' + sigma_w^2 k0 T,  where T = S after the first layer

    The NNGP is the last S, the NTK the last T. In a convolutional network (`"conv"`)
    the pairs of values at one position have a covariance, a 3x3 convolution takes the
    mean over the window around it (with zeros around the images), and the classifier
    the mean over all positions. Without pooling no two different positions ever meet,
    so a pair of images costs h * w pairs of values, not (h * w)^2.

    Rows of large kernels are computed some at a time, and once more for the gradient,
    so that memory holds the kernel and not its h * w values a pair.

    Args:
        settings: The kernel, its network and depth, and both deviations.
        jit: Whether XLA compiles it.

    Example:
        >>> from dam_tf.config.kernels import KIPSettings
        >>> network = InfiniteNetwork(KIPSettings(), jit=False)
        >>> images = tf.constant([[[[1.0]], [[0.0]]], [[[0.0]], [[1.0]]]])
        >>> network.within(images).numpy().round(3).tolist()
        [[2.03, 0.342], [0.342, 2.03]]
    """

    def __init__(self, settings: KernelSettings, jit: bool = True):
        self._settings = settings
        self._spatial = settings.kernel_network == "conv"
        self._within = tf.function(self._symmetric, jit_compile=jit, autograph=False)
        self._between = tf.function(self._in_parts, jit_compile=jit, autograph=False)

    def within(self, images: tf.Tensor) -> tf.Tensor:
        """Returns the kernel of all pairs of some images, float64 `[n, n]`.

        Args:
            images: `[n, h, w, c]`, in model space; gradients flow into them.
        """
        return self._within(tf.cast(images, tf.float64))

    def between(self, others: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        """Returns the kernel of two sets of images, float64 `[m, n]`.

        Args:
            others: `[m, h, w, c]`, in model space; no gradient flows into them.
            images: `[n, h, w, c]`; gradients flow into these.
        """
        others = tf.stop_gradient(tf.cast(others, tf.float64))
        return self._between(others, tf.cast(images, tf.float64))

    def _symmetric(self, images):
        """As a kernel between two sets, of which each gives half of the gradient."""

        @tf.custom_gradient
        def kernel(images):
            with tf.GradientTape(persistent=True) as tape:
                tape.watch(images)
                values = self._in_parts(tf.stop_gradient(images), images)

            def gradient(upstream):
                both = upstream + tf.transpose(upstream)
                return tape.gradient(values, images, both)

            return values, gradient

        return kernel(images)

    def _in_parts(self, others, images):
        """The kernel `[m, n]`, some rows at a time; gradients flow into `images`."""
        positions = others.shape[1] * others.shape[2] if self._spatial else 1
        size = max(1, _AT_ONCE // (images.shape[0] * positions))
        count = others.shape[0]
        if size >= count:
            return self._pairs(others, images)
        parts = -(-count // size)
        padding = [[0, parts * size - count], [0, 0], [0, 0], [0, 0]]
        shape = [parts, size, *others.shape[1:]]
        others = tf.reshape(tf.pad(others, padding), shape)

        @tf.custom_gradient
        def kernel(images):
            values = tf.map_fn(
                lambda some: self._pairs(some, images), others, parallel_iterations=1
            )

            def gradient(upstream):
                def add(part, total):
                    with tf.GradientTape() as tape:
                        tape.watch(images)
                        some = self._pairs(others[part], images)
                    return part + 1, total + tape.gradient(some, images, upstream[part])

                start = tf.constant(0), tf.zeros_like(images)
                return tf.while_loop(
                    lambda part, _: part < parts, add, start, parallel_iterations=1
                )[1]

            return values, gradient

        values = kernel(images)
        return tf.reshape(values, [parts * size, -1])[:count]

    def _pairs(self, others, images):
        """The kernel `[m, n]`, all of it at once."""
        settings = self._settings
        weights, biases = settings.weight_deviation**2, settings.bias_deviation**2
        mix, products, squares = self._first_layer(others, images)
        covariance = weights * mix(products) + biases
        variances = [
            tf.maximum(weights * mix(one) + biases, _LEAST_VARIANCE) for one in squares
        ]
        tangent = covariance
        for layer in range(settings.depth):
            if layer == settings.depth - 1:  # the classifier sees all positions
                mix = functools.partial(tf.reduce_mean, axis=(-2, -1))
                mix = mix if self._spatial else _itself
            scale = tf.sqrt(variances[0][:, None] * variances[1][None])
            slopes, values = _arc_cosines(covariance / scale)
            covariance = weights * mix(scale * values / 2) + biases
            tangent = covariance + weights * mix(slopes * tangent / 2)
            if layer < settings.depth - 1:
                variances = [weights * mix(one / 2) + biases for one in variances]
        return covariance if settings.kernel == "nngp" else tangent

    def _first_layer(self, others, images):
        """How a layer mixes positions; products of pairs of images, and squares.

        Products are means over the values that one position holds: a convolution's
        channels, `[m, n, h, w]`, or a dense layer's whole image, `[m, n]`.
        """
        if self._spatial:
            channels = others.shape[-1]
            products = tf.einsum("mhwc,nhwc->mnhw", others, images) / channels
            squares = [tf.reduce_mean(tf.square(one), -1) for one in (others, images)]
            return _window_mean, products, squares
        size = math.prod(images.shape[1:])
        flat = [tf.reshape(one, [-1, size]) for one in (others, images)]
        products = tf.linalg.matmul(*flat, transpose_b=True) / size
        return _itself, products, [tf.reduce_mean(tf.square(one), -1) for one in flat]


def _itself(values: tf.Tensor) -> tf.Tensor:
    return values


def _window_mean(values: tf.Tensor) -> tf.Tensor:
    """The mean over the window around each position of the last two axes."""
    half = _WINDOW // 2
    for axis in (-2, -1):
        rank = values.shape.rank
        padding = [[0, 0]] * rank
        padding[axis] = [half, half]
        length = values.shape[axis]
        padded = tf.pad(values, padding)
        shifted: Callable = functools.partial(_stretch, padded, axis, length)
        values = tf.add_n([shifted(first) for first in range(_WINDOW)]) / _WINDOW
    return values


def _stretch(values: tf.Tensor, axis: int, length: int, first: int) -> tf.Tensor:
    index = [slice(None)] * values.shape.rank
    index[axis] = slice(first, first + length)
    return values[tuple(index)]


@tf.custom_gradient
def _arc_cosines(cosines: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns 2 k0 and 2 k1 / scale, `(pi - u) / pi` and `(sin u + (pi - u) c) / pi`.

    The slope of the first is infinite where two images are the same. Their cosine is 1
    however they move together, so its share of the gradient is 0 there.
    """
    same = cosines > 1.0 - _SAME / 2
    cosines = tf.where(same, tf.ones_like(cosines), tf.maximum(cosines, -1.0))
    sines_squared = tf.maximum(1.0 - tf.square(cosines), 0.0)
    slopes = (math.pi - tf.acos(cosines)) / math.pi
    values = tf.sqrt(sines_squared) / math.pi + slopes * cosines

    def gradient(of_slopes, of_values):
        steep = tf.math.divide_no_nan(of_slopes, tf.sqrt(sines_squared)) / math.pi
        return steep + of_values * slopes

    return (slopes, values), gradient
