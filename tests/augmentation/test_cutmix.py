"""CutMix: what of a batch comes from which image, and labels by the areas."""

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.augmentation.cutmix import cutmix
from dam_tf.training.trainer import Trainer
from tests.tiny_data import tiny_config

# Of every pixel one can tell image and place.
NUMBERS = np.arange(6 * 8 * 10, dtype=np.float32).reshape(6, 8, 10, 1)
TARGETS = np.eye(6, dtype=np.float32)
_run = tf.function(cutmix)


def mixed(number, share=1.0):
    found = _run(NUMBERS, TARGETS, tf.constant([3, number]), tf.constant(share))
    return tuple(map(np.asarray, found))


def mean_area(height, width):
    """Of all rectangles, in whole pixels, less what lies outside of the image."""
    found = []
    for side in np.sqrt(np.linspace(0, 1, 500)):
        lengths = []
        for length in (height, width):
            half, middle = np.floor(side * length / 2), np.arange(length)
            ends = np.minimum(middle + half, length) - np.maximum(middle - half, 0)
            lengths.append(ends.mean() / length)
        found.append(np.prod(lengths))
    return np.mean(found)


def test_rectangles_and_labels_go_together():
    areas, places = [], np.zeros([8, 10])
    for number in range(150):
        images, targets = mixed(number)
        owner, place = np.divmod(images[..., 0], 80)
        np.testing.assert_array_equal(place, np.arange(80).reshape(8, 10) + 0 * place)
        moved = owner != np.arange(6)[:, None, None]
        inside = moved.any(axis=0)
        for k in range(6):
            others = set(owner[k][inside]) if inside.any() else {k}
            assert len(others) == 1
            share = inside.mean()
            expected = (1 - share) * np.eye(6)[k]
            expected[int(others.pop())] += share
            np.testing.assert_allclose(targets[k], expected, atol=1e-6)
        rows, columns = np.where(inside)
        if len(rows):
            box = np.ptp(rows) + 1, np.ptp(columns) + 1
            assert inside.sum() == box[0] * box[1], "a rectangle"
        areas.append(inside.mean())
        places += inside
    assert np.mean(areas) == pytest.approx(mean_area(8, 10), abs=0.05)
    assert max(areas) > 0.5 and min(areas) < 0.05
    assert places.min() > 5, "every place is cut now and then"


def test_as_many_batches_as_are_wanted():
    for number in range(5):
        images, targets = mixed(number, 0.0)
        np.testing.assert_array_equal(images, NUMBERS)
        np.testing.assert_array_equal(targets, TARGETS)
    count = sum((mixed(number, 0.5)[1] != TARGETS).any() for number in range(60))
    assert 15 < count < 40


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("soft", [False, True])
def test_evaluation_networks_are_trained_with_it(soft, monkeypatch):
    seen = []

    def watched(images, targets, seed, share):
        seen.append((targets.shape, share))
        return cutmix(images, targets, seed, share)

    monkeypatch.setattr("dam_tf.training.trainer.cutmix", watched)
    labels = (
        np.eye(3, dtype=np.float32)[[0, 1, 2, 0]] if soft else np.array([0, 1, 2, 0])
    )
    config = tiny_config(evaluation__cutmix=0.5, network__depth=1)
    trainer = Trainer(np.zeros([4, 8, 8, 1], np.float32), labels, 3, config)
    trainer.train_epoch(trainer.initial_state(0), 0, 0)
    assert seen == [((4, 3), 0.5)]
