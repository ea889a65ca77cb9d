"""A cache of images that is damaged: found, said, and built again."""

import json
import os
import zlib

import numpy as np
import pytest

from dam_tf.base.errors import UserError
from dam_tf.data.cache import cache_build
from tests.data.cache_files import assert_same, flip


def damage_truncated(folder):
    content = (folder / "train.npy").read_bytes()
    (folder / "train.npy").write_bytes(content[:-100])


def damage_empty(folder):
    (folder / "test.npy").write_bytes(b"")


def damage_garbage(folder):
    (folder / "train.npy").write_bytes(b"garbage" * 1000)


def damage_other_shape(folder):
    np.save(folder / "train.npy", np.zeros([600, 4, 4, 1], np.uint8))


def damage_other_type(folder):
    np.save(folder / "train.npy", np.zeros([600, 4, 4, 3], np.float32))


def damage_missing(folder):
    (folder / "test.npy").unlink()


def damage_contents(folder):
    (folder / "contents.json").write_text('{"class_names": [')


def damage_contents_garbage(folder):
    (folder / "contents.json").write_bytes(b"\xff\xfe\x00garbage")


def damage_contents_missing(folder):
    stored = json.loads((folder / "contents.json").read_text())
    (folder / "contents.json").write_text(json.dumps({**stored, "train": None}))


def damage_contents_other_names(folder):
    text = (folder / "contents.json").read_text()
    (folder / "contents.json").write_text(text.replace('"0"', '"5"'))


def damage_contents_is_a_list(folder):
    (folder / "contents.json").write_text("[1, 2]")


def damage_longer(folder):
    with open(folder / "train.npy", "ab") as file:
        file.write(b"more")


def damage_checksums_missing(folder):
    (folder / "test.crc32.npy").unlink()


def damage_checksums_truncated(folder):
    content = (folder / "train.crc32.npy").read_bytes()
    (folder / "train.crc32.npy").write_bytes(content[:-4])


def damage_checksums_flipped(folder):
    flip(folder / "train.crc32.npy", 200)


@pytest.mark.parametrize(
    "damage", [function for name, function in globals().items() if "damage_" in name]
)
def test_damaged_cache_is_rebuilt_and_that_is_said(
    npz, load, tmp_path, builds, said, damage
):
    settings = {"cache": "disk", "data_dir": str(tmp_path)}
    memory = load(npz, cache="memory")
    load(npz, **settings)
    damage(builds[0])
    assert_same(load(npz, **settings), memory)
    assert len(builds) == 2
    assert any(str(builds[0]) in line and "is damaged" in line for line in said())
    assert_same(load(npz, **settings), memory)
    assert len(builds) == 2


def test_checksums_are_those_of_zlib(npz, load, tmp_path):
    data = load(npz, cache="disk", data_dir=str(tmp_path))
    (file,) = tmp_path.rglob("train.crc32.npy")
    expected = [zlib.crc32(image.tobytes()) for image in data.train.images]
    assert np.load(file, allow_pickle=False).tolist() == expected


def test_flipped_bit_is_caught_where_it_is_read(npz, load, tmp_path, builds, said):
    settings = {"cache": "disk", "data_dir": str(tmp_path)}
    memory = load(npz, cache="memory")
    data = load(npz, **settings)
    row = int(memory.train.offsets[1]) + 2
    flip(builds[0] / "train.npy", 128 + 48 * row + 7)
    data = load(npz, **settings)  # sizes and headers are right
    others = np.array([row + 1, 0, row + 1, row - 1])
    np.testing.assert_array_equal(data.train.take(others), memory.train.images[others])
    for _ in range(2):
        with pytest.raises(UserError, match=r"damaged: train: .*image 2 of class '1'"):
            data.train.take(np.array([0, row]))
    assert_same(load(npz, **settings), memory)
    assert len(builds) == 2
    assert any("is damaged" in line and str(builds[0]) in line for line in said())


def test_file_that_shrinks_while_it_is_open(npz, load, tmp_path):
    data = load(npz, cache="disk", data_dir=str(tmp_path))
    os.truncate(data.train.file.path, 1000)
    with pytest.raises(UserError, match=r"damaged: train: .*ends too early"):
        data.train.take(np.array([599]))


@pytest.mark.parametrize("split", ["train", "test"])
def test_verify_finds_a_flipped_bit(npz, load, tmp_path, builds, said, split):
    settings = {"cache": "verify", "data_dir": str(tmp_path)}
    memory = load(npz, cache="memory")
    assert_same(load(npz, **settings), memory)
    assert_same(load(npz, **settings), memory)
    assert any("650 images of the cache match" in line for line in said())
    assert len(builds) == 1
    flip(builds[0] / f"{split}.npy", -1)
    assert_same(load(npz, **settings), memory)
    assert len(builds) == 2
    assert any(f"1 images of {split} are damaged" in line for line in said())


def test_disk_that_does_not_keep_what_is_written(npz, load, tmp_path, monkeypatch):
    original = cache_build._SplitWriter.sync

    def sync(self):
        original(self)
        if not flipped:
            flipped.extend(tmp_path.rglob("train.npy"))
            flip(*flipped, -1)

    flipped = []
    monkeypatch.setattr(cache_build._SplitWriter, "sync", sync)
    with pytest.raises(UserError, match="damaged as soon as they are written"):
        load(npz, cache="disk", data_dir=str(tmp_path))
