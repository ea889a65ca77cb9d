"""SGD on rows and Adam-mini, against their formulas and against those of Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf.methods.optimizers import AdamMini, LazySGD

SHAPE = (4, 3)


def rows(values, places):
    return tf.IndexedSlices(tf.constant(values), tf.constant(places), SHAPE)


def test_an_average_follows_the_rows_that_move(rng):
    start = rng.standard_normal(SHAPE).astype(np.float32)
    variable, optimizer = tf.Variable(start), LazySGD(0.5, 0.0, ema_decay=0.75)
    values, expected = start.copy(), start.copy()
    for places in ([0, 2], [3, 0], [0, 3]):
        gradient = rng.standard_normal((2, 3)).astype(np.float32)
        optimizer.apply([rows(gradient, places)], [variable])
        values[places] -= 0.5 * gradient
        expected[places] = 0.75 * expected[places] + 0.25 * values[places]
    (average,) = optimizer.averages
    np.testing.assert_allclose(average, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(variable, values, rtol=1e-5, atol=1e-6)


def test_it_is_made_again_from_its_configuration():
    made = LazySGD.from_config(LazySGD(0.3, 0.2, ema_decay=0.9).get_config())
    assert (made.momentum, made.ema_decay) == (0.2, 0.9)
    assert float(made.learning_rate) == pytest.approx(0.3)


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_with_every_row_it_is_keras_sgd(rng, momentum, dense):
    start = rng.standard_normal(SHAPE).astype(np.float32)
    ours, theirs = tf.Variable(start), tf.Variable(start)
    lazy, eager = LazySGD(0.3, momentum), keras.optimizers.SGD(0.3, momentum)
    for _ in range(3):
        gradient = rng.standard_normal(SHAPE).astype(np.float32)
        order = rng.permutation(SHAPE[0])
        given = tf.constant(gradient) if dense else rows(gradient[order], order)
        lazy.apply([given], [ours])
        eager.apply([tf.constant(gradient)], [theirs])
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert lazy.iterations == 3


def test_a_row_without_gradient_keeps_value_and_momentum(rng):
    start = rng.standard_normal(SHAPE).astype(np.float32)
    variable, optimizer = tf.Variable(start), LazySGD(1.0, 0.5)
    gradients = rng.standard_normal((2, 2, 3)).astype(np.float32)
    optimizer.apply([rows(gradients[0], [0, 2])], [variable])
    optimizer.apply([rows(gradients[1], [3, 0])], [variable])
    first, second = gradients
    expected = start.copy()
    expected[0] -= first[0] + 0.5 * first[0] + second[1]
    expected[2] -= first[1]
    expected[3] -= second[0]
    np.testing.assert_allclose(variable, expected, rtol=1e-5, atol=1e-6)
    (momentum,) = optimizer.momentums
    np.testing.assert_allclose(momentum[2], -first[1], rtol=1e-6)
    np.testing.assert_array_equal(momentum[1], 0)


@pytest.mark.parametrize("size", [1e-3, 1e3])
def test_adam_mini_is_its_formula_however_large_gradients_are(rng, size):
    start = rng.standard_normal(SHAPE).astype(np.float32)
    variable, optimizer = tf.Variable(start), AdamMini(0.1, 0.8, 0.99)
    mean, square, expected = np.zeros(SHAPE), 0.0, start.astype(np.float64)
    for step in (1, 2, 3):
        gradient = size * rng.standard_normal(SHAPE)
        optimizer.apply([tf.constant(gradient, tf.float32)], [variable])
        mean = 0.8 * mean + 0.2 * gradient
        square = 0.99 * square + 0.01 * np.mean(gradient**2)
        root = np.sqrt(square / (1 - 0.99**step))
        expected -= 0.1 * mean / (1 - 0.8**step) / root
    np.testing.assert_allclose(variable, expected, rtol=1e-3)
    again = AdamMini.from_config(optimizer.get_config())
    assert (again.beta_1, again.beta_2) == (0.8, 0.99)


def test_adam_mini_of_one_number_is_adam(rng):
    ours, theirs = tf.Variable([1.0]), tf.Variable([1.0])
    mini, adam = AdamMini(0.1), keras.optimizers.Adam(0.1)
    for gradient in rng.standard_normal((4, 1)).astype(np.float32):
        mini.apply([tf.constant(gradient)], [ours])
        adam.apply([tf.constant(gradient)], [theirs])
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
