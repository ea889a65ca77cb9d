"""A process that has imported everything, and forks a child for each trial.

Importing TensorFlow takes seconds, a tiny run one. So the parent imports all that
commands use, runs nothing of TensorFlow, and each child begins there. The children are
what faults happen to; the parent only forks, kills and looks at files.
"""

import dataclasses
import faulthandler
import importlib
import os
import pathlib
import pkgutil
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence

import dam_tf
from dam_tf.commands import COMMANDS, program

CRASHED = 70  # exit status of a child that ended with a traceback


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        status: Its exit status, or minus the signal that ended it.
        output: What it printed.
        errors: What it printed on standard error.
        seconds: How long it lived.
        hung: Whether it was killed because it did not end.
    """

    status: int
    output: str
    errors: str
    seconds: float
    hung: bool = False

    @property
    def complaint(self) -> str:
        """The line that says what was wrong, or else the last on standard error."""
        lines = [line.strip() for line in self.errors.splitlines() if line.strip()]
        told = [line for line in lines if line.startswith("dam_tf: ")]
        return (told or lines or [""])[-1]


def import_everything() -> None:
    """Imports all of dam_tf and what it uses; nothing of TensorFlow runs."""
    program.set_environment()
    program.import_tensorflow(lambda: None)
    for name in COMMANDS:
        importlib.import_module(f"dam_tf.commands.{name}")
    for module in pkgutil.walk_packages(dam_tf.__path__, "dam_tf."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("sklearn.datasets", "tensorflow_datasets", "PIL.Image"):
        importlib.import_module(name)
    from PIL import Image

    Image.init()  # its formats are plug-ins


def fork(
    work: Callable[[], int],
    folder: pathlib.Path,
    patience: float = 60.0,
    signals: Sequence[tuple[float, int]] = (),
) -> Ended:
    """Runs `work` in a child whose current folder is `folder`, and waits for it.

    Args:
        work: Returns the exit status. A traceback of its own becomes `CRASHED`.
        folder: Must exist.
        patience: Seconds after which the child hangs and is killed.
        signals: Seconds after the start, and the signal that the child then gets.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pipes = [os.pipe(), os.pipe()]
    start = time.monotonic()
    if not (child := os.fork()):
        _live(work, folder, [pipe[1] for pipe in pipes])
    for _, writer in pipes:
        os.close(writer)
    readers = [reader for reader, _ in pipes]
    said = {reader: bytearray() for reader in readers}
    events = sorted([*signals, (patience, signal.SIGKILL)])
    hung, unread = False, set(readers)
    while unread:
        wait = None if not events else max(0.0, start + events[0][0] - time.monotonic())
        ready, _, _ = select.select(list(unread), [], [], wait)
        if not ready and events:
            _, number = events.pop(0)
            hung = not events
            os.kill(child, number)  # it is not waited for yet, so it is ours still
        for reader in ready:
            if not (part := os.read(reader, 1 << 16)):
                unread.discard(reader)
            said[reader] += part
    _, status = os.waitpid(child, 0)
    for reader in readers:
        os.close(reader)
    texts = [said[reader].decode(errors="replace") for reader in readers]
    seconds = time.monotonic() - start
    return Ended(os.waitstatus_to_exitcode(status), *texts, seconds, hung)


def _live(work: Callable[[], int], folder: pathlib.Path, writers: list[int]) -> None:
    """What a child does; it never returns."""
    status = CRASHED
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # until the command begins
        for number, writer in zip((1, 2), writers, strict=True):
            os.dup2(writer, number)
        faulthandler.enable()
        warnings.simplefilter("ignore")  # that functions run eagerly
        sys.argv = ["dam_tf"]
        os.chdir(folder)
        _start_tensorflow()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        status = work()
    except BaseException:
        traceback.print_exc()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _start_tensorflow() -> None:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.run_functions_eagerly(True)  # compiling takes longer than running


def command(name: str, words: Sequence[str]) -> int:
    """Runs a command in a child, as `dam_tf NAME WORDS`."""
    return program.run(name, words)
