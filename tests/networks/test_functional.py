"""The functional network, against Keras' own model with the same weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf import networks
from dam_tf.base.errors import UserError
from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.config.sections import NetworkConfig
from dam_tf.networks.functional import FunctionalNetwork
from dam_tf.networks.registry import feature_extractor
from dam_tf.networks.weights import RandomWeights
from dam_tf.networks.xla_cpu.layers import for_xla_on_cpu

SHAPE = (8, 8, 3)
SEED = (3, 5)


def some_images(count=4, shape=SHAPE):
    return tf.random.stateless_normal([count, *shape], [1, 2])


def drawn(network):
    return network.init(tf.constant(SEED))


def keras_model(config, weights, statistics):
    """Keras' own network, with values written into its variables."""
    network = networks.create(config.name, SHAPE, 5, config)
    for variable, value in zip(network.trainable_variables, weights, strict=True):
        variable.assign(value)
    variables = network.non_trainable_variables
    for variable, value in zip(variables, statistics, strict=True):
        variable.assign(value)
    return network


@pytest.mark.parametrize("name", networks.ARCHITECTURES)
def test_the_classifier_changes_no_weight_below_it(name):
    """What matching drew before there were logits, it draws still; fast layers, too."""
    config, shape = NetworkConfig(name=name, width=16), (32, 32, 3)
    network = networks.create(name, shape, 5, config)
    weights = RandomWeights(network)(tf.constant(SEED))
    for one in (network, for_xla_on_cpu(network)):
        below = RandomWeights(
            keras.Model(one.inputs[0], one.get_layer("embedding").output)
        )(tf.constant(SEED))
        assert len(below) == len(weights) - 2
        for ours, theirs in zip(below, weights[:-2], strict=True):
            np.testing.assert_array_equal(ours, theirs)
    functional = FunctionalNetwork(shape, 5, config)
    assert functional.weight_names == tuple(v.path for v in network.trainable_variables)
    assert functional.weight_names[-2:] == ("logits/kernel", "logits/bias")
    for ours, theirs in zip(drawn(functional), weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_stream_of_weights_is_as_recorded():
    """Another stream would give other runs; recorded by commit f15378d."""
    network = FunctionalNetwork((8, 8, 1), 3, NetworkConfig(width=4, depth=1))
    kernel, bias, gamma, beta, logits, _ = network.init(
        tensor_seed(0, Purpose.NETWORK, 7)
    )
    for found, expected in (
        (tf.reshape(kernel, [-1])[:3], [-0.31759715, -0.24403048, -0.09850352]),
        (bias, [-0.27660579, 0.20239887, 0.00583506, 0.22201172]),
        (logits[0], [0.12028247, 0.0694198, 0.0457329]),
    ):
        np.testing.assert_allclose(found, expected, atol=1e-7)
    assert (gamma.numpy() == 1).all() and (beta.numpy() == 0).all()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("norm", "compiled"), [("batch", False), ("instance", False), ("instance", True)]
)
def test_outputs_are_those_of_keras(norm, compiled, training):
    """`compiled` changes the layers, so it can be tested without a compiler."""
    config = NetworkConfig(width=32, depth=2, norm=norm)
    network = FunctionalNetwork(SHAPE, 5, config, compiled=compiled)
    weights, images = drawn(network), some_images()
    statistics = [value + 0.1 for value in network.statistics]
    assert len(statistics) == len(network.statistic_names) == 4 * (norm == "batch")
    outputs, after = network.apply(weights, statistics, images, training)
    model = keras_model(config, weights, statistics)
    taps = feature_extractor(model)
    expected = taps(images, training=training)
    model = keras_model(config, weights, statistics)  # whose statistics have not moved
    logits = model(images, training=training)
    assert len(outputs.taps) == network.blocks == 2
    for ours, theirs in zip(
        [*outputs.taps, outputs.embedding, outputs.logits],
        [*expected["taps"], expected["embedding"], logits],
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(after, model.non_trainable_variables, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert norm != "batch" or (after[0] != statistics[0]).numpy().any() == training


@pytest.mark.parametrize("compiled", [True, False])
def test_gradients_of_all_weights_are_those_of_keras(compiled):
    config = NetworkConfig(width=32, depth=2, activation="swish")
    network = FunctionalNetwork(SHAPE, 5, config, compiled=compiled)
    weights, images, labels = drawn(network), some_images(), np.arange(4)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        outputs, _ = network.apply(weights, network.statistics, images)
        loss = loss_of(labels, outputs.logits)
    model = keras_model(config, weights, [])
    with tf.GradientTape() as other:
        expected = loss_of(labels, model(images))
    variables = [variable.value for variable in model.trainable_variables]
    for ours, theirs in zip(
        tape.gradient(loss, weights), other.gradient(expected, variables), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


def test_nothing_of_it_is_tracked_and_its_variables_never_move():
    class Holder(tf.Module):
        def __init__(self):
            super().__init__()
            config = NetworkConfig(width=4, depth=1, norm="batch")
            self.network = FunctionalNetwork(SHAPE, 5, config)

    holder = Holder()
    network, images = holder.network, some_images()
    assert holder.variables == ()
    first, _ = network.apply(drawn(network), network.statistics, images)
    other = [weight + 1 for weight in drawn(network)]
    network.apply(other, [value + 1 for value in network.statistics], images)
    again, _ = network.apply(drawn(network), network.statistics, images)
    np.testing.assert_array_equal(first.logits, again.logits)


def test_bfloat16_gives_nearly_the_same_in_float32():
    config = NetworkConfig(width=8, depth=2)
    exact, rough = (
        FunctionalNetwork(SHAPE, 5, config, precision=precision)
        for precision in ("float32", "bfloat16")
    )
    weights, images = drawn(exact), some_images()
    expected, found = (
        tf.nest.flatten(network.apply(weights, [], images)[0])
        for network in (exact, rough)
    )
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == tf.float32
        np.testing.assert_allclose(ours, theirs, rtol=0.1, atol=0.1)
        assert np.any(ours != theirs), "maps are of another type"


def test_a_shipped_model_is_made_of_keras_own_layers():
    config = NetworkConfig(width=32, depth=2, norm="batch")
    network = FunctionalNetwork(SHAPE, 5, config, compiled=True)
    weights = drawn(network)
    statistics = [value + 0.5 for value in network.statistics]
    model = network.to_keras(weights, statistics)
    assert {type(layer).__module__.split(".")[0] for layer in model.layers} == {"keras"}
    images = some_images()
    outputs, _ = network.apply(weights, statistics, images, training=False)
    np.testing.assert_allclose(
        model(images, training=False), outputs.logits, rtol=1e-4, atol=1e-4
    )


def test_what_does_not_fit_is_refused():
    with pytest.raises(UserError, match="vgg11 is too deep for images of 8x8"):
        FunctionalNetwork(SHAPE, 5, NetworkConfig(name="vgg11"))
