"""What is done to a child: killed at an operation or a byte, denied space or writing.

These functions run in the child, before the command does.
"""

import ctypes
import errno
import os
import pathlib
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable

_NEW_MOUNTS = 0x00020000  # CLONE_NEWNS of Linux
_CHANGES = {  # audit events of operations that change the disk
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "os.utime",
    "fcntl.flock",
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def at_operation(number: int, act: Callable[[], None]) -> Callable[[], int]:
    """Calls `act` before the operation on files that has this number, from 1.

    Operations are those that change the disk, and opening for writing. What a library
    in C++ does is not seen.

    Returns:
        A function that says how many there have been.
    """
    count = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal count
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & _WRITING:
                return
            if isinstance(path, str) and path.startswith(("/dev/", "/proc/")):
                return
        elif event not in _CHANGES:
            return
        count += 1
        if count == number:
            act()

    sys.addaudithook(hook)
    return lambda: count


def kill_me() -> None:
    """Ends this process as the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at_byte(size: int) -> None:
    """Kills this process when it writes byte number `size` of any file."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def jump_clock(jumps: list[float]) -> None:
    """Makes `time.time` jump by one of these seconds at every call, in turn."""
    real, count = time.time, 0

    def jumping() -> float:
        nonlocal count
        count += 1
        return real() + jumps[count % len(jumps)]

    time.time = jumping
    time.time_ns = lambda: int(jumping() * 1e9)


def own_mounts() -> bool:
    """Gives this process mounts of its own, which go with it; False where it may not.

    It takes root on Linux; without it, full disks and read-only folders are left out.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "unshare") or libc.unshare(_NEW_MOUNTS):
        return False
    return not _mount("--make-rprivate", "/")


def read_only(folder: pathlib.Path) -> None:
    """Makes a folder read-only for this process and its children."""
    own_mounts()
    if _mount("--bind", folder, folder) or _mount("-o", "remount,bind,ro", folder):
        raise OSError(errno.EPERM, "cannot mount")
    os.chdir(folder)  # by the new mount


class SmallDisk:
    """A disk of its own on a folder, of so many KiB until `grow`."""

    def __init__(self, folder: pathlib.Path, kibibytes: int):
        self._folder = folder
        size = f"size={kibibytes}k"
        if _mount("-t", "tmpfs", "-o", size, "tmpfs", folder):
            raise OSError(errno.EPERM, "cannot mount")

    def grow(self) -> None:
        """Makes space."""
        _mount("-o", "remount,size=256m", self._folder)

    def close(self) -> None:
        """Removes the disk and what is on it."""
        subprocess.run(["umount", "-l", os.fspath(self._folder)], check=False)


def _mount(*words: object) -> int:
    command = ["mount", *map(str, words)]
    return subprocess.run(command, capture_output=True, check=False).returncode
