"""What compiled functions are for: the device here, or that of a program elsewhere.

Networks choose their layers by it, and methods how many images pass at once.
"""

import contextlib
import contextvars
from collections.abc import Iterator

import tensorflow as tf

TARGETS = ("cpu", "gpu", "tpu")

_of_program: contextvars.ContextVar[str | None] = contextvars.ContextVar(
    "target", default=None
)


def target() -> str:
    """Returns "gpu" where TensorFlow sees one, else "cpu"; or what a program is for.

    Example:
        >>> with program_for("tpu"):
        ...     target(), in_program()
        ('tpu', True)
    """
    here = "gpu" if tf.config.list_physical_devices("GPU") else "cpu"
    return _of_program.get() or here


def in_program() -> bool:
    """Returns whether everything that is built becomes one program of XLA's."""
    return _of_program.get() is not None


@contextlib.contextmanager
def program_for(kind: str) -> Iterator[None]:
    """What is built in this context becomes part of a program for `kind` of device.

    Args:
        kind: One of `TARGETS`.
    """
    token = _of_program.set(kind)
    try:
        yield
    finally:
        _of_program.reset(token)
