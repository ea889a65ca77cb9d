"""Gradients of gradients: every network, norm, layer for XLA, and augmentation.

Gradient matching moves images by the gradient of |d loss / d weights|^2, and methods
that unroll training need that in the weights, too. The oracle is finite differences of
first-order gradients: in float64 where a layer can do with that, else Keras' layers
that were held against them so.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf import networks
from dam_tf.augmentation import dsa
from dam_tf.config.sections import OPERATIONS, AugmentationConfig, NetworkConfig
from dam_tf.networks.functional import FunctionalNetwork
from dam_tf.networks.second_order import for_second_order
from dam_tf.networks.weights import RandomWeights
from dam_tf.networks.xla_cpu import layers as fast_layers
from tests.conformance.common import CLASSES, label, some_values
from tests.conformance.test_networks import EVERY_NETWORK, shape_of
from tests.networks.test_fast_layers import LAYERS

# How far inputs move for a difference of float64: small enough to meet no kink of ReLU
# or max pooling, at 1e-6 of which ResNet-18 meets some, and with digits to spare.
STEP = 1e-8


@pytest.fixture
def double():
    """Makes Keras build layers of float64."""
    for kind in ("float64", "float32"):
        keras.config.set_floatx(kind)
        keras.config.set_dtype_policy(kind)
        if kind == "float64":
            yield


def squared_gradient(loss_of, inputs):
    """|d loss / d inputs|^2, where `loss_of` takes the inputs."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = loss_of(*inputs)
    found = tape.gradient(loss, inputs)
    return tf.add_n([tf.reduce_sum(tf.square(one)) for one in found])


