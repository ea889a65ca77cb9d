"""Images in a .npy file, a row each, and a checksum of each: read at random.

A row is read by a system call of its own rather than through a memory map, which
reads the neighbours of every page it is asked for too, megabytes of them.
"""

import dataclasses
import io
import os
import pathlib
import weakref
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt

from dam_tf.data.real_data import Split, row_checksums

_BLOCK_BYTES = 4 << 20  # that are read at a time when all are


def npy_header(shape: tuple[int, ...], dtype: npt.DTypeLike) -> bytes:
    """Returns what an .npy file of such an array begins with.

    Example:
        >>> npy_header((3,), np.uint8)[:6]
        b'\\x93NUMPY'
    """
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer,
        {
            "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
            "fortran_order": False,
            "shape": shape,
        },
    )
    return buffer.getvalue()


def check_npy(file: pathlib.Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
    """Raises ValueError or OSError if `file` cannot hold such an array.

    Only its size and its header are looked at.
    """
    header = npy_header(shape, dtype)
    size = len(header) + int(np.prod(shape)) * np.dtype(dtype).itemsize
    found = file.stat().st_size
    if found != size:
        raise ValueError(f"{file} has {found} bytes, not {size}")
    with open(file, "rb") as opened:
        if opened.read(len(header)) != header:
            raise ValueError(f"{file} is not {np.dtype(dtype)} {shape}")


class ImageFile:
    """An open .npy file of images.

    Args:
        file: Its path.
        shape: (n, height, width, channels) of what it must hold, uint8.

    Raises:
        OSError, ValueError: it cannot be read, or holds something else.
    """

    def __init__(self, file: pathlib.Path, shape: tuple[int, int, int, int]):
        check_npy(file, shape, np.uint8)
        self.path = file
        self.shape = shape
        self._start = len(npy_header(shape, np.uint8))
        self._row = int(np.prod(shape[1:]))
        self._descriptor = os.open(file, os.O_RDONLY)
        # Not at exit, when tf.data may still be reading ahead.
        weakref.finalize(self, os.close, self._descriptor).atexit = False
        os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_RANDOM)

    def mapped(self) -> np.memmap:
        """Returns all images, memory-mapped and read-only."""
        return np.memmap(self.path, np.uint8, "r", self._start, self.shape)

    def rows(self, rows: np.ndarray) -> np.ndarray:
        """Returns the images `rows`, uint8 [len(rows), height, width, channels].

        The disk hears of all of them before the first is waited for, in ascending
        order, so it works on many at a time.
        """
        images = np.empty([len(rows), *self.shape[1:]], np.uint8)
        order = np.argsort(rows, kind="stable").tolist()
        places = (self._start + np.asarray(rows, np.int64) * self._row).tolist()
        for index in order:
            os.posix_fadvise(
                self._descriptor, places[index], self._row, os.POSIX_FADV_WILLNEED
            )
        for index in order:
            self._read(images[index], places[index])
        return images

    def blocks(
        self, ranges: Iterable[tuple[int, int]]
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yields the images of ranges of rows, some at a time, and the first's row."""
        most = max(1, _BLOCK_BYTES // self._row)
        for first, last in ranges:
            for start in range(first, last, most):
                images = np.empty([min(most, last - start), *self.shape[1:]], np.uint8)
                self._read(images, self._start + start * self._row)
                yield start, images

    def forget(self) -> None:
        """Asks the system to drop what it keeps of the file in memory."""
        os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def _read(self, target: np.ndarray, place: int) -> None:
        if os.preadv(self._descriptor, [target], place) != target.nbytes:
            raise OSError(f"{self.path} ends too early")


class RowWriter:
    """An .npy file that is written row by row; empty rows take no space.

    It is written by system calls, so a full disk is an error like any other; under a
    memory map it would end the process.

    Args:
        path: The file, made if missing.
        shape: Of the array.
        dtype: Of its elements.
    """

    def __init__(self, path: pathlib.Path, shape: tuple[int, ...], dtype: str):
        header = npy_header(shape, dtype)
        self._start = len(header)
        self._row = int(np.prod(shape[1:])) * np.dtype(dtype).itemsize
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if os.fstat(self._descriptor).st_size == 0:
            os.pwrite(self._descriptor, header, 0)
            os.truncate(self._descriptor, self._start + shape[0] * self._row)

    def write(self, row: int, values: np.ndarray) -> None:
        """Writes `values` to the rows from `row` on; raises OSError."""
        data = memoryview(np.ascontiguousarray(values)).cast("B")
        place = self._start + row * self._row
        while data:  # a disk that is nearly full takes a part
            written = os.pwrite(self._descriptor, data, place)
            data, place = data[written:], place + written

    def sync(self) -> None:
        """Waits until the disk has what was written; raises OSError."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Closes the file."""
        os.close(self._descriptor)


def damaged_rows(
    file: ImageFile,
    checksums: np.ndarray,
    ranges: Iterable[tuple[int, int]],
    seen: Callable[[int], object],
) -> np.ndarray:
    """Reads ranges of rows, and returns which do not match their checksums.

    Args:
        file: The images.
        checksums: uint32 [n], one for each row of the file.
        ranges: First row, and last plus one, of each range.
        seen: Told how many rows were looked at, again and again.
    """
    damaged = [np.empty([0], np.int64)]
    for first, images in file.blocks(ranges):
        expected = checksums[first : first + len(images)]
        damaged.append(first + np.flatnonzero(row_checksums(images) != expected))
        seen(len(images))
    return np.concatenate(damaged)


@dataclasses.dataclass(frozen=True)
class CachedSplit(Split):
    """A split in a file; what `take` reads is compared with its checksums.

    Attributes:
        file: The images, which `images` maps into memory.
        checksums: The CRC-32 of each image, uint32 [n].
        on_damage: Told the rows, and why, where images cannot be read or are not
            what was written; raises.
    """

    file: ImageFile
    checksums: np.ndarray
    on_damage: Callable[[np.ndarray, str], None]

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Returns a copy of the images `rows`, uint8 [len(rows), h, w, channels].

        Raises:
            UserError: one of them is damaged.
        """
        rows = np.asarray(rows)
        try:
            images = self.file.rows(rows)
        except OSError as error:
            self.on_damage(rows[:0], str(error))
        wrong = row_checksums(images) != self.checksums[rows]
        if np.any(wrong):
            self.on_damage(rows[wrong], "an image does not match its checksum")
        return images

    def image_checksums(self) -> np.ndarray:
        """Returns the CRC-32 of each image, uint32 [n], as they were written."""
        return self.checksums

    def class_images(self, k: int) -> "CheckedImages":
        """Returns what reads like the images of class `k`, by `take`."""
        return CheckedImages(self, int(self.offsets[k]), int(self.offsets[k + 1]))

    def checked_images(self) -> "CheckedImages":
        """Returns what reads like `images`, by `take`."""
        return CheckedImages(self, 0, len(self.images))


class CheckedImages:
    """Rows of a split, of which parts are read as of an array, and checked then.

    Args:
        split: Whose images they are.
        first: The first row.
        last: The last row, plus one.

    Attributes:
        shape: (n, height, width, channels).
        dtype: uint8.
    """

    def __init__(self, split: CachedSplit, first: int, last: int):
        self._split = split
        self._rows = np.arange(first, last)
        self.shape = (last - first, *split.images.shape[1:])
        self.dtype = split.images.dtype

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: int | slice | np.ndarray) -> np.ndarray:
        rows = self._rows[key]
        images = self._split.take(rows.reshape(-1))
        return images.reshape(*rows.shape, *self.shape[1:])

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)
