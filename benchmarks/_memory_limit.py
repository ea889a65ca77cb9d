"""Limits the memory of a command that a benchmark starts, page cache included."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def limited(limit: int) -> Iterator[tuple[list[str], str]]:
    """Yields what to put before a command to limit its memory, and what that is.

    A control group counts the pages of files too. Where none can be made, nothing is
    put before it.

    Args:
        limit: Bytes.
    """
    if pathlib.Path("/run/systemd/system").is_dir() and shutil.which("systemd-run"):
        user = [] if os.geteuid() == 0 else ["--user"]
        scope = ["systemd-run", *user, "--scope", "--quiet"]
        scope += [f"--property=MemoryMax={limit}", "--property=MemorySwapMax=0"]
        if not subprocess.run([*scope, "true"], capture_output=True).returncode:
            yield scope, "a systemd scope (control group 2), page cache included"
            return
    group = _own_group()
    if group is not None:
        group = group / f"dam_tf_{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            group = None
    if group is None:
        yield [], ""
        return
    try:
        (group / "memory.limit_in_bytes").write_text(str(limit))
        enter = f'echo $$ > "{group}/cgroup.procs" && exec "$@"'
        words = "a control group (version 1), page cache included"
        previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        try:  # so that the group is removed
            yield ["sh", "-c", enter, "sh"], words
        finally:
            signal.signal(signal.SIGTERM, previous)
        peak = int((group / "memory.max_usage_in_bytes").read_text())
        print(f"the control group held at most {peak / 1e6:,.0f} MB", flush=True)
    finally:
        group.rmdir()


def _own_group() -> pathlib.Path | None:
    """Returns the control group, version 1, that counts this process' memory."""
    try:
        lines = pathlib.Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            group = pathlib.Path("/sys/fs/cgroup/memory") / path.lstrip("/")
            return group if group.is_dir() else None
    return None
