"""A cache of images on disk: where it lies, when it is built, what it gives."""

import os

import numpy as np
import pytest

from dam_tf.base.errors import UserError
from dam_tf.data import loading
from tests.data.cache_files import assert_same


def test_cache_equals_memory_and_is_built_once(npz, load, tmp_path, builds):
    memory = load(npz, cache="memory")
    for _ in range(2):
        data = load(npz, cache="disk", data_dir=str(tmp_path))
        assert isinstance(data.train.images, np.memmap)
        assert not data.train.images.flags.writeable
        assert_same(data, memory)
    assert not isinstance(memory.train.images, np.memmap)
    (folder,) = builds
    assert folder.parent == tmp_path / "dam_tf_cache"
    assert not [file for file in folder.parent.iterdir() if file.name[0] == "."]


def test_cache_lies_at_home_without_data_dir(npz, load, tmp_path, builds, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    load(npz, cache="disk")
    assert builds[0].parent == tmp_path / "home" / ".cache" / "dam_tf"


def test_read_only_data_dir(npz, load, tmp_path, builds, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("os.access", lambda path, mode: False)
    load(npz, cache="disk", data_dir=str(tmp_path))
    assert builds[0].parent == tmp_path / "home" / ".cache" / "dam_tf"


def test_size_decides(npz, load, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "LARGEST_IN_MEMORY", 650 * 48)
    data = load(npz, data_dir=str(tmp_path))
    assert not isinstance(data.train.images, np.memmap)
    monkeypatch.setattr(loading, "LARGEST_IN_MEMORY", 650 * 48 - 1)
    data = load(npz, data_dir=str(tmp_path))
    assert isinstance(data.train.images, np.memmap)


def test_other_settings_are_another_cache(npz, load, tmp_path, builds):
    settings = {"cache": "disk", "data_dir": str(tmp_path)}
    assert load(npz, **settings).num_classes == 3
    assert load(npz, max_classes=2, **settings).num_classes == 2
    assert load(npz, image_size=6, **settings).image_shape == (6, 6, 3)
    assert load(npz, **settings).image_shape == (4, 4, 3)
    assert len(set(builds)) == len(builds) == 3


def test_changed_file_is_another_cache(npz, load, tmp_path, builds):
    settings = {"cache": "disk", "data_dir": str(tmp_path)}
    load(npz, **settings)
    os.utime(npz.removeprefix("npz:"), ns=(1, 1))
    load(npz, **settings)
    assert len(set(builds)) == len(builds) == 2


def test_changed_folder_is_another_cache(make_tree, shade, write, load, builds):
    root = make_tree()
    name, settings = f"folder:{root}", {"cache": "disk", "data_dir": str(root.parent)}
    assert len(load(name, **settings).train.images) == 10
    assert len(load(name, **settings).train.images) == 10
    write(root / "train" / "ant" / "0.png", shade(33))
    os.utime(root / "train" / "ant" / "0.png", ns=(1, 1))
    assert load(name, **settings).train.images[0, 5, 5, 0] == 33
    write(root / "train" / "ant" / "9.png", shade(44))
    assert len(load(name, **settings).train.images) == 11
    assert len(builds) == 3


def test_failure_while_reading_passes_through(npz, load, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("while reading")

    monkeypatch.setattr("dam_tf.data.sources.arrays.resize", fail)
    with pytest.raises(RuntimeError):
        load(npz, cache="disk", data_dir=str(tmp_path))
    assert {file.suffix for file in (tmp_path / "dam_tf_cache").iterdir()} == {
        ".lock",
        ".unfinished",
    }


def test_full_disk_is_told_before_anything_is_written(npz, load, tmp_path, monkeypatch):
    class Usage:
        free = 1000

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    with pytest.raises(
        UserError, match=r"cannot write the image cache .* are free; make"
    ):
        load(npz, cache="disk", data_dir=str(tmp_path))


def test_data_dir_that_is_a_file(npz, load, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        UserError, match=r"cannot write the image cache .*file.*; make space, or set"
    ):
        load(npz, cache="disk", data_dir=str(tmp_path / "file"))


def test_files_that_change_while_they_are_read(npz, load, monkeypatch):
    original = np.bincount
    monkeypatch.setattr(
        "dam_tf.data.sources.arrays.np.bincount",
        lambda labels, minlength: original(labels, minlength=minlength) + 1,
    )
    with pytest.raises(UserError, match="changed while they were read"):
        load(npz)
