"""Networks trained on the real set, kept at moments along the way."""

import dataclasses
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf import networks
from dam_tf.base.errors import UserError
from dam_tf.base.seeds import Purpose
from dam_tf.config.pretraining import Pretraining
from dam_tf.config.settings import replace
from dam_tf.networks.pools import read_network
from dam_tf.training import pretraining as module
from dam_tf.training.pretraining import (
    Pretrained,
    in_bucket,
    load_pool,
    moments,
    pretrain,
)
from dam_tf.training.trainer import Trainer
from tests.tiny_data import make_data, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")

SETTINGS = Pretraining(networks=2, epochs=3, checkpoints=4, test_images=12)


def config_of(**overrides):
    own = {"evaluation__batch_size": 8, "evaluation__augmentation": "none"}
    return tiny_config(**{**own, "network__depth": 2, **overrides})


def pretrained(folder, settings=SETTINGS, config=None):
    data = make_data()
    identity = keras.layers.Identity()
    return pretrain(data, identity, config or config_of(), settings, folder)


def test_checkpoints_are_the_states_of_ordinary_training(tmp_path):
    """36 images are 4 batches of 8; whole epochs are those of `train`, less the rest.

    With a batch of 9 nothing is left over, so the last state is that of `train`.
    """
    config = replace(config_of(), evaluation__batch_size=9, network__norm="batch")
    found = pretrained(tmp_path, config=config)
    assert [one.updates for one in found] == [1, 2, 5, 12] * 2
    data = make_data()
    config = replace(config, evaluation__epochs=3)
    train = data.train
    trainer = Trainer(
        train.images, train.labels, 3, config, purpose=Purpose.POOL_NETWORK
    )
    number = tf.constant(1)
    (state,) = trainer.train(
        [trainer.initial_state(number)], [number], tf.constant(0), tf.constant(3)
    )
    stored, (weights, _, statistics) = read_network(found[-1].path), state
    network = networks.create("convnet", (8, 8, 1), 3, config.network)
    for ours, theirs, variables in (
        (stored.weights, weights, network.trainable_variables),
        (stored.statistics, statistics, network.non_trainable_variables),
    ):
        assert list(ours) == [variable.path for variable in variables]
        for one, other in zip(ours.values(), theirs, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    assert "logits/kernel" in stored.weights and len(stored.statistics) == 4
    rows = np.linspace(0, 14, 12).round().astype(int)
    answers = trainer.predict(state, data.test.images[rows]).argmax(axis=1)
    assert found[-1].accuracy == np.mean(answers == data.test.labels[rows])


def test_a_killed_training_ends_as_one_that_was_not(tmp_path, monkeypatch):
    whole = pretrained(tmp_path / "whole")
    saved, written = module.save_network, []

    def dies(path, network):
        written.append(path)
        if len(written) == 7:
            raise KeyboardInterrupt
        saved(path, network)

    monkeypatch.setattr(module, "save_network", dies)
    with pytest.raises(KeyboardInterrupt):
        pretrained(tmp_path / "killed")
    monkeypatch.undo()
    first = next((tmp_path / "killed").glob("network-0000/*"))
    before = first.stat().st_mtime_ns
    resumed = pretrained(tmp_path / "killed")
    assert first.stat().st_mtime_ns == before, "a finished network stays"
    assert [(o.updates, o.accuracy) for o in resumed] == [
        (o.updates, o.accuracy) for o in whole
    ]
    for ours, theirs in zip(resumed, whole, strict=True):
        one, other = read_network(ours.path), read_network(theirs.path)
        for name, weight in other.weights.items():
            np.testing.assert_array_equal(one.weights[name], weight)


def test_other_networks_in_the_folder_are_refused(tmp_path):
    pretrained(tmp_path, dataclasses.replace(SETTINGS, networks=1, epochs=1))
    with pytest.raises(UserError, match="epochs = 3"):
        pretrained(tmp_path)


def test_the_pool_fits_what_is_matched_and_damage_is_named(tmp_path):
    found = pretrained(tmp_path, dataclasses.replace(SETTINGS, networks=1))
    pool = load_pool(found)
    network = networks.create("convnet", (8, 8, 1), 3, config_of().network)
    assert len(pool) == 4
    assert pool.shapes == [tuple(v.shape) for v in network.trainable_variables]
    np.savez(tmp_path / "old.npz", np.zeros([3, 3]))  # as before there were names
    content = found[1].path.read_bytes()
    for damaged in (
        content[:-30],
        b"garbage",
        b"",
        (tmp_path / "old.npz").read_bytes(),
    ):
        found[1].path.write_bytes(damaged)
        with pytest.raises(
            UserError, match=rf"{found[1].path.name}.*--resume"
        ) as error:
            load_pool(found)
        assert "\n" not in str(error.value)


def test_buckets_share_no_network_and_leave_none_out():
    found = [Pretrained(None, 0, k, k / 1000) for k in range(1001)]
    edges = [(0, 20), (20, 40), (40, 60), (60, 80), (80, 100)]
    parts = [[one.updates for one in in_bucket(found, *edge)] for edge in edges]
    assert list(itertools.chain(*parts)) == list(range(1001))
    assert [part[0] for part in parts] == [0, 200, 400, 600, 800]


@pytest.mark.parametrize(("total", "count"), [(1, 1), (1, 5), (7, 20), (1000, 1)])
def test_moments_end_with_the_last_update(total, count):
    found = moments(total, count)
    assert found == sorted(set(found)) and found[-1] == total
    assert found[0] >= 1 and len(found) <= count
