"""One class of methods that train a network, run eagerly, as a graph and compiled."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf.augmentation import dsa
from dam_tf.runs.distiller import create_distiller
from tests.conformance.common import CLASSES, assert_same, some_values
from tests.tiny_data import tiny_config

SHAPE = (8, 8, 1)


def method_of(name, jit, **overrides):
    images = np.zeros([CLASSES, 2, *SHAPE], np.float32)
    config = tiny_config(
        method__name=name,
        distillation__jit=jit,
        network__depth=1,
        network__width=32,  # of layers for XLA
        network__activation="swish",
        **overrides,
    )
    return create_distiller(images, config, keras.layers.Identity()).method


@pytest.mark.parametrize(
    ("name", "distance"),
    [
        ("dc", "rows"),
        pytest.param("dc", "cosine", marks=pytest.mark.slow),
        pytest.param("dc", "mse", marks=pytest.mark.slow),
        pytest.param("dsa", "rows", marks=pytest.mark.slow),
    ],
)
def test_matching_is_the_same_however_run(name, distance):
    found = []
    for jit in ("none", "xla"):
        method = method_of(name, jit, method__distance=distance)
        theta = method.network.init(tf.constant([1, 2]))
        parameters = dsa.draw([3, 4], 1, SHAPE[:2], method._augmentation)
        real = tf.cast(255 * tf.random.stateless_uniform([5, *SHAPE], [1, 1]), tf.uint8)
        arguments = (real, some_values(2, *SHAPE), 1, parameters, theta, [])
        if jit == "none":
            found.append(method._matched(*arguments))
        found.append(method._match(*arguments))
    eager, graph, compiled = found
    assert_same(graph, eager)
    assert_same(compiled, eager, 1e-3)


@pytest.mark.slow
def test_alignment_is_the_same_however_run():
    found = []
    for jit in ("none", "xla"):
        method = method_of("cafe_dsa", jit)
        theta = method.network.init(tf.constant([1, 2]))
        parameters = dsa.draw([3, 4], 1, SHAPE[:2], method._augmentation)
        real = tf.cast(255 * tf.random.stateless_uniform([5, *SHAPE], [1, 1]), tf.uint8)
        stored, network = some_values(2, *SHAPE), (theta, [])

        def align(method, real=real, stored=stored, row=parameters, network=network):
            centre = method._centre(stored, row, *network)
            centres = tf.stack([centre * k for k in range(CLASSES)])
            place = tf.constant(1)
            aligned = method._align(real, stored, place, row, centres, *network)
            pulled = method._pull(stored, row, centre, *network)
            return aligned, pulled, method._count_right(real, place, *network)

        if jit == "none":
            tf.config.run_functions_eagerly(True)
            found.append(align(method))
            tf.config.run_functions_eagerly(False)
        found.append(align(method))
    for other in found[1:]:
        assert_same(other, found[0], 1e-3)


def test_training_is_the_same_however_run():
    found = []
    for jit in ("none", "xla"):
        method = method_of("dsa", jit)
        theta = method.network.init(tf.constant([1, 2]))
        parameters = dsa.draw([3, 4], 6, SHAPE[:2], method._augmentation)
        labels = tf.one_hot(tf.range(6) % CLASSES, CLASSES)
        arguments = (theta, [], some_values(6, *SHAPE), labels, parameters)
        if jit == "none":
            found.append(method._train_step(*arguments))
        found.append(method._step(*arguments))
    for other in found[1:]:
        assert_same(other, found[0])
