"""SpatialAttention against NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.methods.attention import SpatialAttention

POWERS = [0.5, 1, 2, 3.5, 4]
NORMALIZATIONS = ["l1", "l2", "none"]


def some_features(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def expected_attention(features, power, normalization):
    maps = (np.abs(features.astype(np.float64)) ** power).sum(axis=-1)
    maps = maps.reshape(len(maps), -1)
    if normalization == "none":
        return maps
    order = {"l1": 1, "l2": 2}[normalization]
    return maps / np.linalg.norm(maps, order, axis=1, keepdims=True)


@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_equals_numpy(power, normalization):
    features = some_features(4, 6, 5, 7)
    attention = SpatialAttention(power, normalization)(features)
    expected = expected_attention(features, power, normalization)
    assert attention.shape == (4, 30)
    np.testing.assert_allclose(attention, expected, rtol=1e-5)


@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_gradient_equals_finite_differences(power, normalization):
    # Away from zero, where |f| has a kink.
    features = np.abs(some_features(1, 2, 3, 2)) + 0.5
    features *= np.where(np.arange(12).reshape(1, 2, 3, 2) % 2, -1, 1)
    direction = some_features(1, 6)
    layer = SpatialAttention(power, normalization)
    x = tf.constant(features)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = tf.reduce_sum(layer(x) * direction)
    gradient = tape.gradient(value, x).numpy().ravel()

    def value_at(flat):
        maps = expected_attention(flat.reshape(features.shape), power, normalization)
        return (maps * direction).sum()

    steps = np.eye(12) * 1e-4
    start = features.astype(np.float64).ravel()
    expected = [(value_at(start + s) - value_at(start - s)) / 2e-4 for s in steps]
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("power", [0, *POWERS])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("zeros", ["all", "some"])
def test_zero_features_stay_finite(power, normalization, zeros):
    """As behind a ReLU, and of an image on which every unit is dead."""
    features = np.zeros([2, 3, 3, 4], np.float32)
    if zeros == "some":
        features = np.maximum(some_features(2, 3, 3, 4), 0)
    x = tf.constant(features)
    with tf.GradientTape() as tape:
        tape.watch(x)
        attention = SpatialAttention(power, normalization)(x)
        total = tf.reduce_sum(attention * some_features(2, 9))
    assert np.isfinite(attention).all()
    if normalization == "none":
        expected = expected_attention(features, power, normalization)
        np.testing.assert_allclose(attention, expected, rtol=1e-5)
    assert np.isfinite(tape.gradient(total, x)).all()


@pytest.mark.parametrize("power", [1, 4])
def test_norms_do_not_overflow_or_vanish(power):
    """Normalisation takes the size of the features away, over its useful range."""
    features = some_features(2, 4, 4, 3)
    expected = expected_attention(features, power, "l2")
    for scale in (1e-2, 1e3):
        attention = SpatialAttention(power)(features * np.float32(scale))
        np.testing.assert_allclose(attention, expected, rtol=1e-4)


def test_attention_of_an_image_is_its_own():
    features = some_features(3, 4, 4, 2)
    layer = SpatialAttention()
    alone = np.concatenate([layer(features[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(layer(features), alone, rtol=1e-6)


def test_defaults_are_the_paper():
    layer = SpatialAttention()
    assert (layer.power, layer.normalization) == (4.0, "l2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"normalization": "l3"}, "unknown normalization 'l3'.*l1, l2, none"),
        ({"normalization": "nome"}, "did you mean 'none'"),
        ({"power": -1.0}, "power must be at least 0, not -1"),
        ({"power": float("nan")}, "power must be at least 0, not nan"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(UserError, match=message):
        SpatialAttention(**arguments)


def test_config_round_trip():
    layer = SpatialAttention(power=2.5, normalization="l1", name="where")
    again = SpatialAttention.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert (again.power, again.normalization, again.name) == (2.5, "l1", "where")


# Keras' own variables, as it writes them with NumPy 2.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_in_a_saved_model(tmp_path, normalization):
    inputs = keras.Input([6, 6, 3])
    x = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    attention = SpatialAttention(3, normalization)(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(attention))
    images = some_features(2, 6, 6, 3)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(images), model(images), atol=1e-6)
