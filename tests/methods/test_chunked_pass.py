"""Images that pass in chunks, against the same images as one batch."""

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.config.sections import NetworkConfig
from dam_tf.methods.chunked_pass import ChunkedPass
from dam_tf.networks import stages
from dam_tf.networks.functional import FunctionalNetwork

COUNT, SIZE = 7, 3  # the last chunk repeats its only image
NETWORKS = {
    "convnet": NetworkConfig(width=8, depth=2, norm="batch"),
    # Norms side by side, and what crosses several of them.
    "nasbench201": NetworkConfig("nasbench201", width=8, depth=1, norm="batch"),
    "mlp": NetworkConfig("mlp", width=8, norm="batch"),
    "instance": NetworkConfig(width=8, depth=1),
}


def started(config, **more):
    """A network, weights of which none is 0, and images that are far from 0."""
    network = FunctionalNetwork((8, 8, 3), 4, config, **more)
    weights = [
        weight + 0.1 * tf.random.stateless_normal(weight.shape, [1, number])
        for number, weight in enumerate(network.init(tf.constant([0, 1])))
    ]
    return network, weights, 2 + tf.random.stateless_normal([COUNT, 8, 8, 3], [3, 4])


def in_chunks(network, weights, images):
    """Images and outputs, in order, and how often images were asked for."""
    asked = []

    def images_of(rows):
        asked.append(rows)
        return tf.gather(images, rows)

    outputs_of = ChunkedPass(network, COUNT, SIZE).begin(weights, images_of)
    found = [outputs_of(tf.constant(rows)) for rows in ([0, 1, 2], [3, 4, 5], [6, 6])]
    found = tf.nest.map_structure(lambda *parts: tf.concat(parts, 0)[:COUNT], *found)
    return found, len(asked)


def assert_as_a_batch(found, network, weights, images):
    outputs, _ = network.apply(weights, network.statistics, images, training=True)
    expected = tf.nest.flatten((images, outputs))
    for one, other in zip(tf.nest.flatten(found), expected, strict=True):
        scale = np.abs(other).max()
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("room", [10**9, 0], ids=["all is kept", "nothing is"])
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_those_of_the_whole_batch(name, room, monkeypatch):
    monkeypatch.setattr(stages, "_KEPT_BYTES", room)
    network, weights, images = started(NETWORKS[name])
    staged = network.in_stages(COUNT)
    assert bool(staged.kept) == (room > 0)
    found, asked = in_chunks(network, weights, images)
    assert_as_a_batch(found, network, weights, images)
    # In each of the three chunks; what is kept is not asked for again.
    assert asked == 3 * (1 if room else 1 + len(staged.stages))


@pytest.mark.parametrize("compiled", [True, False])
def test_in_a_graph_it_gives_the_same(compiled, monkeypatch):
    monkeypatch.setattr(stages, "_KEPT_BYTES", 5_000)
    network, weights, images = started(NETWORKS["convnet"], compiled=compiled)
    assert len(network.in_stages(COUNT).kept) == 1  # of two
    run = tf.function(in_chunks, jit_compile=compiled)
    found, _ = run(network, weights, images)
    assert_as_a_batch(found, network, weights, images)


def test_moments_are_exact_where_the_mean_is_large():
    """Sums of squares would lose all digits of the variance."""
    network, weights, images = started(NETWORKS["convnet"])
    weights[1] += 1_000.0  # the first convolution's bias, of which norm leaves nothing
    found, _ = in_chunks(network, weights, images)
    weights[1] -= 1_000.0
    outputs, _ = network.apply(weights, network.statistics, images, training=True)
    np.testing.assert_allclose(found[1].logits, outputs.logits, atol=3e-3)
