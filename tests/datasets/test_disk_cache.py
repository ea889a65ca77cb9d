import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from dam_tf.datasets import disk_cache, loading
from dam_tf.errors import UserError

CHILD = """
import sys
from dam_tf.config import DatasetConfig
from dam_tf.datasets import array_source, load_dataset
{change}
load_dataset(DatasetConfig(sys.argv[1], data_dir=sys.argv[2], cache="disk"))
"""


@pytest.fixture
def npz(tmp_path, rng):
    """An npz file of 600 images, which are read in three chunks."""
    file = tmp_path / "data.npz"
    labels = rng.integers(0, 3, 600)
    images = rng.integers(0, 256, [600, 4, 4, 3], np.uint8)
    np.savez(
        file, x_train=images, y_train=labels, x_test=images[:50], y_test=labels[:50]
    )
    return f"npz:{file}"


@pytest.fixture
def builds(monkeypatch):
    """Collects the caches that are built."""
    built = []
    original = disk_cache._build
    monkeypatch.setattr(
        disk_cache,
        "_build",
        lambda folder, *rest: (built.append(folder), original(folder, *rest)),
    )
    return built


def assert_same(data, expected):
    assert data.class_names == expected.class_names and data.name == expected.name
    for split in ("train", "test"):
        one, other = getattr(data, split), getattr(expected, split)
        for name in ("images", "labels", "offsets"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
            assert getattr(one, name).dtype == getattr(other, name).dtype


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


def test_kill_while_it_is_built(npz, load, tmp_path, builds):
    change = """
import os, signal
def kill(images, shape):
    if images[0, 0, 0, 0] == kill.first: kill.calls += 1
    kill.calls += 1
    if kill.calls == 3: os.kill(os.getpid(), signal.SIGKILL)
    return images
kill.calls, kill.first = 0, -1
array_source._resized = kill
"""
    code = CHILD.format(change=change)
    killed = subprocess.run([sys.executable, "-c", code, npz, str(tmp_path)])
    assert killed.returncode == -signal.SIGKILL
    (leftover,) = (tmp_path / "dam_tf_cache").glob(".*-*")
    assert (leftover / "train.npy").exists()
    data = load(npz, cache="disk", data_dir=str(tmp_path))
    assert_same(data, load(npz, cache="memory"))
    assert len(builds) == 1
    assert not leftover.exists()


def test_two_processes_build_it_once(npz, load, tmp_path):
    code = CHILD.format(
        change="""
from dam_tf.datasets import disk_cache
build = disk_cache._build
disk_cache._build = lambda *args: (print("builds"), build(*args))
"""
    )
    command = [sys.executable, "-c", code, npz, str(tmp_path)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    said = [child.communicate()[0] for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert b"".join(said) == b"builds\n"
    data = load(npz, cache="disk", data_dir=str(tmp_path))
    assert_same(data, load(npz, cache="memory"))


def test_failure_leaves_nothing(npz, load, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("while reading")

    monkeypatch.setattr("dam_tf.datasets.array_source._resized", fail)
    with pytest.raises(RuntimeError):
        load(npz, cache="disk", data_dir=str(tmp_path))
    (left,) = (tmp_path / "dam_tf_cache").iterdir()
    assert left.suffix == ".lock"


def test_full_disk_is_told_before_anything_is_written(npz, load, tmp_path, monkeypatch):
    class Usage:
        free = 1000

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    with pytest.raises(
        UserError, match=r"cannot write the image cache .* are free; set"
    ):
        load(npz, cache="disk", data_dir=str(tmp_path))


def test_data_dir_that_is_a_file(npz, load, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write the image cache .*file.*; set"):
        load(npz, cache="disk", data_dir=str(tmp_path / "file"))


def test_files_that_change_while_they_are_read(npz, load, monkeypatch):
    original = np.bincount
    monkeypatch.setattr(
        "dam_tf.datasets.array_source.np.bincount",
        lambda labels, minlength: original(labels, minlength=minlength) + 1,
    )
    with pytest.raises(UserError, match="changed while they were read"):
        load(npz)
