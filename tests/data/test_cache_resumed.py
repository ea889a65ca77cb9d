"""Building a cache of images that was stopped goes on where it was."""

import errno
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from dam_tf.base.errors import UserError
from dam_tf.data.cache import cache_build, disk_cache
from tests.data.cache_files import assert_same, flip

CHILD = """
import sys
from dam_tf.config.sections import DatasetConfig
from dam_tf.data.sources import arrays as array_source
from dam_tf.data.loading import load_dataset
{change}
load_dataset(DatasetConfig(sys.argv[1], data_dir=sys.argv[2], cache="disk"))
"""


# Reads 16 images at a time, records each, and dies at one of the calls that write.
KILL = """
import os, signal
from dam_tf.data.sources import arrays as array_source
from dam_tf.data.cache import cache_build
array_source.CHUNK = cache_build.CHUNK = 16
cache_build._RECORD_BYTES = 1
calls = int(sys.argv[3])
def dying(function):
    def call(*args, **options):
        global calls
        calls -= 1
        if calls == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **options)
    return call
for name in ("pwrite", "fsync", "replace", "rename", "mkdir", "truncate"):
    setattr(os, name, dying(getattr(os, name)))
"""


def test_kills_at_random_moments(npz, load, tmp_path, rng, said):
    """However often it is killed, the files are those of one that never was."""
    load(npz, cache="disk", data_dir=str(tmp_path / "whole"))
    (whole,) = (file.parent for file in tmp_path.glob("whole/*/*/contents.json"))
    data_dir = tmp_path / "killed"
    command = [sys.executable, "-c", CHILD.format(change=KILL), npz, str(data_dir)]
    done = [0]
    for calls in rng.integers(5, 170, 5):
        child = subprocess.run([*command, str(calls)])
        assert child.returncode == -signal.SIGKILL
        for file in data_dir.rglob("progress.json"):
            filled = json.loads(file.read_text())["filled"]
            done.append(sum(filled["train"]) + sum(filled["test"]))
    assert done == sorted(done) and 0 < done[-1] < 650
    assert subprocess.run([*command, "1000000"]).returncode == 0
    (killed,) = (file.parent for file in data_dir.glob("*/*/contents.json"))
    assert_same_files(killed, whole)
    assert not list(killed.parent.glob(".*"))


def assert_same_files(folder, other):
    names = sorted(file.name for file in other.iterdir())
    assert sorted(file.name for file in folder.iterdir()) == names
    for name in names:
        assert (folder / name).read_bytes() == (other / name).read_bytes()


@pytest.fixture
def stopped(npz, load, tmp_path, monkeypatch):
    """An unfinished cache, of 512 of 650 images, and the settings that resume it."""
    settings = {"cache": "disk", "data_dir": str(tmp_path)}
    original = cache_build._SplitWriter.write

    def write(self, rows, images):
        if len(images) != 256:
            raise KeyboardInterrupt
        original(self, rows, images)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cache_build._SplitWriter, "write", write)
        load(npz, **settings)
    (folder,) = (tmp_path / "dam_tf_cache").glob(".*.unfinished")
    return folder, settings


def test_goes_on_where_it_was(stopped, npz, load, written, said):
    folder, settings = stopped
    assert_same(load(npz, **settings), load(npz, cache="memory"))
    assert sum(written) == 650 - 512
    assert any("512 of 650 images are there" in line for line in said())
    assert not folder.exists()


def test_all_was_there(stopped, npz, load, written, monkeypatch):
    """Killed between the last image and its name."""
    _, settings = stopped

    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(disk_cache, "publish_folder", fail)
        load(npz, **settings)
    written.clear()
    assert_same(load(npz, **settings), load(npz, cache="memory"))
    assert not written


def spoil_flipped_image(folder):
    flip(folder / "train.npy", 128 + 48 * 5)


def spoil_flipped_checksum(folder):
    flip(folder / "train.crc32.npy", 128 + 4 * 5)


def spoil_truncated(folder):
    os.truncate(folder / "train.npy", 1000)


def spoil_missing(folder):
    (folder / "test.npy").unlink()


def spoil_no_progress(folder):
    (folder / "progress.json").unlink()


def spoil_garbage_progress(folder):
    (folder / "progress.json").write_bytes(b"\xff\x00garbage")


def spoil_list_as_progress(folder):
    (folder / "progress.json").write_text("[]")


def spoil_too_much_progress(folder):
    change_progress(folder, lambda filled: filled["train"].__setitem__(0, 10**6))


def spoil_text_as_progress(folder):
    change_progress(folder, lambda filled: filled.__setitem__("train", ["a"] * 3))


def spoil_untrue_progress(folder):
    """Says that more is there than is."""
    change_progress(folder, lambda filled: filled["test"].__setitem__(0, 1))


def change_progress(folder, change):
    stored = json.loads((folder / "progress.json").read_text())
    change(stored["filled"])
    (folder / "progress.json").write_text(json.dumps(stored))


