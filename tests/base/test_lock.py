"""One process at a time writes to a folder; a killed one frees it.

The other process imports no TensorFlow, so it starts at once.
"""

import errno
import fcntl
import os
import pathlib
import subprocess
import sys

import pytest

from dam_tf.base.errors import UserError
from dam_tf.base.lock import LOCK, check_free, held
from dam_tf.base.output import check_output
from dam_tf.base.trials import Trials, check_folder

HOLDER = """
import pathlib, sys
from dam_tf.base.lock import held
with held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock of the folder `run`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run")],
        cwd=pathlib.Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_whoever_comes_second_is_told_who_was_first(tmp_path, other):
    folder = tmp_path / "run"
    (folder / "settings.json").write_text("{}")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    asking = (
        lambda: held(folder).__enter__(),
        lambda: check_free(folder),
        lambda: check_output(folder, "a run", lambda: True, True, False),
        lambda: check_output(folder, "a run", lambda: True, False, True),
        lambda: check_folder(folder, None, True, False),
        lambda: Trials(folder, {}, overwrite=True),
    )
    for ask in asking:
        with pytest.raises(UserError) as raised:
            ask()
        assert str(raised.value).startswith(
            f"output folder {folder} is in use: process {other.pid} on "
        )
        assert "\n" not in str(raised.value)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_kill_frees_the_folder_and_blocks_nobody(tmp_path, other):
    folder = tmp_path / "run"
    other.kill()
    other.wait()
    assert (folder / LOCK).exists(), "nobody could remove it"
    assert not check_output(folder, "a run", lambda: False, False, False)
    (folder / ".config-ab012cd8.part.toml").touch()  # the first file, half written
    assert not check_output(folder, "a run", lambda: False, True, False)
    with held(folder):
        (folder / "config.toml").touch()
    assert not (folder / LOCK).exists()


def test_the_folder_is_free_after_the_end(tmp_path, other):
    other.communicate("")
    assert not (tmp_path / "run").exists(), "it was made for the lock alone"
    with held(tmp_path / "run"):
        pass


def test_other_hidden_files_are_still_somebody_s(tmp_path):
    (tmp_path / ".git").mkdir()
    with pytest.raises(UserError, match="holds files that are not of a run"):
        check_output(tmp_path, "a run", lambda: False, False, True)


def test_one_process_cannot_hold_it_twice(tmp_path):
    folder = tmp_path / "new" / "run"
    with held(folder):
        check_free(folder)  # it is ours
        with pytest.raises(UserError, match=f"process {os.getpid()} on"):
            held(folder).__enter__()
        check_free(folder)
    assert not (tmp_path / "new").exists()


def test_what_the_block_writes_stays_and_its_error_is_seen(tmp_path):
    with pytest.raises(ZeroDivisionError), held(tmp_path / "run"):
        (tmp_path / "run" / "config.toml").touch()
        raise ZeroDivisionError
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.toml"]


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", refuse)
    message = r"cannot be written to \(Read-only file system\); choose another with"
    with pytest.raises(UserError, match=message):
        held(tmp_path / "run").__enter__()
    assert not (tmp_path / "run").exists()


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with held(tmp_path):
        check_free(tmp_path)
    assert "lies on a file system without locks (No locks available)" in caplog.text


def test_a_study_is_looked_at_again_once_it_is_locked(tmp_path):
    """Another process may have begun it, or gone on with it, meanwhile."""
    new, resumed = Trials(tmp_path, {}), Trials(tmp_path, {}, resume=True)
    Trials(tmp_path, {}).run([1], lambda key: {}, "Testing")
    with resumed:
        assert 1 in resumed
    with pytest.raises(UserError, match="holds another study"):
        new.__enter__()
    assert not (tmp_path / LOCK).exists()
