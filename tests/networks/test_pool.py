"""A pool of stored networks gives each of them, whole, as a function of the seed."""

import numpy as np
import pytest
import tensorflow as tf

from dam_tf import networks
from dam_tf.base.errors import UserError
from dam_tf.config.settings import NetworkConfig
from dam_tf.networks.pools import (
    NetworkPool,
    StoredNetwork,
    read_network,
    save_network,
)


def stored(count):
    return [
        [np.full([2, 3], k, np.float32), np.full([4], -k, np.float32)]
        for k in range(count)
    ]


def saved(folder, found):
    """Writes networks to files, and returns their paths."""
    paths = [folder / f"{number}.npz" for number in range(len(found))]
    for path, (kernel, bias) in zip(paths, found, strict=True):
        weights = {"logits/kernel": kernel, "logits/bias": bias}
        save_network(path, StoredNetwork(weights, {"norm/moving_mean": bias}))
    return paths


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


def test_a_draw_is_as_recorded():
    """Which of ten networks is drawn; recorded by commit f15378d."""
    pool = NetworkPool(stored(10))
    found = [int(pool.draw_network(tf.constant([7, n]))[0][0, 0]) for n in range(12)]
    assert found == [3, 9, 7, 0, 8, 0, 9, 7, 9, 1, 7, 5]


def test_a_draw_is_a_function_of_the_seed_alone():
    pool = NetworkPool(stored(50))
    compiled = tf.function(pool.draw_network)
    for seed in range(5):
        once, again = (f(tf.constant([0, seed])) for f in (pool.draw_network, compiled))
        np.testing.assert_array_equal(once[0], again[0])
    assert len(pool) == 50 and pool.shapes == [(2, 3), (4,)]


def test_networks_stay_in_their_files_until_they_are_drawn(tmp_path):
    """In a loop that TensorFlow runs, on both devices; nothing of it is a constant."""
    arrays = NetworkPool(stored(3))
    paths = saved(tmp_path, stored(3))
    pool = NetworkPool(paths)
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    strategy = tf.distribute.MirroredStrategy(devices)

    @tf.function
    def drawn():
        def on_each():
            sums = tf.TensorArray(tf.float32, 20)
            for number in tf.range(20):
                kernel, _ = pool.draw_network(tf.stack([0, number]))
                sums = sums.write(number, kernel[0, 0])
            return sums.stack()

        return strategy.experimental_local_results(strategy.run(on_each))

    expected = [
        arrays.draw_network(tf.constant([0, n]))[0][0, 0].numpy() for n in range(20)
    ]
    assert set(expected) == {0, 1, 2}
    for found in drawn():
        np.testing.assert_array_equal(found, expected)
    for path in paths:  # the draws of the same graph are now of other networks
        path.write_bytes(paths[1].read_bytes())
    assert {float(x) for found in drawn() for x in found} == {1.0}


def test_a_fingerprint_tells_the_weights(tmp_path):
    pool = NetworkPool(stored(3))
    assert NetworkPool(saved(tmp_path, stored(3))).fingerprint == pool.fingerprint
    other = stored(3)
    other[1][0][0, 0] += 1e-6
    turned = [[kernel.T, bias] for kernel, bias in stored(3)]
    prints = {NetworkPool(one).fingerprint for one in (other, turned, stored(2))}
    assert len({pool.fingerprint} | prints) == 4


@pytest.mark.parametrize("networks", [[], [[np.zeros(2)], [np.zeros(3)]]])
def test_no_networks_or_different_ones_are_a_mistake(networks):
    with pytest.raises(ValueError, match="kinds of shapes"):
        NetworkPool(networks)


def test_a_file_gives_back_the_whole_network(tmp_path):
    weights = {"conv_1/kernel": np.ones([3, 3, 1, 2], np.float32)}
    statistics = {"norm_1/moving_mean": np.arange(2, dtype=np.float32)}
    path = tmp_path / "network.npz"
    save_network(path, StoredNetwork(weights, statistics))
    found = read_network(path)
    for ours, theirs in ((found.weights, weights), (found.statistics, statistics)):
        assert list(ours) == list(theirs)
        for name in theirs:
            np.testing.assert_array_equal(ours[name], theirs[name])


def test_another_version_is_refused(tmp_path):
    path, none = tmp_path / "network.npz", np.array([], np.str_)
    np.savez(path, version=np.int64(2), weights=none, statistics=none)
    with pytest.raises(UserError, match=r"network.npz is a network of version 2"):
        read_network(path)


def test_a_pool_of_another_network_is_refused():
    config = NetworkConfig(width=4, depth=1)
    network = networks.create("convnet", (8, 8, 1), 3, config)
    weights = [np.zeros(v.shape, np.float32) for v in network.trainable_variables]
    NetworkPool([weights]).check(network)
    # Without the classifier: what pools were before version 1.
    with pytest.raises(UserError, match=r"have 4 weights .* convnet has 6"):
        NetworkPool([weights[:-2]]).check(network)
