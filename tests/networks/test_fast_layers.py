"""Layers for XLA on a CPU, against TensorFlow's and Keras' own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf import networks
from dam_tf.config.sections import NetworkConfig
from dam_tf.networks.weights import RandomWeights
from dam_tf.networks.xla_cpu import layers as fast_layers
from dam_tf.networks.xla_cpu import operations as fast_operations
from dam_tf.networks.xla_cpu import winograd


def with_gradients(function, *inputs):
    """Returns `function(*inputs)` and the gradients of its values, unequally summed."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        values = function(*inputs)
        weights = np.random.default_rng(1).normal(size=values.shape)
        total = tf.reduce_sum(values * tf.constant(weights, tf.float32))
    return [values, *tape.gradient(total, inputs)]


def assert_close(found, expected, tolerance):
    for one, other in zip(found, expected, strict=True):
        scale = np.abs(other).max()
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("shape", [(2, 16, 8, 3, 5), (3, 4, 4, 6, 2)])
def test_winograd_is_the_convolution(rng, shape, compiled):
    count, height, width, channels, filters = shape
    images = rng.normal(size=(count, height, width, channels)).astype(np.float32)
    kernel = rng.normal(size=(3, 3, channels, filters)).astype(np.float32)
    inputs = tf.constant(images), tf.constant(kernel)

    def run(function):
        return tf.function(
            lambda *given: with_gradients(function, *given), jit_compile=compiled
        )(*inputs)

    expected = with_gradients(lambda x, k: tf.nn.conv2d(x, k, 1, "SAME"), *inputs)
    assert_close(run(winograd.winograd_convolution), expected, 3e-5)


@pytest.mark.parametrize("shape", [(2, 8, 8, 64), (1, 6, 12, 20), (2, 1, 1, 3)])
def test_sums(rng, shape):
    values = tf.constant(rng.normal(size=shape), tf.float32)
    for function, axes in (
        (fast_operations.sum_of_channels, -1),
        (fast_operations.sum_of_positions, (1, 2)),
    ):
        expected = with_gradients(lambda v, a=axes: tf.reduce_sum(v, a), values)
        assert_close(with_gradients(function, values), expected, 1e-5)


LAYERS = {
    "pooling": keras.layers.AveragePooling2D(2),
    "pooling, padded": keras.layers.AveragePooling2D(3, strides=2, padding="same"),
    "norm": keras.layers.GroupNormalization(-1, epsilon=1e-5),
    "norm, groups": keras.layers.GroupNormalization(4),
    "norm, bare": keras.layers.GroupNormalization(-1, scale=False, center=False),
    "convolution": keras.layers.Conv2D(32, 3, padding="same"),
    "convolution, strided": keras.layers.Conv2D(32, 3, strides=2, padding="same"),
    "convolution, valid": keras.layers.Conv2D(32, 3),
    "convolution, few": keras.layers.Conv2D(4, 3, padding="same"),
    "convolution, no bias": keras.layers.Conv2D(40, 3, padding="same", use_bias=False),
}


BATCH_NORMS = {
    "usual": {"epsilon": 1e-5, "momentum": 0.9},
    "bare": {"scale": False, "center": False},
    "frozen": {"trainable": False},
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(8, 6, 5), (3, 7, 4), (5,)])
@pytest.mark.parametrize("name", BATCH_NORMS)
def test_batch_norm_in_its_place_gives_and_keeps_the_same(rng, name, shape, training):
    images = keras.Input(shape)
    layer = keras.layers.BatchNormalization(**BATCH_NORMS[name])
    network = keras.Model(images, layer(images))
    fast = fast_layers.for_xla_on_cpu(network)
    assert type(fast.layers[-1]) is fast_layers.BatchNormalization
    weights = [rng.uniform(1, 2, v.shape).astype(np.float32) for v in network.weights]
    values = tf.constant(rng.normal(1, 2, size=(3, *shape)), tf.float32)
    found, expected = (
        [*with_gradients(lambda v, n=n: n(v, training=training), values), *n.weights]
        for n in (fast, network)
        if n.set_weights(weights) is None
    )
    moved = training and name != "frozen"
    assert np.allclose(expected[-1], weights[-1]) != moved
    assert_close(found, expected, 1e-5)


@pytest.mark.parametrize("size", [8, 7])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_in_its_place_gives_the_same(rng, name, size):
    images = keras.Input([size, size, 32])
    layer = LAYERS[name].__class__.from_config(LAYERS[name].get_config())
    network = keras.Model(images, layer(images))
    fast = fast_layers.for_xla_on_cpu(network)
    weights = [rng.normal(size=v.shape).astype(np.float32) for v in network.variables]
    network.set_weights(weights)
    fast.set_weights(weights)
    values = tf.constant(rng.normal(1, 2, size=(3, size, size, 32)), tf.float32)
    assert_close(with_gradients(fast, values), with_gradients(network, values), 5e-5)


@pytest.mark.parametrize(
    "shape", [(8, 8, 3, 40), (7, 9, 1, 32), (16, 8, 32, 32), (7, 7, 33, 32)]
)
def test_the_gradient_of_a_layer_s_weights(rng, shape):
    height, width, channels, filters = shape
    images = keras.Input([height, width, channels])
    x = keras.layers.Conv2D(filters, 3, padding="same")(images)
    network = keras.Model(images, keras.layers.GroupNormalization(-1)(x))
    fast = fast_layers.for_xla_on_cpu(network)
    weights = [rng.normal(1, 1, v.shape).astype(np.float32) for v in network.weights]
    values = tf.constant(rng.normal(size=(3, height, width, channels)), tf.float32)

    def gradients(network, values, compiled):
        def run(*weights):
            return network.stateless_call(weights, [], values)[0]

        function = tf.function(lambda *w: with_gradients(run, *w), jit_compile=compiled)
        return function(*map(tf.constant, weights))

    found, expected = gradients(fast, values, True), gradients(network, values, False)
    # Instance norm takes the bias away, so that only noise is left of its gradient.
    assert np.abs(found.pop(2)).max() < 1e-2
    del expected[2]
    assert_close(found, expected, 1e-4)


