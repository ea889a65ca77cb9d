"""One writer a folder: a lock that whoever writes a run or a study holds meanwhile.

The kernel frees it when its process ends, however that ends, so nothing need be removed
by hand after a kill. The file `.lock` is there only while a folder is written, or after
a kill; it says who holds it.
"""

import contextlib
import datetime
import fcntl
import os
import pathlib
import socket
from collections.abc import Iterator

from dam_tf.base.errors import UserError
from dam_tf.base.messages import log

LOCK = ".lock"


class InUse(UserError):
    """Another process, or another thread of this one, writes to the folder."""


@contextlib.contextmanager
def held(folder: pathlib.Path, flag: str = "--output_dir") -> Iterator[None]:
    """Holds the lock of a folder, which is made if missing, while the block runs.

    What was made for the lock is removed at the end, unless the block has written
    something into it. A file system without locks is used without one, and that is
    said.

    Args:
        folder: What the block writes to.
        flag: The flag that names it, for messages.

    Raises:
        UserError: as `InUse`, others write to it; or nothing can be written there.

    Example:
        >>> import tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp()) / "run"
        >>> with held(folder), held(folder):
        ...     pass
        Traceback (most recent call last):
        dam_tf.base.lock.InUse: output folder ... is in use: process ...
        >>> folder.exists()
        False
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = _taken(folder, flag)
        except OSError as error:
            raise UserError(
                f"output folder {folder} cannot be written to ({error.strerror}); "
                f"choose another with {flag}, or make it writable"
            ) from None
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                (folder / LOCK).unlink()
            os.close(file)
    finally:
        with contextlib.suppress(OSError):  # something lies there now
            for path in made:
                path.rmdir()


def check_free(folder: pathlib.Path, flag: str = "--output_dir") -> None:
    """Raises a `UserError` where another process writes to `folder` now.

    Nothing is changed there.
    """
    try:
        file = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:  # nobody does, or nobody can look
        return
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        if (holder := _text(file)).partition(" since ")[0] != _who():
            raise _in_use(folder, holder, flag) from None
    except OSError:  # without locks
        pass
    finally:
        os.close(file)


def _taken(folder: pathlib.Path, flag: str) -> int:
    """Returns the descriptor of the lock file, which is ours until it is closed."""
    while True:
        file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _in_use(folder, _text(file), flag) from None
            except OSError as error:
                log.warning(
                    "%s lies on a file system without locks (%s): see that no other "
                    "run writes to it.",
                    folder,
                    error.strerror,
                )
            with contextlib.suppress(FileNotFoundError):
                # Whoever held it before may have removed the file that we have opened.
                if os.path.samestat(os.fstat(file), os.stat(folder / LOCK)):
                    now = datetime.datetime.now().isoformat(" ", "seconds")
                    os.ftruncate(file, 0)
                    os.pwrite(file, f"{_who()} since {now}".encode(), 0)
                    return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _who() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _text(file: int) -> str:
    return os.pread(file, 300, 0).decode(errors="replace")


def _in_use(folder: pathlib.Path, holder: str, flag: str) -> InUse:
    holder = " ".join(holder.split()) or "another process"
    return InUse(
        f"output folder {folder} is in use: {holder} writes to it; wait for it, stop "
        f"it, or choose another with {flag}"
    )
