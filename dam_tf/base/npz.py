"""Reading .npz files that a kill, a disk or a stranger may have spoilt.

Everything that reads arrays from a file does it here: what does not fit is refused by
what the file declares, before any of it is inflated, and with one kind of error.
"""

import contextlib
import math
import os
import sys
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dam_tf.base.errors import UserError, listed
from dam_tf.base.memory import memory_bytes, size_text

_MOST_DEFLATED = 1032  # bytes that one compressed byte can stand for

_DAMAGE = (
    OSError,
    EOFError,
    KeyError,
    ValueError,
    MemoryError,
    RuntimeError,  # zipfile: an encrypted member
    SyntaxError,  # of a header, as the next
    tokenize.TokenError,
    NotImplementedError,  # zipfile: a later version of the format
    zipfile.BadZipFile,
    zlib.error,
)
_PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what numpy.savez writes


class Array(NamedTuple):
    """What one array of a file must be.

    Attributes:
        shape: The length of each axis, None for any length; or None for any shape.
        dtype: The NumPy type that the array's own must be, or be a kind of: for
            example `np.float32`, `np.integer`, `np.str_`.
    """

    shape: Sequence[int | None] | None = None
    dtype: type = np.number


def read_npz(
    path: os.PathLike | str,
    arrays: Mapping[str, Array],
    what: str,
) -> dict[str, np.ndarray]:
    """Returns the named arrays of an .npz file; others in it are not looked at.

    Names, shapes, types and the number of bytes are compared with what the file
    declares, and with the memory that there is, before any array is inflated. Pickled
    objects are never loaded.

    Args:
        path: A file of `numpy.savez` or `numpy.savez_compressed`.
        arrays: What each array must be.
        what: What the file must be, for the message: "a checkpoint of this run".

    Raises:
        UserError: the file cannot be read or does not fit; one line says why.

    Example:
        >>> import tempfile
        >>> file = os.path.join(tempfile.mkdtemp(), "images.npz")
        >>> np.savez(file, images=np.zeros([2, 8, 8, 1]))
        >>> read_npz(file, {"images": Array([None, 8, 8, 1])}, "images")["images"].shape
        (2, 8, 8, 1)
        >>> try:
        ...     read_npz(file, {"images": Array([2, 4, 4, 1])}, "images of 4x4")
        ... except UserError as error:
        ...     print(str(error).partition(": ")[2])
        its images is [2, 8, 8, 1], not [2, 4, 4, 1]; it must be images of 4x4
    """
    with _opened(path, what) as file:
        _check_names(file, arrays)
        size = sum(_check(file, name, array) for name, array in arrays.items())
        memory = memory_bytes()
        if memory is not None and size > memory:
            raise ValueError(
                f"its arrays take {size_text(size)} of memory, and this machine has "
                f"{size_text(memory)}"
            )
        return {name: _read(file, name) for name in arrays}


def names_in(path: os.PathLike | str, what: str) -> list[str]:
    """Returns the names of the arrays in an .npz file, without reading them.

    Args:
        path: A file of `numpy.savez` or `numpy.savez_compressed`.
        what: What the file must be, for the message.

    Raises:
        UserError: the file cannot be read; one line says why.
    """
    with _opened(path, what) as file:
        return _names(file)


def checksums_in(path: os.PathLike | str, what: str) -> dict[str, int]:
    """Returns the CRC-32 of each array in an .npz file, without reading them.

    They are those that the file declares; who reads an array compares them.

    Args:
        path: A file of `numpy.savez` or `numpy.savez_compressed`.
        what: What the file must be, for the message.

    Raises:
        UserError: the file cannot be read; one line says why.
    """
    with _opened(path, what) as file:
        found = {info.filename: info.CRC for info in file.infolist()}
        return {name.removesuffix(".npy"): crc for name, crc in found.items()}


@contextlib.contextmanager
def _opened(path: os.PathLike | str, what: str) -> Iterator[zipfile.ZipFile]:
    """Opens a file; whatever is wrong with it, there or in the block, is told."""
    try:
        with zipfile.ZipFile(path) as file:
            yield file
    except _DAMAGE as error:
        raise UserError(
            f"cannot read {path}: {_reason(error)}; it must be {what}"
        ) from None


def _names(file: zipfile.ZipFile) -> list[str]:
    return [name.removesuffix(".npy") for name in file.namelist()]


def _check_names(file: zipfile.ZipFile, arrays: Mapping[str, Array]) -> None:
    held = _names(file)
    if missing := [name for name in arrays if name not in held]:
        raise ValueError(
            f"it lacks {', '.join(missing)} (it holds: {listed(held) or 'nothing'})"
        )


def _check(file: zipfile.ZipFile, name: str, expected: Array) -> int:
    """Compares what the file declares of an array; returns its bytes in memory."""
    info = file.getinfo(f"{name}.npy")
    if info.compress_type not in _PLAIN:
        raise ValueError(f"its {name} is compressed in a way that NumPy does not use")
    with file.open(info) as member:
        if np.lib.format.read_magic(member) != (1, 0):
            raise ValueError(f"its {name} is no plain array")
        shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        start = member.tell()
    if dtype.hasobject:
        raise ValueError(f"its {name} holds Python objects")
    if not np.issubdtype(dtype, expected.dtype):
        raise ValueError(f"its {name} is {dtype}, not {expected.dtype.__name__}")
    if not _fits(shape, expected.shape):
        raise ValueError(f"its {name} is {_text(shape)}, not {_text(expected.shape)}")
    size = math.prod(shape) * dtype.itemsize
    packed = info.compress_size * (_MOST_DEFLATED if info.compress_type else 1)
    whole = os.stat(file.filename).st_size >= info.compress_size
    if (
        min(shape, default=0) < 0
        or not dtype.itemsize
        or start + size != info.file_size
        or not whole
        or info.file_size > packed + _MOST_DEFLATED
    ):
        raise ValueError(f"its {name} is incomplete")
    return size


def _read(file: zipfile.ZipFile, name: str) -> np.ndarray:
    with file.open(f"{name}.npy") as member:
        array = np.lib.format.read_array(member, allow_pickle=False)
    if array.dtype.kind == "U" and array.size:  # of which Python would make no text
        codes = np.ascontiguousarray(array).view(array.dtype.byteorder + "u4")
        if codes.max() > sys.maxunicode:
            raise ValueError(f"its {name} holds what is no text")
    return array


def _fits(shape: Sequence[int], expected: Sequence[int | None] | None) -> bool:
    return expected is None or (
        len(shape) == len(expected)
        and all(
            wanted in (None, length)
            for length, wanted in zip(shape, expected, strict=True)
        )
    )


def _text(shape: Sequence[int | None]) -> str:
    sides = ("any" if length is None else str(length) for length in shape)
    return f"[{', '.join(sides)}]"


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.splitlines()[0]
