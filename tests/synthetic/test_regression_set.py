"""Targets of a regression, and the probabilities that stand for them."""

import numpy as np
import pytest

from dam_tf.synthetic.regression_set import (
    RegressionSet,
    centred_one_hot,
    probabilities,
    target_scale,
)

pytestmark = pytest.mark.usefixtures("eagerly")


def test_targets_of_classes_become_their_one_hot_labels():
    labels = np.array([2, 0, 1, 2])
    targets = centred_one_hot(labels, 5).numpy()
    np.testing.assert_allclose(targets.sum(axis=1), 0, atol=1e-6)
    assert (targets.max(axis=1) == np.float32(0.8)).all()
    np.testing.assert_allclose(probabilities(targets), np.eye(5)[labels], atol=1e-7)


@pytest.mark.parametrize("scale", [0.1, 1, 1e3])
def test_a_linear_regression_answers_the_same_with_probabilities(scale, rng):
    """But for a factor, and for what is the same for all classes."""
    targets = scale * rng.standard_normal((6, 4)) + rng.standard_normal((6, 1))
    found = probabilities(targets).numpy().astype(np.float64)
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    weights = rng.standard_normal((20, 6))
    answers, own = (weights @ values for values in (found, targets))
    answers, own = (a - a.mean(axis=1, keepdims=True) for a in (answers, own))
    factor = (answers * own).sum() / (own * own).sum()
    np.testing.assert_allclose(answers, factor * own, atol=1e-5 * np.abs(answers).max())
    assert factor > 0


@pytest.mark.parametrize("scale", [0.01, 1, 1e3])
def test_targets_come_back_from_probabilities(scale, rng):
    """But for what is the same for all classes."""
    targets = scale * rng.standard_normal((6, 4)) + rng.standard_normal((6, 1))
    back = target_scale(targets) * (probabilities(targets).numpy() - 1 / 4)
    centred = targets - targets.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(back, centred, atol=1e-6 * max(1, scale))


def test_the_set_that_is_exported_has_both_kinds_of_labels(rng):
    images = rng.standard_normal((2, 2, 4, 4, 1)).astype(np.float32)
    targets = np.array([[2.0, -1], [0.1, 0.2], [-1, 0.5], [0.3, 0]], np.float32)
    synthetic = RegressionSet(images, targets)

    class Identity:
        def inverse(self, images):
            return images

    distilled = synthetic.export(Identity(), ("cat", "dog"))
    assert distilled.labels.tolist() == [0, 1, 1, 0]
    np.testing.assert_allclose(distilled.soft_labels, probabilities(targets))
    averages = {"labels": -targets}
    distilled = synthetic.export(Identity(), ("cat", "dog"), averages=averages)
    np.testing.assert_allclose(distilled.soft_labels, probabilities(-targets))
