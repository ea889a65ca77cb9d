"""The program `dam_tf`: finds a command, runs it, and turns errors into one line.

Exit status 2 means that something given cannot be used (one line says what), 3 that
another worker of the job is gone, 130 or 143 that Ctrl-C or SIGTERM stopped the
command.
"""

import errno
import faulthandler
import importlib
import os
import pathlib
import re
import signal
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import NoReturn

from absl import logging

from dam_tf.base import messages
from dam_tf.base.errors import UserError, WorkerLost, choice_error
from dam_tf.base.noise import without_noise
from dam_tf.commands import COMMANDS

WORKER_LOST = 3  # exit status

_DISK_TROUBLES = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EROFS,
    errno.EIO,
    errno.EISDIR,  # of a file that somebody has replaced by a folder
    errno.ENOTDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
)
_LONGEST = 400  # letters of a word in a message
_HELP = {"-h", "-help", "--help", "--helpfull", "--helpshort"}


def main() -> NoReturn:
    """Runs the command that the program's first argument names."""
    sys.argv[0] = "dam_tf"
    name, *words = sys.argv[1:] or ["--help"]
    if name in _HELP:
        leave(_show_commands)
    if name not in COMMANDS:
        complain(str(choice_error("command", name, COMMANDS)))
        sys.exit(2)
    sys.argv[:] = [f"dam_tf {name}", *words]
    leave(lambda: run(name, words))


def tool(file: str) -> NoReturn:
    """Runs the command that a file of tools/ is named after."""
    leave(lambda: run(pathlib.Path(file).stem, sys.argv[1:]))


def leave(run: Callable[[], int]) -> NoReturn:
    """Ends the process with the exit status that `run` returns."""
    faulthandler.enable()
    # A name that the terminal's encoding lacks is shown with its codes.
    sys.stdout.reconfigure(errors="backslashreplace")
    logging.use_absl_handler()  # TensorFlow then prints through absl, or not at all
    try:
        status = run()
        sys.stdout.flush()
    except BrokenPipeError:  # who reads, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 128 + signal.SIGPIPE
    sys.exit(status)


def run(name: str, words: Sequence[str]) -> int:
    """Runs one command in this process, as often as you like.

    Args:
        name: One of `COMMANDS`.
        words: Its arguments.

    Returns:
        The exit status. What users did wrong has been printed as one line; mistakes of
        ours are raised.
    """
    command = importlib.import_module(f"dam_tf.commands.{name}")
    if _HELP & set(words):
        print(_help(name, command))
        return 0

    def parse_and_run() -> None:
        command.OPTIONS.parse(words)
        command.main()

    return status_of(parse_and_run)


def status_of(work: Callable[[], None]) -> int:
    """Does `work`, prints its errors as one line, and returns the exit status."""
    messages.show()
    logging.set_verbosity(logging.ERROR)  # TensorFlow's and Keras', not ours
    try:
        work()
        return 0
    except UserError as error:
        complain(str(error))
        return 2
    except WorkerLost as error:
        complain(str(error))
        return WORKER_LOST
    except KeyboardInterrupt:
        complain("stopped by Ctrl-C")
        return 130
    except Exception as error:
        if (number := getattr(error, "signal_number", None)) is not None:
            complain(str(error))
            return 128 + number
        if (reason := disk_trouble(error)) is None:
            raise
        complain(f"{reason}; what was written before is whole")
        return 2


def complain(text: str) -> None:
    """Prints an error as one line, after the name of the program."""
    name = pathlib.Path(sys.argv[0]).name
    words = (word if len(word) <= _LONGEST else _cut(word) for word in text.split())
    messages.print_above(f"{name}: {' '.join(words)}")


def _cut(word: str) -> str:
    """A word that fits a line: a damaged file may hold, and so say, anything."""
    half = _LONGEST // 2
    return f"{word[:half]}...({len(word):,} letters)...{word[-half:]}"


def disk_trouble(error: Exception) -> str | None:
    """Returns what is wrong with the disk or with a path, if `error` says that.

    TensorFlow has errors of its own for files, with the system's words in them.
    """
    for number in _DISK_TROUBLES:
        words = os.strerror(number)
        if isinstance(error, OSError) and error.errno == number:
            return f"{words} ({error.filename})" if error.filename else words
        if words in str(error):
            # Without TensorFlow's names of what it ran.
            line = str(error).splitlines()[0]
            return re.sub(r"\{\{.*?\}\} | \[Op:\w+\]", "", line)
    return None


def import_tensorflow(set_up: Callable[[], object] | None = None) -> None:
    """Imports TensorFlow as the commands want it: on our allocator, and quietly.

    The BFC allocator keeps large buffers instead of handing them back to the
    system after each operation; without it a step on a CPU takes twice as long.

    Args:
        set_up: What is to run first of all; left out, TensorFlow looks for devices.
    """
    set_environment()
    with without_noise():
        import tensorflow as tf

        (set_up or tf.config.list_logical_devices)()


def set_environment() -> None:
    """Sets what TensorFlow reads when it is imported, here or in a new process."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def _show_commands() -> int:
    width = max(map(len, COMMANDS))
    print("Usage: python -m dam_tf COMMAND [--flag=value ...]\n")
    for name in COMMANDS:
        command = importlib.import_module(f"dam_tf.commands.{name}")
        print(f"  {name:{width}}  {command.__doc__.splitlines()[0]}")
    print("\npython -m dam_tf COMMAND --help says what a command takes.")
    return 0


def _help(name: str, command: ModuleType) -> str:
    """Returns the help of a command, whose examples are typed as it was."""
    text = command.__doc__
    if sys.argv[0].endswith(f"{name}.py"):
        text = text.replace(f"python -m dam_tf {name}", f"python {sys.argv[0]}")
    return f"{text}\n{command.OPTIONS.help()}"
