"""The losses of generators against formulas in NumPy's float64."""

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.generators import losses


def value(function, *arrays, **more):
    return float(function(*(tf.constant(a, tf.float32) for a in arrays), **more))


def test_logistic_losses(rng):
    real, made = rng.normal(0, 3, 7), rng.normal(0, 3, 5)

    def minus_log_sigmoid(x):
        return -np.log(1 / (1 + np.exp(-x)))

    expected = minus_log_sigmoid(real).mean() + minus_log_sigmoid(-made).mean()
    assert value(losses.logistic_discriminator, real, made) == pytest.approx(expected)
    expected = minus_log_sigmoid(made).mean()
    assert value(losses.logistic_generator, made) == pytest.approx(expected)


def test_hinge_losses(rng):
    real, made = rng.normal(0, 2, 7), rng.normal(0, 2, 5)
    expected = np.mean([max(0, 1 - x) for x in real])
    expected += np.mean([max(0, 1 + x) for x in made])
    assert value(losses.hinge_discriminator, real, made) == pytest.approx(expected)
    assert value(losses.hinge_generator, made) == pytest.approx(-made.mean())


def test_divergence_is_that_of_the_densities(rng):
    """By integrating p log(p / q) over a fine grid, one number after the other."""
    mean, log_variance = rng.normal(0, 1, (2, 3)), rng.normal(0, 0.5, (2, 3))
    x = np.linspace(-12, 12, 200_001)
    total = 0.0
    for m, v in zip(mean.ravel(), np.exp(log_variance).ravel(), strict=True):
        log_p = -((x - m) ** 2) / (2 * v) - 0.5 * np.log(2 * np.pi * v)
        log_q = -(x**2) / 2 - 0.5 * np.log(2 * np.pi)
        total += np.sum(np.exp(log_p) * (log_p - log_q)) * (x[1] - x[0])
    found = value(losses.divergence_from_normal, mean, log_variance)
    assert found == pytest.approx(total / 2, rel=1e-4)


def test_contrastive_is_cross_entropy_of_the_own_key(rng):
    def of_length_1(*shape):
        vectors = rng.normal(size=shape)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    queries, keys, others = of_length_1(4, 3), of_length_1(4, 3), of_length_1(6, 3)
    expected = []
    for query, key in zip(queries, keys, strict=True):
        products = np.exp(np.array([query @ key, *(others @ query)]) / 0.07)
        expected.append(-np.log(products[0] / products.sum()))
    found = value(losses.contrastive, queries, keys, others, temperature=0.07)
    assert found == pytest.approx(np.mean(expected), rel=1e-4)


def mmd(made, real, variances):
    """The sums over all pairs, written out."""
    total = 0.0
    for v in variances:

        def kernel(a, b, v=v):
            return np.mean(
                [[np.exp(-((x - y) @ (x - y)) / 2 / v) for y in b] for x in a]
            )

        total += kernel(made, made) + kernel(real, real) - 2 * kernel(made, real)
    return np.sqrt(total)


def test_root_mmd_and_its_gradient(rng):
    made, real = rng.normal(0, 1, (4, 3)), rng.normal(1, 2, (5, 3))
    variances = (0.5, 2.0, 8.0)
    expected = mmd(made, real, variances)
    variable = tf.Variable(made.astype(np.float32))
    with tf.GradientTape() as tape:
        loss = losses.root_mmd(variable, tf.constant(real, tf.float32), variances)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    gradient, step = np.zeros_like(made), 1e-5
    for index in np.ndindex(*made.shape):
        moved = made.copy()
        moved[index] += step
        gradient[index] = (mmd(moved, real, variances) - expected) / step
    np.testing.assert_allclose(tape.gradient(loss, variable), gradient, atol=1e-4)


def test_root_mmd_of_the_same_images_has_a_gradient():
    same = tf.Variable(tf.ones([3, 2]))
    with tf.GradientTape() as tape:
        loss = losses.root_mmd(same, tf.ones([3, 2]), (1.0,))
    assert np.isfinite(tape.gradient(loss, same)).all()