@pytest.mark.parametrize(
    "spoil", [function for name, function in globals().items() if "spoil_" in name]
)
def test_useless_rest_is_told_and_all_is_read(stopped, npz, load, written, said, spoil):
    folder, settings = stopped
    spoil(folder)
    assert_same(load(npz, **settings), load(npz, cache="memory"))
    assert sum(written) == 650
    assert any(f"unfinished cache {folder} is useless" in line for line in said())


@pytest.mark.parametrize("place", [0, 500], ids=["first", "latest"])
def test_source_that_changed_unseen(stopped, npz, load, written, said, place):
    """The file's size and time are what they were, but its images are not."""
    _, settings = stopped
    change_image(npz, place)
    assert_same(load(npz, **settings), load(npz, cache="memory"))
    assert sum(written) == 650
    assert any("the images have changed since" in line for line in said())


def test_source_that_cannot_be_read_leaves_what_is_there(
    stopped, npz, load, written, monkeypatch
):
    _, settings = stopped

    def fail(*_):
        raise UserError("the network is away")

    with monkeypatch.context() as patch, pytest.raises(UserError, match="away"):
        patch.setattr("dam_tf.data.sources.arrays.resize", fail)
        load(npz, **settings)
    assert_same(load(npz, **settings), load(npz, cache="memory"))
    assert sum(written) == 650 - 512


def change_image(npz, place):
    """Changes an image behind the back of the file's size and time."""
    file = npz.removeprefix("npz:")
    stat = os.stat(file)
    arrays = dict(np.load(file, allow_pickle=False))
    arrays["x_train"][place] ^= 1
    np.savez(file, **arrays)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert os.stat(file).st_size == stat.st_size


def test_source_that_changed_is_another_cache(stopped, npz, load, written, said):
    folder, settings = stopped
    os.utime(npz.removeprefix("npz:"), ns=(1, 1))
    assert_same(load(npz, **settings), load(npz, cache="memory"))
    assert sum(written) == 650
    assert any(f"{folder} was left unfinished" in line for line in said())


def test_source_that_changes_while_it_is_read(npz, load, tmp_path, monkeypatch):
    original = cache_build._SplitWriter.write

    def write(self, rows, images):
        os.utime(npz.removeprefix("npz:"), ns=(1, 1))
        original(self, rows, images)

    monkeypatch.setattr(cache_build._SplitWriter, "write", write)
    with pytest.raises(UserError, match="changed while they were read"):
        load(npz, cache="disk", data_dir=str(tmp_path))
    (left,) = (tmp_path / "dam_tf_cache").iterdir()
    assert left.suffix == ".lock"


@pytest.mark.parametrize("chunk", [7, 256])
def test_folder_goes_on_where_it_was(make_tree, load, monkeypatch, written, chunk):
    monkeypatch.setattr("dam_tf.data.sources.image_batches.CHUNK", chunk)
    monkeypatch.setattr(cache_build, "CHUNK", chunk)
    name = f"folder:{make_tree()}"
    settings = {"cache": "disk", "data_dir": name.removeprefix("folder:") + "/cache"}
    original = cache_build._record

    def record(folder, stored, filled):
        original(folder, stored, filled)
        if filled["train"].sum():
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cache_build, "_RECORD_BYTES", 1)
        patch.setattr(cache_build, "_record", record)
        load(name, **settings)
    assert written == [min(chunk, 10)]
    assert_same(load(name, **settings), load(name, cache="memory"))
    assert sum(written) == 16


@pytest.fixture
def small_disk(monkeypatch):
    """Fills the disk after 64 KB, though it seemed to have space."""
    left, pwrite = [1 << 16], os.pwrite

    def write(descriptor, data, place):
        left[0] -= len(data)
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(descriptor, data, place)

    with monkeypatch.context() as patch:
        patch.setattr("os.pwrite", write)
        patch.setattr(cache_build, "_RECORD_BYTES", 1)
        yield patch


def test_disk_that_runs_full_and_then_has_space(
    small_disk, load, tmp_path, rng, written
):
    images = rng.integers(0, 256, [3000, 4, 4, 3], np.uint8)
    labels = np.repeat([0, 1, 2], 1000)
    file = tmp_path / "data.npz"
    np.savez(
        file, x_train=images, y_train=labels, x_test=images[::99], y_test=labels[::99]
    )
    settings = {"cache": "disk", "data_dir": str(tmp_path)}
    with pytest.raises(UserError, match=r"No space left.* is kept, and the next"):
        load(f"npz:{file}", **settings)
    (folder,) = (tmp_path / "dam_tf_cache").glob(".*.unfinished")
    done = json.loads((folder / "progress.json").read_text())["filled"]["train"]
    assert 0 < sum(done) < 3000
    small_disk.undo()
    written.clear()
    data = load(f"npz:{file}", **settings)
    assert_same(data, load(f"npz:{file}", cache="memory"))
    assert sum(written) == 3000 - sum(done) + len(labels[::99])


def test_two_processes_build_it_once(npz, load, tmp_path):
    code = CHILD.format(
        change="""
from dam_tf.data.cache import disk_cache
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
