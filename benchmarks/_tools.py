"""The benchmarks are tools, too: quiet start, readable errors, this checkout."""

import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Sequence

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
BENCHMARKS = REPOSITORY / "benchmarks"
sys.path.insert(0, str(REPOSITORY))

from absl import app, flags  # noqa: E402

from dam_tf.base.errors import UserError  # noqa: E402
from dam_tf.commands import program  # noqa: E402
from dam_tf.commands.options import parse_overrides as overrides  # noqa: E402, F401

import_tensorflow = program.import_tensorflow


def run(main: Callable[[], None]) -> None:
    """Runs `main` after parsing the flags, and turns its errors into one line."""

    def parse(argv: Sequence[str]) -> list[str]:
        try:
            return flags.FLAGS(argv)
        except flags.Error as error:
            text = str(error).splitlines()[0].rstrip(".")
            program.complain(f"{text}; --help lists what is accepted")
            sys.exit(2)

    def checked(argv: Sequence[str]) -> None:
        def work() -> None:
            if argv[1:]:
                raise UserError(f"unexpected argument {argv[1]!r}; flags start with --")
            main()

        sys.exit(program.status_of(work))

    app.run(checked, flags_parser=parse)


def numbers(flag: flags.FlagHolder) -> list[int]:
    """Returns the value of a list flag as whole numbers, each at least 1."""
    try:
        found = [int(text) for text in flag.value]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise UserError(
            f"--{flag.name} is a list of whole numbers from 1, not "
            f"{','.join(flag.value)!r}"
        )
    return found


def torch_python(path: str) -> str | None:
    """Returns `path` if PyTorch is there; else says so and returns None."""
    look = "import importlib.util as u, sys; sys.exit(u.find_spec('torch') is None)"
    exists = path and pathlib.Path(path).exists()
    if exists and not subprocess.run([path, "-c", look], check=False).returncode:
        return path
    print(
        f"No PyTorch at {path or 'an empty path'}: measuring the rest. `make bench` "
        "installs it into .venv-bench; --torch_python=PATH names another.\n"
    )
    return None


def define_torch_python() -> flags.FlagHolder:
    """Defines the flag that `torch_python` is given."""
    return flags.DEFINE_string(
        "torch_python",
        os.fspath(REPOSITORY / ".venv-bench" / "bin" / "python"),
        "A Python with PyTorch; where it is missing, the rest is measured.",
        module_name=sys.argv[0],  # so that --help lists it as the tool's own
    )


def say(text: str) -> None:
    """Shows what is going on, on one line of a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
