"""Kernels of infinitely wide networks, run in any way, whole and in parts."""

import pytest
import tensorflow as tf

from dam_tf.config.kernels import KIPSettings
from dam_tf.methods import infinite_network
from dam_tf.methods.infinite_network import InfiniteNetwork
from tests.conformance.common import assert_same, some_values

IMAGES, OTHERS, SHAPE = 3, 5, (4, 4, 2)


def values_and_gradients(settings, jit):
    network = InfiniteNetwork(settings, jit)

    def run(images, others):
        with tf.GradientTape() as tape:
            tape.watch(images)
            kernels = network.within(images), network.between(others, images)
            total = tf.add_n([tf.reduce_sum(tf.sin(k)) for k in kernels])
        return *kernels, tape.gradient(total, images)

    arguments = some_values(IMAGES, *SHAPE), some_values(OTHERS, *SHAPE, seed=1)
    return tf.function(run)(*arguments) if jit else run(*arguments)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["fc", "conv"])
def test_compiled_in_parts_as_eager_and_whole(network, monkeypatch):
    """Two rows at a time, and one at the end; float64 but for the images."""
    settings = KIPSettings(kernel_network=network)
    tf.config.run_functions_eagerly(True)
    expected = values_and_gradients(settings, jit=False)
    tf.config.run_functions_eagerly(False)
    at_once = 2 * IMAGES * (16 if network == "conv" else 1)
    monkeypatch.setattr(infinite_network, "_AT_ONCE", at_once)
    assert_same(values_and_gradients(settings, jit=True), expected, tolerance=1e-6)
