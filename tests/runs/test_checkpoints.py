"""Checkpoints: whole, or passed over for the one before."""

import numpy as np
import pytest

from dam_tf.runs.checkpoints import Checkpoint, load_checkpoint, save_checkpoint

SHAPE = (2, 1, 4, 4, 1)


def make(iteration):
    images = np.full(SHAPE, iteration, np.float32)
    return Checkpoint(iteration, images, images / 7)


def test_a_checkpoint_comes_back_exactly(tmp_path):
    save_checkpoint(tmp_path, make(3))
    loaded = load_checkpoint(tmp_path, SHAPE)
    assert loaded.iteration == 3
    np.testing.assert_array_equal(loaded.images, make(3).images)
    np.testing.assert_array_equal(loaded.momentum, make(3).momentum)


def test_an_average_comes_back_or_is_missed(tmp_path, caplog):
    images = make(4).images
    save_checkpoint(tmp_path, Checkpoint(4, images, images, images + 1))
    loaded = load_checkpoint(tmp_path, SHAPE, averaged=True)
    np.testing.assert_array_equal(loaded.average, images + 1)
    assert load_checkpoint(tmp_path, SHAPE).average is None
    save_checkpoint(tmp_path, make(5))
    assert load_checkpoint(tmp_path, SHAPE, averaged=True).iteration == 4
    assert "average" in caplog.text


def test_the_newest_two_are_kept(tmp_path):
    for iteration in (5, 10, 15, 100):
        save_checkpoint(tmp_path, make(iteration))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "iteration-00000015.npz",
        "iteration-00000100.npz",
    ]
    assert load_checkpoint(tmp_path, SHAPE).iteration == 100


def test_there_may_be_none(tmp_path):
    assert load_checkpoint(tmp_path / "missing", SHAPE) is None


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "bit", "other"])
def test_a_damaged_checkpoint_is_passed_over_and_said(tmp_path, damage, caplog):
    save_checkpoint(tmp_path, make(1))
    save_checkpoint(tmp_path, make(2))
    path = tmp_path / "iteration-00000002.npz"
    content = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "garbage":
        path.write_bytes(b"not an archive at all" * 20)
    elif damage == "bit":
        position = content.index(make(2).images.tobytes())
        flipped = bytes([content[position] ^ 1])
        path.write_bytes(content[:position] + flipped + content[position + 1 :])
    else:
        np.savez(path, iteration=2, images=np.zeros([9]), momentum=np.zeros([9]))
    assert load_checkpoint(tmp_path, SHAPE).iteration == 1
    assert "iteration-00000002.npz" in caplog.text
