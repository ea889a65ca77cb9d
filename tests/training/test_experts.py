"""Experts: how they are trained, kept, resumed and read."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf import networks
from dam_tf.base.errors import UserError
from dam_tf.base.seeds import Purpose
from dam_tf.config.experts import ExpertTraining, expert_config
from dam_tf.config.settings import replace, resolve
from dam_tf.networks.trajectories import Experts
from dam_tf.training import experts as module
from dam_tf.training.experts import train_experts
from dam_tf.training.trainer import Trainer
from tests.tiny_data import make_data, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")


def config_of(**changes):
    """Epochs of 36 images in batches of 8 end with a batch of 4."""
    small = {"network__width": 4, "network__depth": 1, "evaluation__batch_size": 8}
    config = expert_config(tiny_config(dataset__preprocessing="none"))
    return replace(config, **{**small, "evaluation__epochs": 2, **changes})


def trained(folder, count=2, storage="float32", config=None, kept="all", **keep):
    identity, settings = keras.layers.Identity(), ExpertTraining(count, storage, kept)
    given = {"data": make_data(), "preprocessing": identity, **keep}
    return train_experts(config or config_of(), settings, folder, **given)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Two experts, not to be changed."""
    folder = tmp_path_factory.mktemp("experts") / "original"
    trained(folder)
    return folder


def test_an_epoch_is_one_of_ordinary_training_to_its_last_batch(original):
    experts, config = Experts(original), resolve(config_of(), (8, 8, 1))
    train = make_data().train
    images, labels = train.images, train.labels
    trainer = Trainer(images, labels, 3, config, purpose=Purpose.EXPERT_NETWORK)
    number = tf.constant(1)
    state = trainer.initial_state(number)
    for epoch in range(3):
        expected = np.concatenate([weight.numpy().ravel() for weight in state[0]])
        np.testing.assert_array_equal(experts.state(1, epoch), expected)
        ends = tf.constant(epoch), tf.constant(epoch + 1)
        (state,) = trainer.train([state], [number], *ends)
    assert len(experts) == 2 and experts.epochs == 2 and experts.unfinished == 0


def test_experts_move_down_the_gradient_and_nothing_else(tmp_path):
    """With one batch an epoch, and no augmentation: plain SGD of rate 0.01."""
    config = config_of(evaluation__batch_size=36, evaluation__augmentation="none")
    experts = trained(tmp_path, 1, config=config)
    data, config = make_data(), resolve(config, (8, 8, 1))
    network = networks.create("convnet", (8, 8, 1), 3, config.network)
    assert experts.names == tuple(v.path for v in network.trainable_variables)
    images = tf.constant(data.train.images / np.float32(255))
    for epoch in range(2):
        place, before = 0, experts.state(0, epoch)
        for variable in network.trainable_variables:
            size = int(np.prod(variable.shape))
            values = before[place : place + size].reshape(variable.shape)
            variable.assign(values)
            place += size
        with tf.GradientTape() as tape:
            logits = network(images, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                data.train.labels, logits
            )
            loss = tf.reduce_mean(losses)
        slopes = tape.gradient(loss, [v.value for v in network.trainable_variables])
        slope = np.concatenate([one.numpy().ravel() for one in slopes])
        moved = experts.state(0, epoch + 1) - before
        np.testing.assert_allclose(moved, -0.01 * slope, atol=2e-7)
        assert np.abs(moved).max() > 1e-4


@pytest.mark.parametrize("kept", ["all", "ends"])
def test_a_killed_training_ends_as_one_that_was_not(kept, tmp_path, monkeypatch):
    """Killed before writes, with momentum, and of weights of which files hold less."""
    config = config_of(evaluation__momentum=0.9, network__norm="batch")
    settings = {"storage": "bfloat16", "config": config, "kept": kept}
    trained(tmp_path / "whole", **settings)

    class Killed(BaseException):
        pass

    def counted(save):
        def save_or_die(*arguments):
            if not left:
                raise Killed
            left.pop()
            return save(*arguments)

        return save_or_die

    for name in ("save_expert", "atomic_file"):
        monkeypatch.setattr(module, name, counted(getattr(module, name)))
    parts, experts, kills = tmp_path / "parts", None, 0
    while experts is None:
        left = [None] * (1 + kills % 3)
        try:
            experts = trained(parts, resume=True, **settings)
        except Killed:
            kills += 1
    assert kills == 5
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == sorted(path.name for path in parts.iterdir())
    assert names[:3] == ["expert-0000.npz", "expert-0001.npz", "experts.json"]
    for name in names:
        found, expected = (folder / name for folder in (parts, tmp_path / "whole"))
        assert found.read_bytes() == expected.read_bytes(), name