def second_order(loss_of, inputs):
    """The gradient of `squared_gradient` in all inputs."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        total = squared_gradient(loss_of, inputs)
    return tape.gradient(total, inputs, unconnected_gradients="zero")


def slopes(loss_of, inputs, step):
    """Along one direction: of `second_order`, and of finite differences."""
    directions = [
        tf.random.stateless_normal(one.shape, [5, number], dtype=one.dtype)
        for number, one in enumerate(inputs)
    ]
    found = tf.add_n(
        [
            tf.reduce_sum(gradient * direction)
            for gradient, direction in zip(
                second_order(loss_of, inputs), directions, strict=True
            )
        ]
    )
    ahead, behind = (
        squared_gradient(
            loss_of,
            [x + sign * step * v for x, v in zip(inputs, directions, strict=True)],
        )
        for sign in (1, -1)
    )
    return float(found), float((ahead - behind) / (2 * step))


def loss_of_network(model, statistics):
    """The loss that DC takes of images whose classes are 0, 1, 2, ..."""

    def loss_of(images, *weights):
        logits, _ = model.stateless_call(weights, statistics, images, training=True)
        labels = tf.range(images.shape[0]) % CLASSES
        return tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        )

    return loss_of


def network_and_inputs(name, config):
    network = networks.create(name, shape_of(name), CLASSES, config)
    weights = RandomWeights(network, config.initializer)(tf.constant([1, 2]))
    kind = network.trainable_variables[0].dtype
    images = tf.cast(some_values(3, *shape_of(name)), kind)
    return network, [images, *(tf.cast(weight, kind) for weight in weights)]


@EVERY_NETWORK
def test_of_networks(name, config, double):
    network, inputs = network_and_inputs(name, config)
    model = for_second_order(network)
    assert [v.path for v in model.trainable_variables] == [
        v.path for v in network.trainable_variables
    ]
    statistics = [v.value for v in model.non_trainable_variables]
    found, expected = slopes(loss_of_network(model, statistics), inputs, STEP)
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("norm", ["batch", "layer", "instance", "group"])
def test_norms_are_otherwise_those_of_keras(norm):
    """Values, statistics and first gradients, in training and in inference."""
    config = NetworkConfig(width=8, depth=1, norm=norm, activation="swish")
    network, inputs = network_and_inputs("convnet", config)
    statistics = [v.value + 0.5 for v in network.non_trainable_variables]
    found = []
    for model in (network, for_second_order(network)):
        for training in (True, False):
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                images, *weights = inputs
                values, after = model.stateless_call(
                    weights, statistics, images, training=training
                )
                total = tf.reduce_sum(values**2)
            found.append([values, *after, *tape.gradient(total, inputs)])
    for one, other in zip(found[:2], found[2:], strict=True):
        for ours, theirs in zip(other, one, strict=True):
            scale = max(1, np.abs(theirs).max())
            np.testing.assert_allclose(ours, theirs, atol=1e-5 * scale)


@pytest.mark.parametrize("norm", ["batch", "layer", "instance", "group"])
def test_those_of_keras_norms_are_still_wrong(norm, double):
    """Where this fails, TensorFlow has mended `tf.nn.moments`: remove our norms."""
    config = NetworkConfig(width=8, depth=2, norm=norm, activation="sigmoid")
    network, inputs = network_and_inputs("convnet", config)
    statistics = [v.value for v in network.non_trainable_variables]
    found, expected = slopes(loss_of_network(network, statistics), inputs, STEP)
    assert abs(found - expected) > 1e-3 * abs(expected)


def assert_close(found, expected, tolerance):
    """To a share of the largest value; some are noise, as of a bias before a norm."""
    scales = [np.abs(other).max() for other in expected]
    for one, other, scale in zip(found, expected, scales, strict=True):
        noise = 1e-5 * max(scales)
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * scale + noise)


@pytest.mark.parametrize("size", [8, 7])
@pytest.mark.parametrize("name", LAYERS)
def test_of_layers_for_xla(rng, name, size):
    """float32 has the digits for a thousandth of sums that nearly cancel."""
    images = keras.Input([size, size, 32])
    layer = LAYERS[name].__class__.from_config(LAYERS[name].get_config())
    network = keras.Model(images, layer(images))
    inputs = [
        tf.constant(rng.normal(0, 1, shape), tf.float32)
        for shape in [(2, size, size, 32), *(v.shape for v in network.variables)]
    ]
    found, expected = (
        second_order(
            lambda x, *w, m=model: tf.reduce_sum(tf.sin(m.stateless_call(w, [], x)[0])),
            inputs,
        )
        for model in (
            for_second_order(fast_layers.for_xla_on_cpu(network)),
            for_second_order(network),
        )
    )
    assert_close(found, expected, 1e-3)


# ConvNets of all layers for XLA; ReLU's kinks would magnify the last bits.
FAST = [
    NetworkConfig(width=32, depth=2, activation="swish", norm=norm, pooling=pooling)
    for norm, pooling in (
        ("instance", "avg"),
        ("instance", "max"),
        ("group", "avg"),
        ("none", "avg"),
        ("batch", "avg"),
    )
]


def dc_gradient(network, inputs):
    def loss_of(images, *weights):
        outputs, _ = network.apply(weights, network.statistics, images)
        labels = tf.range(images.shape[0]) % CLASSES
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, outputs.logits)
        return tf.reduce_mean(losses)

    return second_order(loss_of, inputs)


@pytest.mark.parametrize("config", FAST, ids=label)
@pytest.mark.parametrize(
    "compiled", [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_of_networks_for_xla(config, compiled):
    """Of the functional network: made for XLA, and of Keras' layers."""
    shape = (8, 8, 3)
    plain, fast = (
        FunctionalNetwork(shape, CLASSES, config, second_order=True, compiled=made)
        for made in (False, True)
    )
    inputs = [some_values(3, *shape), *plain.init(tf.constant([1, 2]))]
    run = tf.function(dc_gradient, jit_compile=True) if compiled else dc_gradient
    assert_close(run(fast, inputs), dc_gradient(plain, inputs), 2e-3)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_of_augmentation(operation):
    """Through an affine function of images a large step costs few digits."""
    settings = AugmentationConfig(operations=(operation,))
    parameters = dsa.draw(tf.constant([3, 1]), 4, (12, 10), settings)
    images = some_values(4, 12, 10, 3)
    found, expected = slopes(
        lambda x: tf.reduce_sum(tf.sin(dsa.apply(x, parameters))), [images], 1e-2
    )
    assert found == pytest.approx(expected, rel=2e-3)
