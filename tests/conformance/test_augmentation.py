"""Operations of the augmentation: eager, as a graph, by XLA and on two replicas."""

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.augmentation import dsa
from dam_tf.config.sections import OPERATIONS, AugmentationConfig
from tests.conformance.common import (
    assert_same,
    on_two_replicas,
    some_values,
    with_gradient,
)

SIZE = (12, 10)
# Together, alone, and with flip left out as for digits.
EVERY_AUGMENTATION = pytest.mark.parametrize(
    "operations",
    [OPERATIONS, tuple(o for o in OPERATIONS if o != "flip"), ()]
    + [(operation,) for operation in OPERATIONS],
    ids=lambda operations: "+".join(operations) or "none",
)


def augment_with_gradient(images, parameters):
    return with_gradient(lambda x: dsa.apply(x, parameters), images)


# Traced and compiled once for all operations: which one it is, is data.
augment_in_a_graph = tf.function(augment_with_gradient)
augment_compiled = tf.function(augment_with_gradient, jit_compile=True)


def draw(seed, operations=OPERATIONS, shared_operation=False):
    config = AugmentationConfig(operations=operations)
    return dsa.draw(seed, 6, SIZE, config, shared_operation)


@EVERY_AUGMENTATION
def test_same_however_run(operations):
    parameters = draw([3, 1], operations)
    images = some_values(6, *SIZE, 3)
    eager = augment_with_gradient(images, parameters)
    assert_same(augment_in_a_graph(images, parameters), eager)
    assert_same(augment_compiled(images, parameters), eager)


@EVERY_AUGMENTATION
@pytest.mark.parametrize("shared_operation", [False, True])
def test_draws_are_the_same_in_a_graph(operations, shared_operation):
    seed = tf.constant([5, 5])
    expected = draw(seed, operations, shared_operation)
    graph = tf.function(draw)(seed, operations, shared_operation)
    # To the last bits of sine and cosine.
    assert_same(graph, expected, tolerance=1e-6)


def test_draws_compile():
    """XLA has floats of its own (tensorflow issue 117644), in the same ranges."""
    compiled = tf.function(draw, jit_compile=True)
    parameters = compiled(tf.constant([5, 5]))
    structure = dsa.identity(6)
    tf.nest.assert_same_structure(parameters, structure)
    for found, like in zip(parameters, structure, strict=True):
        assert found.shape == like.shape and found.dtype == like.dtype
    assert (np.abs(parameters.warp[:, :, :2]) <= 1.2).all()
    assert (np.abs(parameters.brightness) <= 0.5).all()
    assert (np.abs(parameters.saturation - 1) <= 1).all()
    assert (np.abs(parameters.contrast - 1) <= 0.5).all()


def test_one_replica_equals_two(strategy):
    """All draw for every class, and each takes the rows of its own."""
    images, seed = some_values(6, *SIZE, 3), tf.constant([3, 1])

    def run(images, rows):
        return dsa.apply(images, dsa.take(draw(seed), rows))

    rows = tf.range(6)
    parts = [(images[:4], rows[:4]), (images[4:], rows[4:])]
    joined = tf.concat(on_two_replicas(strategy, run, parts), axis=0)
    assert_same(joined, run(images, rows), tolerance=1e-6)
