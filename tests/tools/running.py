"""Runs commands as users do, in processes of their own, or in this one."""

import contextlib
import dataclasses
import io
import logging
import pathlib
import subprocess
import sys

from dam_tf.commands import program

ROOT = pathlib.Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class Result:
    """What a command leaves behind, named as `subprocess` names it."""

    returncode: int
    stdout: str
    stderr: str


def command(tool, *arguments):
    """The words that start a tool of the checkout in a process."""
    return [sys.executable, str(ROOT / "tools" / f"{tool}.py"), *map(str, arguments)]


def run(tool, *arguments, folder):
    """Runs a tool of the checkout in a process of its own, in `folder`."""
    return subprocess.run(
        command(tool, *arguments), cwd=folder, capture_output=True, text=True
    )


def call(tool, *arguments, folder) -> Result:
    """Runs a command in this process, in `folder`, as often as one likes."""
    output, errors = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
        _kept_as_it_was(),
    ):
        sys.argv = [f"{tool}.py"]
        status = program.run(tool, [str(argument) for argument in arguments])
    return Result(status, output.getvalue(), errors.getvalue())


@contextlib.contextmanager
def _kept_as_it_was():
    logger, argv = logging.getLogger("dam_tf"), sys.argv
    handlers, level, propagate = logger.handlers[:], logger.level, logger.propagate
    try:
        yield
    finally:
        sys.argv = argv
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)