def test_a_pool_keeps_the_ends_of_training_and_statistics(original, tmp_path):
    """Of batch norm, as in ordinary training; without it there are none."""
    config = config_of(network__norm="batch")
    experts = trained(tmp_path / "pool", 1, config=config, kept="ends")
    assert not experts.whole and Experts(original).whole
    with pytest.raises(UserError, match="it lacks state/1"):
        experts.state(0, 1)
    config, train = resolve(config, (8, 8, 1)), make_data().train
    images, labels = train.images, train.labels
    trainer = Trainer(images, labels, 3, config, purpose=Purpose.EXPERT_NETWORK)
    state, number = trainer.initial_state(0), tf.constant(0)
    ends = [state, *trainer.train([state], [number], number, number + 2)]
    for epoch, (weights, _, statistics) in zip((0, 2), ends, strict=True):
        found = experts.network(0, epoch)
        for ours, theirs in zip(found, (weights, statistics), strict=True):
            for one, other in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(one, other)
        assert len(found[1]) == 2
    assert Experts(original).network(0, 2)[1] == []
    with pytest.raises(UserError, match=r"the study was started with .networks."):
        trained(tmp_path / "pool", 1, config=config, resume=True)


def test_bfloat16_takes_half_and_rounds(original, tmp_path):
    half, whole = trained(tmp_path, storage="bfloat16"), Experts(original)
    for epoch in range(3):
        rounded = tf.cast(whole.state(0, epoch), tf.bfloat16)
        np.testing.assert_array_equal(
            half.state(0, epoch), tf.cast(rounded, tf.float32)
        )
    sizes = [(one.folder / "expert-0000.npz").stat().st_size for one in (half, whole)]
    assert sizes[1] - sizes[0] >= 3 * 2 * whole.state(0, 0).size - 20
    assert half.fingerprint != whole.fingerprint


def test_a_state_is_read_alone_and_checked(original, tmp_path):
    """Damage in one state of a file is found when that is read, and only then."""
    (tmp_path / "experts.json").write_bytes((original / "experts.json").read_bytes())
    path, state = tmp_path / "expert-0000.npz", Experts(original).state(0, 1)
    path.write_bytes((original / "expert-0000.npz").read_bytes())
    whole = bytearray(path.read_bytes())
    whole[whole.index(state.tobytes()) + 5] ^= 1
    path.write_bytes(whole)
    damaged = Experts(tmp_path)
    np.testing.assert_array_equal(damaged.state(0, 2), Experts(original).state(0, 2))
    with pytest.raises(UserError, match=r"cannot read .*expert-0000\.npz: Bad CRC-32"):
        damaged.state(0, 1)


def test_experts_may_become_more_and_nothing_else(original, tmp_path):
    folder = tmp_path / "experts"
    first = trained(folder, 1)
    before = (folder / "expert-0000.npz").read_bytes()
    more = trained(folder, 2, resume=True)
    assert len(more) == 2 and (folder / "expert-0000.npz").read_bytes() == before
    assert more.fingerprint == Experts(original).fingerprint != first.fingerprint
    with pytest.raises(UserError, match=r"evaluation\.momentum = 0\.5"):
        trained(folder, config=config_of(evaluation__momentum=0.5), resume=True)
    with pytest.raises(UserError, match="storage"):
        trained(folder, storage="bfloat16", resume=True)
    with pytest.raises(UserError, match="continue it with --resume, replace it with"):
        trained(folder)
    other = config_of(distillation__seed=1)
    replaced = trained(folder, 1, config=other, overwrite=True)
    assert len(replaced) == 1 and replaced.fingerprint != first.fingerprint
    assert not (folder / "expert-0001.npz").exists()
    (folder / "expert-0000.npz").unlink()
    with pytest.raises(UserError, match=r"expert-0000\.npz is gone"):
        trained(folder, 1, config=other, resume=True)


def test_what_lies_in_a_folder_is_checked(original, tmp_path):
    with pytest.raises(UserError, match=r"no experts in .*give their folder"):
        Experts(tmp_path)
    description = tmp_path / "experts.json"
    for text in ("{", "[]", '{"epochs": true}', "[" * 9999):
        description.write_text(text)
        with pytest.raises(UserError, match=r"experts.json is damaged.*train the exp"):
            Experts(tmp_path)
    description.write_bytes((original / "experts.json").read_bytes())
    with pytest.raises(UserError, match=r"no expert in .* is trained to its end"):
        Experts(tmp_path)
    (tmp_path / "expert-0000.npz").write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot read .* it must be an expert"):
        Experts(tmp_path)


def test_a_damaged_state_of_training_is_told_and_done_again(
    original, tmp_path, monkeypatch, caplog
):
    save, folder = module.save_expert, tmp_path / "experts"

    def interrupted(path, names, shapes, stored):
        save(path, names, shapes, stored)
        if len(stored) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "save_expert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained(folder, 1)
    assert [path.name for path in folder.glob("unf*")] == ["unfinished-0000.npz"]
    pathlib.Path(folder / "unfinished-0000.npz").write_bytes(b"damage")
    monkeypatch.setattr(module, "save_expert", save)
    trained(folder, 1, resume=True)
    assert "expert 1 is trained from its beginning" in caplog.text
    found = (folder / "expert-0000.npz").read_bytes()
    assert found == (original / "expert-0000.npz").read_bytes()


def test_numbers_out_of_range_are_refused():
    with pytest.raises(UserError, match="experts must be at least 1, not 0"):
        ExpertTraining(experts=0)
    with pytest.raises(UserError, match=r"'float16' \(did you mean 'bfloat16'"):
        ExpertTraining(storage="float16")
    with pytest.raises(UserError, match=r"kept 'al' \(did you mean 'all'"):
        ExpertTraining(kept="al")
