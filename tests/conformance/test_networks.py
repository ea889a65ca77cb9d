"""Every network: eager, as a graph, by XLA, on two replicas, saved and loaded."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf import networks
from dam_tf.config.settings import NetworkConfig
from dam_tf.networks.weights import INITIALIZERS, RandomWeights
from tests.conformance.common import (
    CLASSES,
    assert_same,
    assert_same_however_run,
    choices,
    label,
    on_two_replicas,
    one_changed_at_a_time,
    some_values,
    with_gradient,
)

SHAPE = (16, 16, 3)
EVERY_OPERATION = (
    "|nor_conv_3x3~0|+|avg_pool_3x3~0|skip_connect~1|"
    "+|nor_conv_1x1~0|none~1|nor_conv_3x3~2|"
)
# Every choice of the network that distils; of the others, and of a new one, little
# more than its own, as they share layers with it and are slow to compile.
NETWORKS = {
    "convnet": [
        *one_changed_at_a_time(
            NetworkConfig, ("norm", "activation", "pooling"), width=4, depth=1
        ),
        NetworkConfig(width=4, depth=2),
        NetworkConfig(width=4, depth=2, pooling_size=3),
    ],
    "lenet": [NetworkConfig(width=64), NetworkConfig(width=64, norm="batch")],
    "mlp": [NetworkConfig(width=8, norm=norm) for norm in (None, "batch", "layer")],
    "vit": [NetworkConfig(width=6, depth=2)],
    "nasbench201": [NetworkConfig(width=16, depth=1, cell=EVERY_OPERATION)],
    "resnet18_ap": [
        NetworkConfig(width=8),
        NetworkConfig(width=8, norm="batch", pooling="max"),
    ],
}
# Those that take seconds to trace, and more to compile.
DEAR = ("frepo", "nasbench201", "resnet18", "resnet18_ap", "vgg11", "vit")
# Of architectures that cannot do with 16x16.
SHAPES = {"vgg11": (32, 32, 3)}


def settings_of(name):
    return NETWORKS.get(name, [NetworkConfig(width=8)])


def case(name, *values):
    """A case of `name` and more, which is slow for some architectures."""
    marks = [pytest.mark.slow] if name in DEAR else []
    return pytest.param(name, *values, marks=marks)


EVERY_NETWORK = pytest.mark.parametrize(
    ("name", "config"),
    [case(name, c) for name in networks.ARCHITECTURES for c in settings_of(name)],
    ids=label,
)


def shape_of(name):
    return SHAPES.get(name, SHAPE)


def features_of(name, config):
    """Returns features and logits of images and weights, and what draws those."""
    network = networks.create(name, shape_of(name), CLASSES, config)
    model = networks.registry.feature_extractor(network)
    draw = RandomWeights(model, config.initializer)
    fixed = model.non_trainable_variables

    def features(images, weights):
        return model.stateless_call(weights, fixed, images, training=True)[0]

    return features, draw


@EVERY_NETWORK
def test_same_however_run(name, config):
    features, draw = features_of(name, config)
    weights = draw(tf.constant([1, 2]))

    def run(images):
        return with_gradient(lambda x: features(x, weights), images)

    assert_same_however_run(run, some_values(3, *shape_of(name)))


@pytest.mark.parametrize(
    ("name", "initializer"),
    [
        pytest.param(name, i, marks=[pytest.mark.slow] * (name in DEAR and k > 0))
        for name in networks.ARCHITECTURES
        for k, i in enumerate(INITIALIZERS)
    ],
)
def test_weights_are_the_same_however_run(name, initializer, strategy):
    config = NetworkConfig(width=8, depth=2, initializer=initializer)
    _, draw = features_of(name, config)
    seed = tf.constant([5, 6])
    expected = draw(seed)
    assert_same(tf.function(draw)(seed), expected, tolerance=0)
    for found in on_two_replicas(strategy, draw, [(seed,), (seed,)]):
        assert_same(found, expected, tolerance=0)


@pytest.mark.parametrize(
    ("name", "norm"),
    [case("convnet", n) for n in choices(NetworkConfig, "norm") if n != "batch"]
    + [
        case(name, "instance" if name == "nasbench201" else None)
        for name in networks.ARCHITECTURES
        if name != "convnet"
    ],
)
def test_one_replica_equals_two(name, norm, strategy):
    """Images are independent of each other, except under batch norm."""
    config = NetworkConfig(width=8, depth=2, norm=norm)
    features, draw = features_of(name, config)
    images = some_values(6, *shape_of(name))
    weights = draw(tf.constant([1, 2]))

    def run(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = features(images, weights)
            total = tf.add_n([tf.reduce_sum(o**2) for o in tf.nest.flatten(outputs)])
        return outputs, tape.gradient(total, images)

    halves = on_two_replicas(strategy, run, [(images[:4],), (images[4:],)])
    joined = tf.nest.map_structure(lambda *v: np.concatenate(v), *halves)
    assert_same(joined, run(images))


# Keras' own variables, as it writes them with NumPy 2.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("name", [case(name) for name in networks.ARCHITECTURES])
def test_saved_is_loaded(name, tmp_path):
    config = settings_of(name)[0]
    network = networks.create(name, shape_of(name), CLASSES, config)
    weights = RandomWeights(network)(tf.constant([3, 4]))
    for variable, value in zip(network.trainable_variables, weights, strict=True):
        variable.assign(value)
    images = some_values(3, *shape_of(name))
    expected = network(images)
    network.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_same(loaded(images), expected, tolerance=1e-6)
    assert_same(
        networks.registry.feature_extractor(loaded)(images),
        networks.registry.feature_extractor(network)(images),
        tolerance=1e-6,
    )
    network.export(tmp_path / "exported", verbose=False)
    exported = tf.saved_model.load(tmp_path / "exported")
    assert_same(exported.serve(images), expected, tolerance=1e-5)