NORMALIZED = {
    "norm": {},
    "bare": {"scale": False, "center": False},
    "epsilon": {"epsilon": 0.3},
}


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("name", NORMALIZED)
def test_a_first_convolution_and_its_norm_in_one(rng, name, use_bias):
    """Also for maps that are far from 0, whose variance must not drown in it."""
    images = keras.Input([8, 6, 3])
    x = keras.layers.Conv2D(32, 3, padding="same", use_bias=use_bias)(images)
    x = keras.layers.GroupNormalization(-1, **NORMALIZED[name])(x)
    network = keras.Model(images, x)
    fast = fast_layers.for_xla_on_cpu(network)
    assert type(fast.layers[-1]) is fast_layers.NormalizedConv2D
    again = fast_layers.in_precision(fast, "float32")
    weights = [rng.normal(size=v.shape).astype(np.float32) for v in network.weights]
    for one in (network, fast, again):
        one.set_weights(weights)
    values = tf.constant(rng.normal(5, 1, size=(3, 8, 6, 3)), tf.float32)
    expected = with_gradients(network, values)
    assert_close(with_gradients(fast, values), expected, 1e-4)
    assert_close(with_gradients(again, values), expected, 1e-4)


@pytest.mark.parametrize("other", ["output", "second user", "activation", "group"])
def test_a_convolution_that_others_see_stays(rng, other):
    images = keras.Input([8, 8, 3])
    activation = "relu" if other == "activation" else None
    first = keras.layers.Conv2D(32, 3, padding="same", activation=activation)(images)
    groups = 4 if other == "group" else -1
    norm = keras.layers.GroupNormalization(groups)(first)
    outputs = [norm, first] if other == "output" else norm
    if other == "second user":
        outputs = keras.layers.Add()([norm, first])
    network = keras.Model(images, outputs)
    fast = fast_layers.for_xla_on_cpu(network)
    weights = [rng.normal(size=v.shape).astype(np.float32) for v in network.weights]
    network.set_weights(weights)
    fast.set_weights(weights)
    values = tf.constant(rng.normal(size=(2, 8, 8, 3)), tf.float32)
    found, expected = (tf.nest.flatten(one(values)) for one in (fast, network))
    assert_close(found, expected, 1e-5)


def test_a_bias_is_added_with_its_gradient(rng):
    images = keras.Input([8, 8, 3])
    layer = keras.layers.Conv2D(5, 3, padding="same", activation="swish")
    network = keras.Model(images, layer(images))
    fast = fast_layers.for_xla_on_cpu(network)
    weights = [rng.normal(size=v.shape).astype(np.float32) for v in network.weights]
    values = tf.constant(rng.normal(size=(3, 8, 8, 3)), tf.float32)
    found, expected = (
        with_gradients(
            lambda *w, n=n: n.stateless_call(w, [], values)[0],
            *map(tf.constant, weights),
        )
        for n in (fast, network)
    )
    assert_close(found, expected, 1e-5)


NETWORKS = {
    "wide": (NetworkConfig(), True),
    "narrow": (NetworkConfig(width=16), False),
    "batch norm": (NetworkConfig(norm="batch"), True),
    "group norm": (NetworkConfig(norm="group"), False),
    "no norm": (NetworkConfig(norm="none"), True),
    "max pooling": (NetworkConfig(pooling="max"), False),
    "wide pooling": (NetworkConfig(pooling_size=3), False),
    "resnet18": (NetworkConfig(name="resnet18"), False),
    "mlp": (NetworkConfig(name="mlp"), False),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_which_networks_train_faster_by_xla(name):
    config, expected = NETWORKS[name]
    network = networks.create(config.name, (32, 32, 3), 10, config)
    assert fast_layers.trains_faster_by_xla(network) == expected


def test_a_network_keeps_its_weights_and_features(rng):
    network = networks.create(
        "convnet", (16, 16, 3), 10, NetworkConfig(width=32, depth=2)
    )
    fast = fast_layers.for_xla_on_cpu(network)
    kinds = {type(layer) for layer in fast.layers}
    assert kinds >= {
        fast_layers.NormalizedConv2D,
        fast_layers.WinogradConv2D,
        fast_layers.InstanceNormalization,
        fast_layers.PairPooling,
    }
    extractors = [networks.registry.feature_extractor(one) for one in (network, fast)]
    theta = RandomWeights(extractors[0])(tf.constant([3, 1]))
    again = RandomWeights(extractors[1])(tf.constant([3, 1]))
    assert_close(again, theta, 0)
    images = tf.constant(rng.normal(size=(2, 16, 16, 3)), tf.float32)

    def features(extractor, jit_compile):
        @tf.function(jit_compile=jit_compile)
        def run(images):
            found, _ = extractor.stateless_call(theta, [], images, training=True)
            return with_gradients(
                lambda x: extractor.stateless_call(theta, [], x)[0]["embedding"], images
            ) + list(found["taps"])

        return run(images)

    assert_close(features(extractors[1], True), features(extractors[0], False), 5e-5)
