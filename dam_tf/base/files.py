"""Writing files so that a kill at any moment leaves the old one or the new one.

Everything that a run leaves behind goes through these functions. What is being written
lies beside it, hidden and locked. A kill frees the lock, and whoever writes the same
file or folder next removes what nobody holds.
"""

import contextlib
import ctypes
import fcntl
import os
import pathlib
import re
import secrets
import shutil
from collections.abc import Callable, Iterator

_LONGEST = 200  # bytes of a name that a temporary one keeps; file systems allow 255
_PART = ".part"  # in the name of what is being written
_ATTEMPTS = 100  # names that are tried; each is free but for a chance of 1 in 2^32


def is_leftover(name: str) -> bool:
    """Whether something of this name is being written, or was until a kill.

    Example:
        >>> is_leftover(".config-0123abcd.part.toml"), is_leftover(".config.toml")
        (True, False)
    """
    return bool(re.fullmatch(rf"\..*-[0-9a-f]{{8}}{re.escape(_PART)}(\.[^.]*)?", name))


def file_name(text: str) -> str:
    """Returns a text, such as a title, as the name of a file or a part of one.

    Example:
        >>> file_name("folder:my pictures/2024")
        'folder-my-pictures-2024'
    """
    return re.sub(r"[^\w.-]+", "-", text).strip("-.") or "run"


@contextlib.contextmanager
def atomic_file(path: os.PathLike | str) -> Iterator[pathlib.Path]:
    """Yields a temporary path that replaces `path` when the block succeeds.

    The temporary file lies in the folder of `path` (made if missing) and is
    removed when the block raises, so a full disk leaves the old file intact. One that a
    kill has left is removed by the next call.

    Example:
        >>> import tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> with atomic_file(folder / "note.txt") as temporary:
        ...     _ = temporary.write_text("done")
        >>> (folder / "note.txt").read_text()
        'done'
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _beside(path, lambda name: name.touch(exist_ok=False)) as temporary:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)


@contextlib.contextmanager
def atomic_folder(path: os.PathLike | str) -> Iterator[pathlib.Path]:
    """Yields a temporary folder that becomes `path` when the block succeeds.

    A folder that is already there is exchanged for the new one, whole. The
    temporary folder is removed when the block raises, and one that a kill has left by
    the next call.

    Example:
        >>> import tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp()) / "results"
        >>> for text in ("old", "new"):
        ...     with atomic_folder(folder) as temporary:
        ...         _ = (temporary / "note.txt").write_text(text)
        >>> (folder / "note.txt").read_text()
        'new'
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _beside(path, pathlib.Path.mkdir) as temporary:
        yield temporary
        publish_folder(temporary, path)


def publish_folder(temporary: pathlib.Path, path: pathlib.Path) -> None:
    """Makes a finished folder `path`; what was there lies at `temporary` then.

    Args:
        temporary: The folder, in the same parent folder as `path`.
        path: Its name from now on.

    Example:
        >>> import tempfile
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> (root / "unfinished").mkdir()
        >>> publish_folder(root / "unfinished", root / "finished")
        >>> [file.name for file in root.iterdir()]
        ['finished']
    """
    for file in (temporary, *temporary.rglob("*")):
        _sync(file)
    if path.exists():
        _exchange(temporary, path)
    else:
        os.rename(temporary, path)
    _sync(path.parent)


def _exchange(first: pathlib.Path, second: pathlib.Path) -> None:
    """Exchanges two folders: Linux does it in one step, POSIX needs three.

    In three steps, a kill may leave `second` missing for a moment; the folders
    themselves stay whole.
    """
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of the C library
    paths = os.fsencode(first.absolute()), os.fsencode(second.absolute())
    if renameat2 and renameat2(here, paths[0], here, paths[1], exchange) == 0:
        return
    aside = first.with_name(f"{first.name}-aside")
    os.rename(second, aside)
    try:
        os.rename(first, second)
    except BaseException:
        os.rename(aside, second)
        raise
    os.rename(aside, first)


def _sync(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _beside(
    path: pathlib.Path, make: Callable[[pathlib.Path], None]
) -> Iterator[pathlib.Path]:
    """Yields something new beside `path`, hidden, with the same ending, and locked.

    In the end it is removed, unless it lies elsewhere by then.

    It is made as any new file or folder is, so the system itself gives it the
    permissions that the umask and the folder's default ACL ask for. (`tempfile` makes
    files for their owner alone, and the umask can only be read by changing it, for all
    threads at once.)
    """
    stem = os.fsencode(path.stem)[:_LONGEST].decode(errors="ignore")
    before, after = f".{stem}-", f"{_PART}{path.suffix}"
    ours = re.compile(re.escape(before) + "[0-9a-f]{8}" + re.escape(after))
    for name in os.listdir(path.parent):
        if ours.fullmatch(name):
            _remove_unless_held(path.with_name(name))
    for _ in range(_ATTEMPTS):
        name = path.with_name(f"{before}{secrets.token_hex(4)}{after}")
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            make(name)
            descriptor = os.open(name, os.O_RDONLY)
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if name.exists():  # nobody took it for a leftover before it was locked
                break
            os.close(descriptor)
    else:
        raise FileExistsError(f"no free name beside {path}")
    try:
        yield name
    finally:
        os.close(descriptor)
        _remove(name)


def _remove_unless_held(leftover: pathlib.Path) -> None:
    """Removes what a writer has left, if that writer is no more."""
    with contextlib.suppress(OSError):  # held, gone by now, or not ours to remove
        descriptor = os.open(leftover, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(leftover)
        finally:
            os.close(descriptor)


def _remove(path: pathlib.Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
