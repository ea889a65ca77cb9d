"""Spectral norm against singular values, and norms that know the class by formula."""

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.generators.layers import (
    ClassMap,
    ClassNorm,
    Projection,
    SpectralConv,
    SpectralTable,
)

LABELS = tf.constant([2, 0, 2, 1])


def drawn(rng, layer, *inputs):
    """Builds a layer and gives it random weights.

    Kernels have one large singular value, so that the power method takes few steps.
    """
    layer(*inputs)
    for variable in layer.variables:
        value = rng.normal(size=variable.shape)
        if variable.name == "kernel":
            columns = rng.normal(size=variable.shape[-1])
            value += 5 * rng.normal(size=(*variable.shape[:-1], 1)) * columns
        variable.assign(value)
    return layer


def spectral(rng, kind):
    if kind is SpectralConv:
        return drawn(rng, SpectralConv(5, 3), tf.zeros([1, 4, 4, 2]))
    layer = drawn(rng, Projection(4), [tf.zeros([1, 6]), LABELS[:1]])
    return layer if kind is Projection else layer.table


@pytest.mark.parametrize("kind", [SpectralConv, Projection, SpectralTable])
def test_the_largest_singular_value_becomes_1(rng, kind):
    layer = spectral(rng, kind)
    kernel = layer.kernel.numpy()
    matrix = kernel.reshape(-1, kernel.shape[-1]).astype(np.float64)
    largest = np.linalg.svd(matrix, compute_uv=False)[0]
    for _ in range(15):
        found = layer.normalized_kernel(training=True)
    np.testing.assert_allclose(found, kernel / largest, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(layer.kernel, kernel)  # which is the one that learns


def test_only_training_moves_the_vector_and_by_one_step(rng):
    layer = spectral(rng, SpectralConv)
    matrix = layer.kernel.numpy().reshape(-1, 5).astype(np.float64)
    u = layer.u.numpy().astype(np.float64)
    layer.normalized_kernel(training=False)
    np.testing.assert_array_equal(layer.u, u.astype(np.float32))
    layer.normalized_kernel(training=True)
    moved = matrix.T @ (matrix @ u)
    np.testing.assert_allclose(layer.u, moved / np.linalg.norm(moved), rtol=1e-4)


def test_the_gradient_is_that_of_the_kernel_over_its_singular_value(rng):
    layer = spectral(rng, SpectralConv)
    for _ in range(15):
        layer.normalized_kernel(training=True)
    kernel = layer.kernel.numpy().astype(np.float64)
    factors = rng.normal(size=kernel.shape)

    def value(kernel):
        largest = np.linalg.svd(kernel.reshape(-1, 5), compute_uv=False)[0]
        return np.sum(factors * kernel / largest)

    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(factors.astype(np.float32) * layer.normalized_kernel())
    gradient = tape.gradient(loss, layer.kernel.value).numpy()
    step, start = 1e-6, value(kernel)
    for index in [(0, 0, 0, 0), (2, 1, 1, 4), (1, 2, 0, 3)]:
        moved = kernel.copy()
        moved[index] += step
        expected = (value(moved) - start) / step
        assert gradient[index] == pytest.approx(expected, abs=1e-3)


def test_a_convolution_is_that_with_the_normalised_kernel(rng):
    layer = spectral(rng, SpectralConv)
    images = tf.constant(rng.normal(size=(2, 4, 4, 2)), tf.float32)
    expected = tf.nn.conv2d(images, layer.normalized_kernel(), 1, "SAME") + layer.bias
    np.testing.assert_allclose(layer(images), expected, rtol=1e-5)


def test_the_projection_is_a_product_with_the_vector_of_the_class(rng):
    layer = spectral(rng, Projection)
    features = rng.normal(size=(4, 6))
    found = layer([tf.constant(features, tf.float32), LABELS])
    w = layer.normalized_kernel().numpy()[:, 0]
    table = layer.table.normalized_kernel().numpy()
    expected = [
        h @ w + float(layer.bias) + h @ table[label]
        for h, label in zip(features, LABELS.numpy(), strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_answers_differ_between_classes_by_the_features_alone(rng):
    """f(h, y) - f(h, y') is linear in h: the identity that names the discriminator."""
    layer = spectral(rng, Projection)
    h = tf.constant(rng.normal(size=(4, 6)), tf.float32)

    def gap(h):
        return (layer([h, LABELS]) - layer([h, 0 * LABELS + 3])).numpy()

    np.testing.assert_allclose(gap(3 * h), 3 * gap(h), rtol=1e-3, atol=1e-4)


def test_class_norm_by_its_formula(rng):
    images = rng.normal(3, 2, (4, 3, 3, 5))
    vectors = rng.normal(size=(4, 2))
    layer = drawn(rng, ClassNorm(), [tf.zeros([4, 3, 3, 5]), tf.zeros([4, 2])])
    mean, variance = rng.normal(size=5), rng.uniform(1, 2, 5)
    layer.norm.moving_mean.assign(mean)
    layer.norm.moving_variance.assign(variance)
    gain, shift = vectors @ layer.gain.numpy(), vectors @ layer.shift.numpy()
    given = [tf.constant(some, tf.float32) for some in (images, vectors)]

    def expected(mean, variance):
        result = (images - mean) / np.sqrt(variance + 1e-5)
        for row in range(4):
            result[row] = result[row] * (1 + gain[row]) + shift[row]
        return result

    found = layer(given, training=False)
    np.testing.assert_allclose(found, expected(mean, variance), rtol=1e-4, atol=1e-5)
    moments = images.mean((0, 1, 2)), images.var((0, 1, 2))
    found = layer(given, training=True)
    np.testing.assert_allclose(found, expected(*moments), rtol=1e-3, atol=1e-4)
    kept = 0.9 * mean + 0.1 * moments[0]
    np.testing.assert_allclose(layer.norm.moving_mean, kept, rtol=1e-4)


def test_a_map_of_the_class_joins_the_channels(rng):
    images = tf.constant(rng.normal(size=(4, 3, 2, 5)), tf.float32)
    layer = drawn(rng, ClassMap(3), [images, LABELS])
    found, table = layer([images, LABELS]).numpy(), layer.table.numpy()
    np.testing.assert_array_equal(found[..., :5], images)
    np.testing.assert_array_equal(found[..., 5].reshape(4, 6), table[LABELS.numpy()])
