"""Batches that the compiled step draws: of the right classes, without replacement."""

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.data.sampling_in_graph import DrawnBatches, rows_of_classes

COUNTS = (3, 8, 20, 6)  # images of each class
BATCH = 6


@pytest.fixture(scope="module")
def real():
    """Images that say which they are."""
    numbers = np.arange(sum(COUNTS), dtype=np.uint8)
    return tf.constant(np.broadcast_to(numbers[:, None, None, None], [37, 2, 2, 1]))


def numbers_of(batch):
    return batch.images[:, :, 0, 0, 0].numpy()


def seed_of(number):
    return tf.constant([number, 5])


@pytest.mark.parametrize("compiled", [False, True])
def test_rows_are_of_their_class(compiled):
    draw = tf.function(rows_of_classes, jit_compile=compiled)
    rows = draw(COUNTS, tf.constant([3, 0, 2, 1]), BATCH, seed_of(1)).numpy()
    offsets = np.cumsum((0, *COUNTS))
    for k, own in zip((3, 0, 2, 1), rows, strict=True):
        assert ((own >= offsets[k]) & (own < offsets[k + 1])).all()
        assert len(set(own)) == BATCH or COUNTS[k] < BATCH


def test_every_image_is_as_likely_as_any_other():
    """Each of 20 is among 6 with probability 0.3, and each of 3 six times over."""
    many = 2000

    @tf.function
    def draw():
        classes = tf.constant([2, 0])
        return tf.map_fn(
            lambda k: rows_of_classes(COUNTS, classes, BATCH, [k, 0]), tf.range(many)
        )

    draws = draw().numpy()
    found = np.bincount(draws[:, 0].ravel() - 11, minlength=20) / many
    np.testing.assert_allclose(found, 0.3, atol=5 * np.sqrt(0.3 * 0.7 / many))
    found = np.bincount(draws[:, 1].ravel(), minlength=3) / (6 * many)
    np.testing.assert_allclose(found, 1 / 3, atol=5 * np.sqrt(2 / 9 / (6 * many)))


def test_groups_make_an_iteration(real):
    batches = DrawnBatches(real, COUNTS, BATCH, seed_of(2), 4, 2)
    assert [batches[group].classes.numpy().tolist() for group in (0, 1)] == [
        [0, 1],
        [2, 3],
    ]
    assert numbers_of(batches[1]).shape == (2, BATCH)
    assert not np.array_equal(numbers_of(batches[0]) % 3, numbers_of(batches[1]) % 3)


def test_another_seed_draws_others(real):
    one, same, other = (
        numbers_of(DrawnBatches(real, COUNTS, BATCH, seed_of(k), 4, 4)[0])
        for k in (2, 2, 3)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_classes_are_drawn_evenly(real):
    drawn = np.stack(
        [
            DrawnBatches(real, COUNTS, 1, seed_of(k), 3, 3)[0].classes.numpy()
            for k in range(200)
        ]
    )
    assert (np.diff(drawn, axis=1) > 0).all()  # ascending, so all different
    found = np.bincount(drawn.ravel(), minlength=4) / len(drawn)
    np.testing.assert_allclose(found, 0.75, atol=5 * np.sqrt(0.75 * 0.25 / 200))
