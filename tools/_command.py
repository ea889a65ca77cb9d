"""What every tool shares: quiet start, readable errors, exit statuses.

Exit status 2 means that something given cannot be used (one line says what), 3 that
another worker of the job is gone, 130 or 143 that Ctrl-C or SIGTERM stopped the tool.
"""

import dataclasses
import errno
import importlib
import os
import pathlib
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence

# Python looks in tools/ first, where select.py would stand in for the module of the
# standard library.
_tools = sys.path.pop(0)
importlib.import_module("select")
sys.path.insert(0, _tools)

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
# Tools run from a checkout, installed or not.
sys.path.insert(0, str(REPOSITORY))

from absl import app, flags, logging  # noqa: E402

from dam_tf.base import messages  # noqa: E402
from dam_tf.base.errors import UserError, WorkerLost, choice_error  # noqa: E402

WORKER_LOST = 3  # exit status


def run(main: Callable[[], None]) -> None:
    """Runs `main` after parsing the flags, and turns its errors into one line."""

    def without_words(words: Sequence[str]) -> None:
        if words:
            raise UserError(f"unexpected argument {words[0]!r}; flags start with --")
        main()

    _run(without_words)


def run_with_words(main: Callable[[Sequence[str]], None]) -> None:
    """Like `run`, for a tool that takes words, such as folders, beside its flags."""
    flags.FLAGS.set_gnu_getopt()  # flags may follow the words
    _run(main)


@dataclasses.dataclass(frozen=True)
class Command:
    """One of the things that a tool does, chosen by the word after its name.

    Attributes:
        main: Does it.
        flags: What it takes; others of the tool's are refused.
    """

    main: Callable[[], None]
    flags: Sequence[str]


def run_command(commands: Mapping[str, Command]) -> None:
    """Like `run`, for a tool whose first argument says which of `commands` is meant."""

    def chosen(words: Sequence[str]) -> None:
        if not words:
            raise UserError(f"say what to do; one of: {', '.join(commands)}")
        if words[0] not in commands:
            raise choice_error("command", words[0], commands)
        if words[1:]:
            raise UserError(f"unexpected argument {words[1]!r}; flags start with --")
        command = commands[words[0]]
        for flag in flags.FLAGS.get_flags_for_module(sys.argv[0]):
            if flag.present and flag.name not in command.flags:
                raise UserError(
                    f"--{flag.name} is not for {words[0]}, which takes "
                    f"{', '.join(f'--{name}' for name in command.flags)}"
                )
        command.main()

    run_with_words(chosen)


def _run(main: Callable[[Sequence[str]], None]) -> None:
    """Runs `main` with the arguments that are no flags."""
    try:
        app.run(lambda argv: sys.exit(_status(main, argv)), flags_parser=_parse_flags)
    except BrokenPipeError:  # who reads, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)


def import_tensorflow(set_up: Callable[[], object] | None = None) -> None:
    """Imports TensorFlow as the tools want it: on our allocator, and quietly.

    The BFC allocator keeps large buffers instead of handing them back to the
    system after each operation; without it a step on a CPU takes twice as long.
    What TensorFlow prints of GPUs that are not there, and of oneDNN, is left out.

    Args:
        set_up: What is to run first of all; left out, TensorFlow looks for devices.
    """
    set_environment()
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            import tensorflow as tf

            (set_up or tf.config.list_logical_devices)()
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)
            kept.seek(0)
            for line in kept.read().decode(errors="replace").splitlines():
                if not any(part in line for part in _NOISE):
                    print(line, file=sys.stderr)


def set_environment() -> None:
    """Sets what TensorFlow reads when it is imported, here or in a new process."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


_NOISE = (
    "Could not find cuda drivers",
    "oneDNN custom operations are on",
    "failed call to cuInit",
    "absl::InitializeLog()",
)


def _parse_flags(argv: Sequence[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        complain(f"{_first_line(error)}; --help lists what is accepted")
        sys.exit(2)


def _status(main: Callable[[Sequence[str]], None], argv: Sequence[str]) -> int:
    messages.show()
    logging.set_verbosity(logging.ERROR)  # TensorFlow's and Keras', not ours
    try:
        main(argv[1:])
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
        if (reason := _disk_trouble(error)) is None:
            raise
        complain(f"{reason}; what was written before is whole")
        return 2


def _disk_trouble(error: Exception) -> str | None:
    """Returns what is wrong with the disk, if that is what `error` says.

    TensorFlow has errors of its own for files, with the system's words in them.
    """
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
        words = os.strerror(number)
        if isinstance(error, OSError) and error.errno == number:
            return f"{words} ({error.filename})" if error.filename else words
        if words in str(error):
            return str(error).splitlines()[0]
    return None


def complain(text: str) -> None:
    """Prints an error as one line."""
    name = pathlib.Path(sys.argv[0]).name
    print(f"{name}: {' '.join(text.split())}", file=sys.stderr)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".")
