"""Steps of SGD, against the same steps in NumPy and Keras, and compiled by XLA."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf import networks
from dam_tf.config.sections import EvaluationConfig
from dam_tf.networks.xla_cpu import layers as fast_layers
from dam_tf.training import descent
from dam_tf.training.descent import Descent, learning_rate
from tests.tiny_data import tiny_config

SHAPE = (8, 8, 1)


def started(made, seed=1):
    """A state at which velocities are not 0, and nothing else is either."""
    weights = made.network.init(tf.constant([seed, 2]))
    velocities = [0.1 * tf.random.stateless_normal(w.shape, [3, 4]) for w in weights]
    return weights, velocities, made.network.statistics


def some_batch(rng, count=7):
    images = rng.standard_normal((count, *SHAPE)).astype(np.float32)
    probabilities = rng.dirichlet(np.ones(3), count).astype(np.float32)
    return tf.constant(images), probabilities


def assert_states_agree(found, expected, **tolerance):
    flat = [tf.nest.flatten(state) for state in (found, expected)]
    for one, other in zip(*flat, strict=True):
        np.testing.assert_allclose(one, other, **tolerance)


@pytest.mark.parametrize("soft", [False, True])
def test_a_step_is_pytorch_sgd_with_l2(rng, soft):
    """velocity = 0.9 velocity + gradient + decay w; w -= rate velocity."""
    config = tiny_config(evaluation__weight_decay=0.1)
    made = Descent(SHAPE, 3, config, images=7)
    assert not made.compiled
    state = started(made)
    images, targets = some_batch(rng)
    loss_of = keras.losses.CategoricalCrossentropy(from_logits=True)
    labels = targets.argmax(axis=1)
    if not soft:
        targets = labels.astype(np.int32)
        loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    rate = tf.constant(0.05)
    (weights, velocities, _), right = made.step(
        state, images, tf.constant(targets), rate
    )
    network = made.network.to_keras(state[0], [])
    with tf.GradientTape() as tape:
        logits = network(images)
        loss = loss_of(targets, logits)
    gradients = tape.gradient(loss, [v.value for v in network.trainable_variables])
    np.testing.assert_array_equal(right, np.argmax(logits, axis=1) == labels)
    for w, v, g, weight, velocity in zip(
        *state[:2], gradients, weights, velocities, strict=True
    ):
        expected = 0.9 * v + g + 0.1 * w
        np.testing.assert_allclose(velocity, expected, rtol=1e-3, atol=1e-5)
        expected = w - 0.05 * expected
        np.testing.assert_allclose(weight, expected, rtol=1e-3, atol=1e-5)


def test_certain_probabilities_are_labels(rng):
    made = Descent(SHAPE, 3, tiny_config(), images=7)
    state, (images, targets) = started(made), some_batch(rng)
    labels = targets.argmax(axis=1).astype(np.int32)
    certain = np.eye(3, dtype=np.float32)[labels]
    (one, flags), (other, again) = (
        made.step(state, images, tf.constant(kind), tf.constant(0.01))
        for kind in (labels, certain)
    )
    np.testing.assert_array_equal(flags, again)
    assert_states_agree(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("compiled", [False, True])
def test_of_batch_norm_it_trains_as_keras_does(rng, monkeypatch, compiled):
    """Several steps by Keras' `train_on_batch`, then its answers by moving averages.

    Compiled, all images of a batch pass at once, whatever a cache holds.
    """
    settings = {"network__norm": "batch", "network__activation": "swish"}
    config = tiny_config(**settings, network__depth=1, evaluation__weight_decay=0.0)
    monkeypatch.setattr(fast_layers, "_LEAST_CHANNELS", 1)
    if compiled:
        monkeypatch.setattr(descent, "_PIXELS_WORTH_COMPILING", 0)
        monkeypatch.setattr(descent, "_PIXELS_AT_ONCE", 2 * 8 * 8)
    made = Descent(SHAPE, 3, config, images=7)
    assert made.compiled == compiled
    weights = made.network.init(tf.constant([1, 2]))
    state = weights, [tf.zeros_like(w) for w in weights], made.network.statistics
    model = made.network.to_keras(weights, made.network.statistics)
    model.compile(
        keras.optimizers.SGD(0.05, momentum=config.evaluation.momentum),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    for _ in range(4):
        images, targets = some_batch(rng)
        labels = targets.argmax(axis=1).astype(np.int32)
        state, _ = made.step(state, images, tf.constant(labels), tf.constant(0.05))
        model.train_on_batch(images, labels)
    expected = model.trainable_variables, [], model.non_trainable_variables
    assert_states_agree((state[0], [], state[2]), expected, rtol=1e-3, atol=1e-4)
    assert not np.allclose(state[2][1], 1, atol=0.1)
    images, _ = some_batch(rng)
    answers = made.answer(state, images).logits
    np.testing.assert_allclose(answers, model(images), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("at_once", [20, 4])
def test_compiled_by_xla_it_steps_and_answers_the_same(rng, monkeypatch, at_once):
    """A smooth activation: ReLU's kinks would magnify the last bits.

    Seven images pass at once, or in two parts, of which the second is not whole.
    """
    config = tiny_config(network__activation="swish", network__depth=1)
    monkeypatch.setattr(fast_layers, "_LEAST_CHANNELS", 1)
    plain = Descent(SHAPE, 3, config, images=7)
    monkeypatch.setattr(descent, "_PIXELS_WORTH_COMPILING", 0)
    monkeypatch.setattr(descent, "_PIXELS_AT_ONCE", at_once * 8 * 8)
    compiled = Descent(SHAPE, 3, config, images=7)
    assert compiled.compiled and not plain.compiled
    state, (images, targets) = started(plain), some_batch(rng)
    steps = [
        made.step(state, images, tf.constant(targets), tf.constant(0.01))
        for made in (plain, compiled)
    ]
    assert_states_agree(steps[1][0], steps[0][0], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(steps[0][1], steps[1][1])
    if at_once == 20:
        answers = [made.answer(state, images) for made in (plain, compiled)]
        assert_states_agree(answers[1], answers[0], rtol=1e-4, atol=1e-5)


def test_the_statistics_of_batch_norm_move_in_training_alone(rng):
    config = tiny_config(network__norm="batch", network__depth=1)
    made = Descent(SHAPE, 3, config, images=7)
    state, (images, targets) = started(made), some_batch(rng)
    (_, _, statistics), _ = made.step(
        state, images, tf.constant(targets), tf.constant(0.01)
    )
    network = networks.create("convnet", SHAPE, 3, config.network)
    for variable, weight in zip(network.trainable_variables, state[0], strict=True):
        variable.assign(weight)
    untrained = made.answer(state, images).logits
    np.testing.assert_allclose(untrained, network(images), rtol=1e-4, atol=1e-5)
    network(images, training=True)
    for one, variable in zip(statistics, network.non_trainable_variables, strict=True):
        np.testing.assert_allclose(one, variable, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("step", {0: 1, 20: 1, 21: 0.1, 39: 0.1}),
        ("paper", {0: 1, 14: 1, 15: 0.5, 29: 0.5, 30: 0.25, 39: 0.25}),
        ("constant", {0: 1, 39: 1}),
    ],
)
def test_schedules(schedule, expected):
    settings = EvaluationConfig(learning_rate=1.0, schedule=schedule, epochs=40)
    found = {epoch: float(learning_rate(settings, epoch)) for epoch in expected}
    assert found == pytest.approx(expected)
