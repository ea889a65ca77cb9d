"""Work in a process of its own: what it takes, and what breaks it, is its own alone.

The process that asks imports no TensorFlow for it, so it takes no GPU memory.
"""

import contextlib
import importlib
import multiprocessing
import os
import pathlib
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from typing import Any

from dam_tf.base.errors import UserError
from dam_tf.base.interruption import Interrupted, StopRequest
from dam_tf.base.noise import without_noise

_LOOK_EVERY = 0.2  # seconds, for a wish to stop
_SHOW_EVERY = 0.3  # seconds, what a process prints
_LAST_WORDS = 5000  # characters of what a process has printed, in an error
_OUT_OF_MEMORY = "out of memory"

# A process that is forked would share the parent's memory and what TensorFlow holds.
_PROCESSES = multiprocessing.get_context("spawn")


class OutOfMemory(Exception):
    """Memory ran out, or the system stopped the process, as it does then."""


def apart(
    module: str,
    function: str,
    arguments: tuple = (),
    on_progress: Callable[[Any], Any] | None = None,
    *,
    stop: StopRequest | None = None,
    environment: Mapping[str, str] | None = None,
    log: os.PathLike | str | None = None,
) -> Any:
    """Calls a function in a new process, and returns what it returns.

    As the process begins by importing the program that started it, a script comes here
    below `if __name__ == "__main__":`. Signals of a terminal do not reach it: it ends
    with its parent, and stops where `stop` says so.

    Args:
        module: Where the function is; imported in the new process alone. Its
            `OUT_OF_MEMORY`, exceptions, says that memory ran out.
        function: Its name.
        arguments: What it is called with.
        on_progress: Called here with what the function gives to its last argument,
            which it has only then.
        stop: Looked at meanwhile: its signal is handed on to the process, once.
        environment: Variables that the new process has besides.
        log: File that gets what the process prints; it is lost if left out.

    Raises:
        UserError: as the function raised it.
        Interrupted: as the function raised it, or it ended by the signal of `stop`.
        OutOfMemory: memory ran out.
        RuntimeError: the process failed otherwise; with what it printed at last.

    Example:
        >>> apart("os.path", "join", ("a", "b"))
        'a/b'
    """
    receiver, sender = _PROCESSES.Pipe(duplex=False)
    with contextlib.ExitStack() as stack:
        if log is None:
            log = stack.enter_context(tempfile.NamedTemporaryFile()).name
        begun = pathlib.Path(log).stat().st_size if os.path.exists(log) else 0
        call = (module, function, arguments, on_progress is not None)
        process = _PROCESSES.Process(
            target=_answer, args=(call, sender, os.fspath(log), dict(environment or {}))
        )
        process.start()
        sender.close()
        try:
            kind, value = _listen(receiver, process, on_progress, stop)
            process.join()  # before it may be killed: its exit code tells why
        finally:
            process.kill()
            process.join()
            receiver.close()
        words = pathlib.Path(log).read_bytes()[begun:].decode(errors="replace")
    if kind == "result":
        return value
    if kind == "error":
        raise value
    if kind == "stopped":
        raise Interrupted(*value)
    if stop and stop.signal_number is not None:
        raise Interrupted("stopped", stop.signal_number)
    if kind == "memory" or "bad_alloc" in words:
        raise OutOfMemory(_OUT_OF_MEMORY)
    if process.exitcode == -signal.SIGKILL:
        raise OutOfMemory("killed by the system, as when memory runs out")
    raise RuntimeError(f"the process failed:\n{words[-_LAST_WORDS:]}")


def _listen(receiver, process, on_progress, stop) -> tuple[str, Any]:
    """Returns the last that the process said; hands a wish to stop on to it."""
    kind, value, told = "nothing", None, False
    with contextlib.suppress(EOFError):  # the process has ended
        while True:
            if stop is not None and not told:
                if stop.signal_number is not None:
                    os.kill(process.pid, stop.signal_number)
                    told = True
                if not receiver.poll(_LOOK_EVERY):
                    continue
            kind, value = receiver.recv()
            if kind == "progress":
                on_progress(value)
    return kind, value


def _answer(
    call: tuple[str, str, tuple, bool],
    sender: Connection,
    log: str,
    environment: Mapping[str, str],
) -> None:
    """What the new process does; whatever is printed there goes into file `log`."""
    os.setpgid(0, 0)  # what is typed at the terminal is the parent's alone
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    printed = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    os.environ.update(environment)
    module, function, arguments, tells = call
    with without_noise():
        found = importlib.import_module(module)
    if tells:
        arguments = (*arguments, lambda done: sender.send(("progress", done)))
    try:
        answer = "result", getattr(found, function)(*arguments)
    except UserError as error:
        answer = "error", error
    except Interrupted as error:
        answer = "stopped", (str(error), error.signal_number)
    except getattr(found, "OUT_OF_MEMORY", MemoryError):
        answer = "memory", None
    sender.send(answer)


def _end_with(parent: int) -> None:
    """Stops this process, as SIGTERM does, where its parent is gone."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def shown(file: pathlib.Path) -> Iterator[None]:
    """Prints what is appended to a file, such as the `log` of `apart`, meanwhile."""
    ended = threading.Event()
    file.parent.mkdir(parents=True, exist_ok=True)

    def follow() -> None:
        with open(file, "ab+") as lines:
            lines.seek(0, os.SEEK_END)
            last = False
            while not last:
                last = ended.wait(_SHOW_EVERY)
                sys.stderr.write(lines.read().decode(errors="replace"))
                sys.stderr.flush()

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
