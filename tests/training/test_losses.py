"""Losses of soft and hard labels against formulas in NumPy, in float64."""

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.training.losses import image_losses

RNG = np.random.default_rng(0)
LOGITS = RNG.standard_normal([5, 4])
CHANCES = RNG.dirichlet(np.ones(4), 5)
CHANCES[1] = [0, 0.5, 0.5, 0]
HARD = np.array([0, 3, 1, 1, 2])


def formula(kind, p):
    q = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    if kind == "mse":
        return ((LOGITS - (p - 0.25)) ** 2).sum(axis=1) / 2
    entropy = np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0).sum(axis=1)
    return -(p * np.log(q)).sum(axis=1) + (entropy if kind == "kl" else 0)


@pytest.mark.parametrize("kind", ["cross_entropy", "kl", "mse"])
def test_losses_of_soft_and_of_hard_labels(kind):
    logits = tf.constant(LOGITS, tf.float32)
    soft = image_losses(kind, tf.constant(CHANCES, tf.float32), logits)
    np.testing.assert_allclose(soft, formula(kind, CHANCES), rtol=1e-5)
    hard = image_losses(kind, tf.constant(HARD, tf.int32), logits)
    np.testing.assert_allclose(hard, formula(kind, np.eye(4)[HARD]), rtol=1e-5)


def test_the_gradient_of_kl_is_that_of_cross_entropy():
    logits, found = tf.constant(LOGITS, tf.float32), []
    for kind in ("cross_entropy", "kl"):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = image_losses(kind, tf.constant(CHANCES, tf.float32), logits)
        found.append(tape.gradient(loss, logits))
    np.testing.assert_allclose(*found, atol=1e-6)
