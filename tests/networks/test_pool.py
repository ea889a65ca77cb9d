"""A pool of stored networks gives each of them, whole, as a function of the seed."""

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.networks.pools import NetworkPool


def stored(count):
    return [
        [np.full([2, 3], k, np.float32), np.full([4], -k, np.float32)]
        for k in range(count)
    ]


def test_every_network_is_drawn_whole_and_about_as_often():
    pool = NetworkPool(stored(4))
    drawn = []
    for seed in range(400):
        kernel, bias = pool.draw_network(tf.constant([3, seed]))
        (number,) = set(kernel.numpy().ravel())
        assert set(bias.numpy()) == {-number}, "weights of one and the same network"
        drawn.append(int(number))
    counts = np.bincount(drawn, minlength=4)
    # Each count is binomial(400, 1/4), deviation 8.7: six of those around 100.
    assert np.all(np.abs(counts - 100) < 52), counts


def test_a_draw_is_a_function_of_the_seed_alone():
    pool = NetworkPool(stored(50))
    compiled = tf.function(pool.draw_network)
    for seed in range(5):
        once, again = (f(tf.constant([0, seed])) for f in (pool.draw_network, compiled))
        np.testing.assert_array_equal(once[0], again[0])
    assert len(pool) == 50 and pool.shapes == [(2, 3), (4,)]


@pytest.mark.parametrize("networks", [[], [[np.zeros(2)], [np.zeros(3)]]])
def test_no_networks_or_different_ones_are_a_mistake(networks):
    with pytest.raises(ValueError, match="kinds of shapes"):
        NetworkPool(networks)
