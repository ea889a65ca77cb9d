"""Methods that differentiate through training: eagerly, in a graph, and by XLA."""

import numpy as np
import pytest
import tensorflow as tf

from tests.conformance.common import assert_same
from tests.methods.followed import built, some_images


def of_an_iteration(monkeypatch, name, jit, wrap):
    """Losses and gradients of an iteration of two steps, of two parts each."""
    monkeypatch.setattr("dam_tf.methods.unrolled._PIXELS", 4 * 64)
    images = some_images(side=8).astype(np.float32)
    settings = {"linear": False, "augmented": True, "steps": 2, "labels": "expert"}
    method, synthetic = built(monkeypatch, name, images, jit=jit, **settings)
    network = method._step.network
    start, target = (
        tf.concat([tf.reshape(one, [-1]) for one in network.init([seed, 1])], 0)
        for seed in (1, 2)
    )
    target = start + 0.1 * (target - start)

    def iterate(states, iteration):
        return method.gradients(synthetic, iter([states]), iteration)

    states = tf.stack([start, target])
    found = wrap(iterate)(states, tf.constant(3, tf.int64))
    return tf.nest.map_structure(np.asarray, (*found, synthetic.labels()))


@pytest.mark.parametrize("name", ["mtt", pytest.param("tesla", marks=pytest.mark.slow)])
@pytest.mark.parametrize("jit", ["none", pytest.param("xla", marks=pytest.mark.slow)])
def test_same_however_run(monkeypatch, name, jit):
    found = of_an_iteration(monkeypatch, name, jit, tf.function)
    tf.config.run_functions_eagerly(True)
    try:
        expected = of_an_iteration(monkeypatch, name, "none", lambda f: f)
    finally:
        tf.config.run_functions_eagerly(False)
    assert_same(found, expected)
