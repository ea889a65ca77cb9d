"""The distributions that random networks are drawn from."""

import math

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from dam_tf import networks
from dam_tf.base.errors import UserError
from dam_tf.config.sections import NetworkConfig
from dam_tf.networks.weights import RandomWeights

IMAGE_SHAPE = (16, 16, 3)
# Values that enter one output, by layer: 3*3 places of 3 or 24 channels, and the
# 2*2*24 of the embedding.
FAN_IN = {"conv_1": 27, "conv_2": 216, "conv_3": 216, "logits": 96}


def network_of(norm="instance"):
    config = NetworkConfig(width=24, depth=3, norm=norm)
    return networks.create("convnet", IMAGE_SHAPE, 50, config)


def weights_by_name(network, initializer, seed=(1, 2)):
    drawn = RandomWeights(network, initializer)(tf.constant(seed))
    variables = network.trainable_variables
    assert [w.shape for w in drawn] == [v.shape for v in variables]
    return {v.path: w.numpy() for v, w in zip(variables, drawn, strict=True)}


@pytest.mark.parametrize("layer", FAN_IN)
@pytest.mark.parametrize("kind", ["kernel", "bias"])
def test_uniform_is_bounded_by_fan_in(layer, kind):
    network, bound = network_of(), 1 / math.sqrt(FAN_IN[layer])
    # Biases are few: enough values for the test come from several networks.
    values = np.concatenate(
        [
            weights_by_name(network, "uniform", (3, draw))[f"{layer}/{kind}"].ravel()
            for draw in range(1 if kind == "kernel" else 20)
        ]
    )
    assert np.abs(values).max() <= bound
    assert np.abs(values).max() > 0.98 * bound
    law = scipy.stats.uniform(-bound, 2 * bound)
    assert scipy.stats.kstest(values, law.cdf).pvalue > 1e-3


@pytest.mark.parametrize("layer", FAN_IN)
def test_he_normal(layer):
    weights = weights_by_name(network_of(), "he_normal")
    law = scipy.stats.norm(0, math.sqrt(2 / FAN_IN[layer]))
    kernel = weights[f"{layer}/kernel"].ravel()
    assert scipy.stats.kstest(kernel, law.cdf).pvalue > 1e-3
    assert not weights[f"{layer}/bias"].any()


# Values that enter one output of each kind of layer, for images of 16x16x3.
@pytest.mark.parametrize(
    ("name", "layer", "fan_in"),
    [
        ("alexnet", "conv_2", 5 * 5 * 32),
        ("resnet18", "stage_2_block_1_shortcut_conv", 16),
        ("lenet", "dense_1", 4),
        ("mlp", "dense_1", 16 * 16 * 3),
        ("vit", "patches", 2 * 2 * 3),
        ("vit", "block_1_attention/query", 32),
        # 4 heads of 8.
        ("vit", "block_2_attention/attention_output", 32),
        ("vit", "block_1_dense_1", 32),
        ("vit", "block_1_dense_2", 4 * 32),
        ("vit", "logits", 32),
    ],
)
@pytest.mark.parametrize("initializer", ["uniform", "he_normal"])
def test_fan_in_of_other_architectures(name, layer, fan_in, initializer):
    config = NetworkConfig(width=32, depth=2)
    network = networks.create(name, IMAGE_SHAPE, 50, config)
    weights = weights_by_name(network, initializer)
    kernel, bound = weights[f"{layer}/kernel"].ravel(), 1 / math.sqrt(fan_in)
    law = scipy.stats.uniform(-bound, 2 * bound)
    if initializer == "he_normal":
        law = scipy.stats.norm(0, math.sqrt(2 / fan_in))
    assert scipy.stats.kstest(kernel, law.cdf).pvalue > 1e-3
    if f"{layer}/bias" in weights:
        largest = np.abs(weights[f"{layer}/bias"]).max()
        assert 0 < largest <= bound if initializer == "uniform" else largest == 0


@pytest.mark.parametrize("name", networks.ARCHITECTURES)
def test_every_architecture_can_be_drawn(name):
    network = networks.create(name, (32, 32, 3), 2, NetworkConfig(width=8))
    weights = weights_by_name(network, "uniform")
    for path, values in weights.items():
        if path.endswith("gamma"):
            assert (values == 1).all()
        elif path.endswith("beta"):
            assert (values == 0).all()
        else:
            assert path.endswith(("kernel", "bias"))
            assert np.unique(values).size > 0.99 * values.size


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.Conv2DTranspose(2, 3),
        keras.layers.DepthwiseConv2D(3),
        keras.layers.PReLU(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_that_cannot_be_drawn(layer):
    network = keras.Sequential([keras.Input((8, 8, 3)), layer])
    with pytest.raises(UserError, match=r"not defined for '.*/(kernel|alpha)', only"):
        RandomWeights(network)
    layer.trainable = False
    assert RandomWeights(network)(tf.constant([0, 1])) == []


@pytest.mark.parametrize("initializer", ["uniform", "he_normal"])
@pytest.mark.parametrize("norm", ["batch", "layer", "instance", "group"])
def test_norms_start_as_the_identity(norm, initializer):
    weights = weights_by_name(network_of(norm), initializer)
    for block in (1, 2, 3):
        assert (weights[f"norm_{block}/gamma"] == 1).all()
        assert (weights[f"norm_{block}/beta"] == 0).all()


@pytest.mark.parametrize("initializer", ["uniform", "he_normal"])
def test_follows_the_seed(initializer):
    network = network_of()
    first, again = (weights_by_name(network, initializer, (4, 5)) for _ in range(2))
    for path in first:
        np.testing.assert_array_equal(first[path], again[path])
    for seed in ((4, 6), (5, 5)):
        other = weights_by_name(network, initializer, seed)
        for layer in FAN_IN:
            one, two = (w[f"{layer}/kernel"].ravel() for w in (first, other))
            # Neither alike nor shuffled: what they share, they share by chance.
            assert np.intersect1d(one, two).size < 0.01 * one.size
            assert abs(np.corrcoef(one, two)[0, 1]) < 0.2


def test_layers_of_one_shape_differ():
    weights = weights_by_name(network_of(), "uniform")
    assert (weights["conv_2/kernel"] != weights["conv_3/kernel"]).mean() > 0.99


def test_leaves_the_variables_alone():
    network = network_of()
    before = [variable.numpy() for variable in network.variables]
    RandomWeights(network)(tf.constant([1, 2]))
    for variable, value in zip(network.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_another_network_each_step_without_retracing(jit_compile):
    network = networks.create("convnet", (8, 8, 1), 3, NetworkConfig(width=4, depth=2))
    draw = RandomWeights(network)
    images = tf.random.stateless_normal([2, 8, 8, 1], [0, 0])

    @tf.function
    def step(seed):
        return logits(draw(seed))

    @tf.function(jit_compile=jit_compile)
    def logits(weights):
        return network.stateless_call(weights, [], images, training=True)[0]

    outputs = [step(tf.constant([8, number])).numpy() for number in range(5)]
    assert step.experimental_get_tracing_count() == 1
    assert logits.experimental_get_tracing_count() == 1
    assert len({output.tobytes() for output in outputs}) == 5
    for variable, value in zip(
        network.trainable_variables, draw(tf.constant([8, 3])), strict=True
    ):
        variable.assign(value)
    np.testing.assert_allclose(outputs[3], network(images, training=True), atol=1e-5)


def test_unknown_initializer_names_the_nearest():
    with pytest.raises(UserError, match=r"'he_norml' \(did you mean 'he_normal'\?\)"):
        RandomWeights(network_of(), "he_norml")
