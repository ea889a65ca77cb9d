"""Checkpoints and snapshots: whole, or passed over for the one before."""

import numpy as np
import pytest

from dam_tf.base.errors import UserError
from dam_tf.config.sections import DistillationConfig
from dam_tf.config.settings import read_config
from dam_tf.runs.state import (
    forget_snapshots_after,
    is_snapshot,
    load_checkpoint,
    load_snapshots,
    next_snapshot,
    save_checkpoint,
    save_snapshot,
    state_files,
)

SHAPE = (4, 2, 2, 1)
LABELS = np.array([0, 0, 1, 1])


def save(folder, *iterations):
    for iteration in iterations:
        images = np.full(SHAPE, iteration, np.float32)
        save_snapshot(folder, iteration, images, LABELS)


@pytest.mark.parametrize(
    ("every", "chosen"), [(None, ()), (3, ()), (None, (0, 4, 9)), (5, (1, 5, 12))]
)
def test_the_next_one_is_the_first_that_is_one(every, chosen):
    settings = DistillationConfig(snapshot_every=every, snapshot_at=chosen)
    for iteration in range(20):
        later = [i for i in range(iteration + 1, 40) if is_snapshot(settings, i)]
        assert next_snapshot(settings, iteration) == min(later, default=None)


def test_they_come_back_in_order(tmp_path):
    save(tmp_path, 100, 5, 100_000_000)
    found = load_snapshots(tmp_path, SHAPE)
    assert list(found) == [5, 100, 100_000_000]
    assert all((images == number).all() for number, images in found.items())


def test_later_ones_are_forgotten(tmp_path):
    save(tmp_path, 0, 5, 10)
    (tmp_path / "iteration-notes.npz").touch()
    forget_snapshots_after(tmp_path, 5)
    assert list(state_files(tmp_path)) == [0, 5]
    assert (tmp_path / "iteration-notes.npz").exists()


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty", "shape", "key"])
def test_a_damaged_one_is_passed_over_and_said(tmp_path, damage, caplog):
    save(tmp_path, 1, 2)
    path = tmp_path / "iteration-00000002.npz"
    content = path.read_bytes()
    if damage == "shape":
        np.savez(path, images=np.zeros([1, 2]))
    elif damage == "key":
        np.savez(path, pictures=np.zeros(SHAPE))
    else:
        bad = {"truncated": content[:-90], "garbage": b"no archive", "empty": b""}
        path.write_bytes(bad[damage])
    assert list(load_snapshots(tmp_path, SHAPE)) == [1]
    assert "iteration-00000002.npz" in caplog.text


def test_settings_are_checked():
    given = {"distillation.snapshot_at": "0, 10", "distillation.snapshot_every": ""}
    settings = read_config(overrides=given).distillation
    assert settings.snapshot_at == (0, 10) and settings.snapshot_every is None
    for key, value in (("every", "0"), ("at", "-1"), ("at", "many")):
        with pytest.raises(UserError, match=rf"distillation\.snapshot_{key} must"):
            read_config(overrides={f"distillation.snapshot_{key}": value})


def state(iteration, **more):
    images = np.full(SHAPE, iteration, np.float32)
    momentum = {"images/momentum": images / 7}
    return {"images": images, **momentum, "iteration": np.int64(iteration), **more}


class TestCheckpoints:
    def test_one_comes_back_exactly(self, tmp_path):
        given = state(3, **{"method/theta": np.arange(4, dtype=np.float32)})
        save_checkpoint(tmp_path, given)
        loaded, losses = load_checkpoint(tmp_path, given)
        assert loaded.keys() == given.keys() and not losses
        for name, values in given.items():
            np.testing.assert_array_equal(loaded[name], values)

    def test_losses_that_no_line_has_yet_come_back(self, tmp_path):
        given = {"loss": np.float32([1, 3, 2]), "sam": np.float32([0, 1, 1])}
        save_checkpoint(tmp_path, state(3), given)
        loaded, losses = load_checkpoint(tmp_path, state(0))
        assert loaded.keys() == state(0).keys()
        np.testing.assert_equal(losses, given)

    def test_one_that_lacks_something_is_passed_over(self, tmp_path, caplog):
        average = {"images/average": np.ones(SHAPE, np.float32)}
        save_checkpoint(tmp_path, state(4, **average))
        save_checkpoint(tmp_path, state(5))
        loaded, _ = load_checkpoint(tmp_path, state(0, **average))
        assert loaded["iteration"] == 4
        np.testing.assert_array_equal(loaded["images/average"], 1)
        assert "images/average" in caplog.text

    def test_the_newest_two_are_kept(self, tmp_path):
        for iteration in (5, 10, 15, 100, 123_456_789):
            save_checkpoint(tmp_path, state(iteration))
        assert list(state_files(tmp_path)) == [100, 123_456_789]
        assert load_checkpoint(tmp_path, state(0))[0]["iteration"] == 123_456_789

    @pytest.mark.parametrize(
        "damage", ["truncated", "empty", "garbage", "bit", "other", "type"]
    )
    def test_a_damaged_one_is_passed_over_and_said(self, tmp_path, damage, caplog):
        save_checkpoint(tmp_path, state(1))
        save_checkpoint(tmp_path, state(2))
        path = tmp_path / "iteration-00000002.npz"
        content = path.read_bytes()
        if damage == "truncated":
            path.write_bytes(content[: len(content) // 2])
        elif damage == "empty":
            path.write_bytes(b"")
        elif damage == "garbage":
            path.write_bytes(b"not an archive at all" * 20)
        elif damage == "bit":
            position = content.index(state(2)["images"].tobytes())
            flipped = bytes([content[position] ^ 1])
            path.write_bytes(content[:position] + flipped + content[position + 1 :])
        elif damage == "other":
            np.savez(path, **{name: np.zeros([9]) for name in state(2)})
        else:
            np.savez(path, **{**state(2), "images": state(2)["images"].astype(int)})
        assert load_checkpoint(tmp_path, state(0))[0]["iteration"] == 1
        assert "iteration-00000002.npz" in caplog.text

    def test_where_none_fits_nothing_starts_anew(self, tmp_path):
        save_checkpoint(tmp_path, state(1))
        next(tmp_path.iterdir()).write_bytes(b"junk")
        with pytest.raises(UserError, match=r"none of the checkpoints .*--overwrite"):
            load_checkpoint(tmp_path, state(0))
