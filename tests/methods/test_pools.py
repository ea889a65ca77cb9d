"""Matching through stored networks in place of random ones."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf import networks
from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.data.sampling import ClassBatch
from dam_tf.networks.pools import NetworkPool
from dam_tf.networks.weights import RandomWeights
from dam_tf.runs.distiller import create_distiller
from dam_tf.runs.run import distill
from tests.tiny_data import make_data, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")


def gradient_of(pool, iteration):
    """Gradient and losses of an iteration, always on the same random images."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, 1, 8, 8, 3)).astype("float32")
    pixels = tf.constant(rng.integers(0, 256, (2, 4, 8, 8, 3)).astype(np.uint8))
    config = tiny_config(distillation__ipc=1, augmentation__operations=())
    distiller = create_distiller(images, config, keras.layers.Identity(), pool)
    batches = iter([ClassBatch(tf.constant([0, 1]), pixels)])
    gradients, losses = distiller.method.gradients(
        distiller.synthetic, batches, tf.constant(iteration, tf.int64)
    )
    return tf.convert_to_tensor(gradients["images"]), losses


def random_weights(iteration, channels=3, classes=2, **settings):
    """The weights of the random network of an iteration of a run with seed 0."""
    config = tiny_config(**settings)
    network = networks.create("convnet", (8, 8, channels), classes, config.network)
    draw = RandomWeights(network, config.network.initializer)
    return [w.numpy() for w in draw(tensor_seed(0, Purpose.NETWORK, iteration))]


@pytest.mark.parametrize("iteration", [0, 1])
def test_a_pool_of_one_network_is_what_every_iteration_matches_through(iteration):
    """One whose kernels are zero gives no gradient, whatever the iteration."""
    dead = NetworkPool([[np.zeros_like(w) for w in random_weights(0)]])
    gradient, losses = gradient_of(dead, iteration)
    assert not np.any(gradient) and losses["mmd"] == 0


def test_the_weights_of_the_pool_are_those_of_the_loss():
    """A pool of the random network of an iteration repeats that iteration."""
    expected, _ = gradient_of(None, 3)
    found, _ = gradient_of(NetworkPool([random_weights(3)]), 3)
    np.testing.assert_array_equal(found, expected)
    assert np.any(expected)


def test_a_run_through_a_pool_ends_otherwise(tmp_path):
    small = {"network__width": 4, "network__depth": 1}
    config = tiny_config(**small, distillation__iterations=2)
    pool = NetworkPool([random_weights(9, channels=1, classes=3, **small)])
    through = distill(config, tmp_path / "pool", networks=pool, data=make_data())
    random = distill(config, tmp_path / "random", data=make_data())
    assert np.any(through.images != random.images)
