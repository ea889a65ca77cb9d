"""Snapshots: kept when the settings say so, whole, or passed over."""

import numpy as np
import pytest

from dam_tf.base.errors import UserError
from dam_tf.config.settings import DistillationConfig, make_config
from dam_tf.runs.snapshots import (
    forget_snapshots_after,
    is_snapshot,
    load_snapshots,
    next_snapshot,
    save_snapshot,
    snapshot_files,
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
    assert list(snapshot_files(tmp_path)) == [0, 5]
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
    settings = make_config(overrides=given).distillation
    assert settings.snapshot_at == (0, 10) and settings.snapshot_every is None
    for key, value in (("every", "0"), ("at", "-1"), ("at", "many")):
        with pytest.raises(UserError, match=rf"distillation\.snapshot_{key} must"):
            make_config(overrides={f"distillation.snapshot_{key}": value})
