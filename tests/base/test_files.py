import fcntl
import os
import stat

import pytest

from dam_tf.base import files
from dam_tf.base.files import atomic_file, atomic_folder


class Killed(BaseException):
    """Stands for the end of the process."""


def full_disk(*args, **kwargs):
    raise OSError(28, "No space left on device")


def kill(*args, **kwargs):
    raise Killed


def write_file(path, text):
    with atomic_file(path) as temporary:
        temporary.write_text(text)


def write_folder(path, text):
    with atomic_folder(path) as temporary:
        (temporary / "inner").mkdir()
        (temporary / "inner" / "file.txt").write_text(text)


def read(path):
    return (path / "inner" / "file.txt" if path.is_dir() else path).read_text()


writers = pytest.mark.parametrize("write", [write_file, write_folder])


@writers
def test_writes_and_replaces(write, tmp_path):
    path = tmp_path / "made" / "on the way" / "result.txt"
    for text in ("first", "second"):
        write(path, text)
        assert read(path) == text
        assert os.listdir(path.parent) == ["result.txt"]


@writers
def test_nothing_is_seen_before_the_end(write, tmp_path):
    path = tmp_path / "result"
    writing = atomic_file if write is write_file else atomic_folder
    with writing(path) as temporary:
        assert temporary.parent == path.parent
        assert not path.exists()
        if write is write_file:
            temporary.write_text("done")
    assert path.exists()


@writers
def test_an_exception_leaves_the_old_one_and_nothing_else(write, tmp_path):
    path = tmp_path / "result"
    write(path, "old")
    writing = atomic_file if write is write_file else atomic_folder
    with pytest.raises(ZeroDivisionError), writing(path) as temporary:
        if write is write_file:
            temporary.write_text("half")
        else:
            (temporary / "half").write_text("half")
        raise ZeroDivisionError
    assert read(path) == "old"
    assert os.listdir(tmp_path) == ["result"]


@writers
@pytest.mark.parametrize("function", ["fsync", "replace", "rename"])
def test_a_full_disk_leaves_the_old_one_and_nothing_else(
    write, function, tmp_path, monkeypatch
):
    path = tmp_path / "result"
    write(path, "old")
    with monkeypatch.context() as patch:
        patch.setattr(files.os, function, full_disk)
        # In the way that has more steps: without the exchange that Linux has.
        patch.setattr(files.ctypes, "CDLL", lambda name: object())
        needed = {write_file: {"fsync", "replace"}}
        if function in needed.get(write, {"fsync", "rename"}):
            with pytest.raises(OSError, match="No space left"):
                write(path, "new")
            assert read(path) == "old"
        else:
            write(path, "new")
    assert os.listdir(tmp_path) == ["result"]


@writers
def test_a_kill_before_the_last_step_leaves_the_old_one(write, tmp_path, monkeypatch):
    path = tmp_path / "result"
    write(path, "old")
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", kill)
        patch.setattr(files, "_exchange", kill)
        with pytest.raises(Killed):
            write(path, "new")
    assert read(path) == "old"
    write(path, "new")
    assert read(path) == "new"


@pytest.mark.parametrize("linux", [True, False])
def test_folders_are_exchanged_with_and_without_the_help_of_linux(
    linux, tmp_path, monkeypatch
):
    if not linux:
        monkeypatch.setattr(files.ctypes, "CDLL", lambda name: object())
    path = tmp_path / "résultats with spaces"
    write_folder(path, "old")
    with atomic_folder(path) as temporary:
        (temporary / "other").write_text("new")
    assert os.listdir(path) == ["other"]
    assert os.listdir(tmp_path) == [path.name]


def test_a_failed_exchange_brings_the_old_folder_back(tmp_path, monkeypatch):
    monkeypatch.setattr(files.ctypes, "CDLL", lambda name: object())
    path = tmp_path / "result"
    write_folder(path, "old")
    rename, calls = os.rename, []

    def second_fails(source, target):
        calls.append(source)
        return full_disk() if len(calls) == 2 else rename(source, target)

    monkeypatch.setattr(files.os, "rename", second_fails)
    with pytest.raises(OSError, match="No space left"):
        write_folder(path, "new")
    assert read(path) == "old"
    assert os.listdir(tmp_path) == ["result"]


@writers
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_any_new_file(write, mask, tmp_path, monkeypatch):
    """And nobody changes the umask, which all threads of the process share."""
    before = os.umask(mask)
    try:
        any_new = tmp_path / "any"
        any_new.touch() if write is write_file else any_new.mkdir()
        with monkeypatch.context() as patch:
            patch.setattr(os, "umask", kill)
            write(tmp_path / "result", "text")
    finally:
        assert os.umask(before) == mask
    plain, ours = (os.stat(tmp_path / name).st_mode for name in ("any", "result"))
    assert stat.filemode(ours) == stat.filemode(plain)


@writers
def test_a_name_as_long_as_the_system_allows(write, tmp_path):
    path = tmp_path / ("é" * 125 + ".png")
    write(path, "text")
    assert os.listdir(tmp_path) == [path.name]


def test_a_temporary_name_that_is_taken_is_left_alone(tmp_path, monkeypatch):
    tokens = iter(["taken", "free"])
    monkeypatch.setattr(files.secrets, "token_hex", lambda size: next(tokens))
    (tmp_path / ".result-taken.part").write_text("of another process")
    write_file(tmp_path / "result", "text")
    assert sorted(os.listdir(tmp_path)) == [".result-taken.part", "result"]
    assert (tmp_path / ".result-taken.part").read_text() == "of another process"


@writers
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_kill_has_left_is_removed_unless_somebody_writes_it(
    write, kind, tmp_path
):
    for name in (".result-00000001.part", ".result-00000002.part"):
        if kind == "folder":
            (tmp_path / name / "inner").mkdir(parents=True)
        else:
            (tmp_path / name).write_text("half")
    (tmp_path / ".result-20240101").write_text("a copy that somebody keeps")
    descriptor = os.open(tmp_path / ".result-00000002.part", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    write(tmp_path / "result", "text")
    kept = [".result-00000002.part", ".result-20240101", "result"]
    assert sorted(os.listdir(tmp_path)) == kept
    os.close(descriptor)  # as the system does when that process ends
    write(tmp_path / "result", "text")
    assert sorted(os.listdir(tmp_path)) == kept[1:]


@writers
def test_two_at_once_leave_each_other_alone(write, tmp_path):
    path = tmp_path / "result"
    writing = atomic_file if write is write_file else atomic_folder
    with writing(path) as temporary:
        write(path, "second")
        assert temporary.exists()
        if write is write_folder:
            (temporary / "inner").mkdir()
            temporary = temporary / "inner" / "file.txt"
        temporary.write_text("first")
    assert read(path) == "first"
    assert os.listdir(tmp_path) == ["result"]


def test_works_on_relative_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_file("file", "text")
    for text in ("old", "new"):
        write_folder("folder", text)
    assert read(tmp_path / "file") == "text"
    assert read(tmp_path / "folder") == "new"


def test_the_temporary_name_keeps_the_suffix(tmp_path):
    with atomic_file(tmp_path / "weights.weights.h5") as temporary:
        assert temporary.name.endswith(".h5")
        temporary.write_text("")
