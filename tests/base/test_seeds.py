"""Which classes an iteration draws."""

import itertools

import numpy as np

from dam_tf.base.seeds import drawn_classes


def test_drawn_classes_differ_by_iteration_and_seed_and_all_have_their_turn():
    draws = [drawn_classes(1, iteration, 5, 2) for iteration in range(200)]
    assert all(a < b for a, b in draws)
    counts = np.bincount(np.concatenate(draws), minlength=5)
    assert np.abs(counts - 80).max() < 30, "within four deviations of 200 * 2 / 5"
    assert set(map(tuple, draws)) == set(itertools.combinations(range(5), 2))
    again = [drawn_classes(1, iteration, 5, 2) for iteration in (3, 150)]
    np.testing.assert_array_equal(again, [draws[3], draws[150]])
    others = [drawn_classes(2, iteration, 5, 2) for iteration in range(200)]
    assert np.any(np.array(others) != draws)


def test_all_are_drawn_in_order():
    np.testing.assert_array_equal(drawn_classes(3, 9, 4, 4), range(4))
