import json
import os
import shutil
import signal
import subprocess
import sys
import zlib

import numpy as np
import pytest

from dam_tf.base.errors import UserError
from dam_tf.data import loading
from dam_tf.data.cache import cache_build, disk_cache

CHILD = """
import sys
from dam_tf.config.sections import DatasetConfig
from dam_tf.data.sources import arrays as array_source
from dam_tf.data.loading import load_dataset
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


def flip(file, place):
    """Flips one bit."""
    content = bytearray(file.read_bytes())
    content[place] ^= 4
    file.write_bytes(content)


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


@pytest.fixture
def written(monkeypatch):
    """Counts the images that are written."""
    counts = []
    original = cache_build._SplitWriter.write
    monkeypatch.setattr(
        cache_build._SplitWriter,
        "write",
        lambda self, rows, images: (
            counts.append(len(rows)),
            original(self, rows, images),
        ),
    )
    return counts


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
        patch.setattr("dam_tf.data.sources.arrays._resized", fail)
        load(npz, **settings)
    assert_same(load(npz, **settings), load(npz, cache="memory"))
    assert sum(written) == 650 - 512


def change_image(npz, place):
    """Changes an image behind the back of the file's size and time."""
    file = npz.removeprefix("npz:")
    stat = os.stat(file)
    arrays = dict(np.load(file))
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
    monkeypatch.setattr("dam_tf.data.sources.image_files.CHUNK", chunk)
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


def test_checksums_are_those_of_zlib(npz, load, tmp_path):
    data = load(npz, cache="disk", data_dir=str(tmp_path))
    (file,) = tmp_path.rglob("train.crc32.npy")
    expected = [zlib.crc32(image.tobytes()) for image in data.train.images]
    assert np.load(file).tolist() == expected


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


@pytest.fixture
def small_disk(tmp_path):
    """A disk of its own, of 16 pages, and a function that makes it larger."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield (
            disk,
            lambda: subprocess.run(
                ["mount", "-o", "remount,size=1m", str(disk)], check=True
            ),
        )
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_disk_that_runs_full_and_then_has_space(
    small_disk, load, tmp_path, rng, monkeypatch, written
):
    disk, enlarge = small_disk
    images = rng.integers(0, 256, [3000, 4, 4, 3], np.uint8)
    labels = np.repeat([0, 1, 2], 1000)
    file = tmp_path / "data.npz"
    np.savez(
        file, x_train=images, y_train=labels, x_test=images[::99], y_test=labels[::99]
    )
    settings = {"cache": "disk", "data_dir": str(disk)}
    with pytest.raises(UserError, match="are needed and"):
        load(f"npz:{file}", **settings)
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: usage)  # others fill it later
        patch.setattr(cache_build, "_RECORD_BYTES", 1)
        with pytest.raises(UserError, match=r"No space left.* is kept, and the next"):
            load(f"npz:{file}", **settings)
    (folder,) = (disk / "dam_tf_cache").glob(".*.unfinished")
    done = json.loads((folder / "progress.json").read_text())["filled"]["train"]
    assert 0 < sum(done) < 3000
    enlarge()
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


def test_failure_while_reading_passes_through(npz, load, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("while reading")

    monkeypatch.setattr("dam_tf.data.sources.arrays._resized", fail)
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
