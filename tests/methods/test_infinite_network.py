"""Kernels in closed form against finite networks, NumPy and differences."""

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.config.kernels import KIPSettings
from dam_tf.methods import infinite_network
from dam_tf.methods.infinite_network import InfiniteNetwork
from tests.methods.kernels import numpy_kernels

pytestmark = pytest.mark.usefixtures("eagerly")

NETWORKS = [("fc", 1), ("fc", 3), ("conv", 1), ("conv", 3)]
SHAPE = (4, 5, 2)


def kernel_of(network="fc", depth=1, kernel="ntk", biases=0.1):
    settings = KIPSettings(
        kernel_network=network, depth=depth, kernel=kernel, bias_deviation=biases
    )
    return InfiniteNetwork(settings, jit=False)


def some_images(count, rng, shape=SHAPE):
    return tf.constant(rng.standard_normal((count, *shape)))


def finite_network(shape, network, depth, width, seed):
    """Weights, and what they make of one image: a number and the last layer's maps."""
    height, across, channels = shape if network == "conv" else (1, 1, np.prod(shape))
    size = 3 if network == "conv" else 1
    fans = [size * size * channels, *[size * size * width] * (depth - 1)]
    fans.append(height * across * width)
    draw = iter(range(99))
    weights = [
        tf.random.stateless_normal([fan, outputs], [seed, next(draw)], dtype=tf.float64)
        for fan, outputs in zip(fans, [*[width] * depth, 1], strict=True)
    ]
    biases = [
        tf.random.stateless_normal([w.shape[1]], [seed, next(draw)], dtype=tf.float64)
        for w in weights
    ]

    def apply(image):
        x = tf.reshape(image, [1, height, across, channels])
        for layer in range(depth):
            kernel = tf.reshape(weights[layer], [size, size, x.shape[-1], width])
            x = tf.nn.conv2d(x, kernel, 1, "SAME")
            x = np.sqrt(2 / fans[layer]) * x + 0.5 * biases[layer]
            x = tf.nn.relu(x)
        x = tf.reshape(x, [1, -1])
        logit = np.sqrt(2 / fans[-1]) * x @ weights[-1] + 0.5 * biases[-1]
        return logit[0, 0], x

    return [*weights, *biases], apply


@pytest.mark.parametrize(
    ("network", "depth", "width", "shape"),
    [
        ("fc", 1, 4096, (1, 1, 3)),
        ("fc", 2, 1024, (1, 1, 3)),
        ("conv", 2, 256, (3, 3, 2)),
    ],
)
def test_equals_the_tangents_of_wide_finite_networks(network, depth, width, shape, rng):
    """Means over eight networks, each of which is off by about 1 / sqrt(width)."""
    images = some_images(4, rng, shape)
    tangents, products = np.zeros([2, 4, 4])
    for seed in range(8):
        weights, apply = finite_network(shape, network, depth, width, seed)
        slopes, maps = [], []
        for image in images:
            with tf.GradientTape() as tape:
                tape.watch(weights)
                logit, found = apply(image)
            parts = tape.gradient(logit, weights)
            slopes.append(np.concatenate([np.ravel(part) for part in parts]))
            maps.append(np.ravel(found))
        tangents += np.array(slopes) @ np.array(slopes).T / 8
        products += (np.array(maps) @ np.array(maps).T * 2 / len(maps[0]) + 0.25) / 8
    for kernel, expected in (("ntk", tangents), ("nngp", products)):
        found = kernel_of(network, depth, kernel, 0.5).within(images).numpy()
        np.testing.assert_allclose(found, expected, atol=0.05 * expected.max())


@pytest.mark.parametrize("kernel", ["ntk", "nngp"])
@pytest.mark.parametrize(("network", "depth"), NETWORKS)
def test_equals_numpy(network, depth, kernel, rng):
    images, others = some_images(3, rng), some_images(2, rng)
    layer = kernel_of(network, depth, kernel)
    parts = {"conv": network == "conv", "depth": depth, "kernel": kernel}
    expected = numpy_kernels(others, images, **parts)
    np.testing.assert_allclose(layer.between(others, images), expected, rtol=1e-10)
    expected = numpy_kernels(images, images, **parts)
    # Of an image and itself the angle is 0 but for the root of a rounding error.
    np.testing.assert_allclose(layer.within(images), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("network", "depth", "at_once"),
    [("fc", 1, 2**21), ("fc", 3, 6), ("conv", 1, 2**21), ("conv", 2, 120)],
)
def test_gradient_equals_differences(network, depth, at_once, rng, monkeypatch):
    """Of both kernels, in one part or two rows at a time, of which the last is one."""
    images, others = some_images(3, rng), some_images(5, rng)
    weights = rng.standard_normal((3, 3)), rng.standard_normal((5, 3))
    layer = kernel_of(network, depth)

    def total(images):
        found = layer.within(images), layer.between(others, images)
        return tf.add_n(
            [tf.reduce_sum(w * k) for w, k in zip(weights, found, strict=True)]
        )

    whole = total(images)
    monkeypatch.setattr(infinite_network, "_AT_ONCE", at_once)
    with tf.GradientTape() as tape:
        tape.watch(images)
        value = total(images)
    np.testing.assert_allclose(value, whole, rtol=1e-12)
    gradient = tape.gradient(value, images).numpy()
    for place in [(0, 0, 0, 0), (2, 3, 4, 1)]:
        step = np.zeros(images.shape)
        step[place] = 1e-5
        slope = (total(images + step) - total(images - step)) / 2e-5
        assert gradient[place] == pytest.approx(float(slope), rel=1e-6, abs=1e-6)


def test_the_same_image_twice_has_a_finite_gradient(rng):
    """The slope of the NTK between two images is infinite where they meet."""
    image = some_images(1, rng)
    images = tf.concat([image, image, tf.zeros_like(image)], axis=0)
    for network, depth in NETWORKS:
        with tf.GradientTape() as tape:
            tape.watch(images)
            values = kernel_of(network, depth).within(images)
        assert np.isfinite(tape.gradient(values, images)).all()
