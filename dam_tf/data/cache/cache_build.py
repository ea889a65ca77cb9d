"""Fills the folder of a cache in one pass that may stop anywhere and go on there.

Images go to their places sorted by class, each with its checksum. Every so often
all is brought to the disk, and then `progress.json` says how far it came: how many
images of each class. Images written after that are written again.
"""

import contextlib
import json
import pathlib
import shutil
from typing import Any

import numpy as np

from dam_tf.base.errors import UserError
from dam_tf.base.files import atomic_file
from dam_tf.base.json_lines import parse_json
from dam_tf.base.messages import log
from dam_tf.data.cache.image_file import (
    ImageFile,
    RowWriter,
    check_npy,
    damaged_rows,
)
from dam_tf.data.real_data import row_checksums, sorted_chunks, sorted_rows
from dam_tf.data.source import CHUNK, Contents, SplitContents, progress

_RECORD_BYTES = 64 << 20  # of images between two records of progress
PROGRESS = "progress.json"
_CHANGED = "the images have changed since"


def describe(contents: Contents) -> dict[str, Any]:
    """Returns what a cache holds, without its images, in the types of JSON."""
    return {
        "class_names": list(contents.class_names),
        "image_shape": list(contents.image_shape),
        **{name: split.counts.tolist() for name, split in contents.splits().items()},
    }


def splits_of(stored: dict[str, Any]) -> list[str]:
    """Returns the names of the splits that `describe` found."""
    return [name for name in ("train", "test") if name in stored]


def image_file(folder: pathlib.Path, stored: dict[str, Any], split: str) -> ImageFile:
    """Opens the images of a split; `stored` is as `describe` returns it.

    Raises:
        OSError, ValueError: they cannot be read, or not all are there.
    """
    shape = (sum(stored[split]), *stored["image_shape"])
    return ImageFile(folder / f"{split}.npy", shape)


def checksums_path(folder: pathlib.Path, split: str) -> pathlib.Path:
    """Returns where the checksums of a split lie."""
    return folder / f"{split}.crc32.npy"


def load_checksums(
    folder: pathlib.Path, stored: dict[str, Any], split: str
) -> np.ndarray:
    """Returns the checksums of a split, uint32 [n]; raises as `image_file` does."""
    file = checksums_path(folder, split)
    check_npy(file, (sum(stored[split]),), np.uint32)
    return np.load(file, allow_pickle=False)


def fill(folder: pathlib.Path, name: str, contents: Contents) -> None:
    """Reads what is missing of a cache, or all of it, and checks what was written.

    Args:
        folder: Where the files lie, which an earlier call may have left unfinished.
        name: The data set.
        contents: What is read.

    Raises:
        OSError: the disk is full, or cannot be written to or read.
        UserError: the images cannot be read, or (FilesChanged) are not those that
            were counted.
    """
    stored = describe(contents)
    filled = _start_or_resume(folder, name, contents, stored)
    if all(np.array_equal(filled[split], stored[split]) for split in splits_of(stored)):
        return  # all was there, and was checked just now
    for split_name, split in contents.splits().items():
        with _SplitWriter(folder, stored, split_name) as writer:
            _fill_split(folder, name, split_name, split, writer, stored, filled)
    try:
        _verify(folder, f"{name}: checking what was written", stored, filled)
    except ValueError as error:
        raise OSError(f"{error} as soon as they are written") from None


def _fill_split(
    folder: pathlib.Path,
    name: str,
    split_name: str,
    split: SplitContents,
    writer: "_SplitWriter",
    stored: dict[str, Any],
    filled: dict[str, np.ndarray],
) -> None:
    description = f"{name} {split_name}"
    unrecorded = 0

    def record() -> None:
        writer.sync()
        _record(folder, stored, filled)

    with progress(
        int(split.counts.sum()), description, int(filled[split_name].sum())
    ) as bar:
        try:
            chunks = sorted_chunks(split, filled[split_name], description)
            for rows, images, counts in chunks:
                writer.write(rows, images)
                filled[split_name] = counts
                bar.update(len(rows))
                unrecorded += images.nbytes
                if unrecorded >= _RECORD_BYTES:
                    record()
                    unrecorded = 0
        except BaseException:  # Ctrl-C and a full disk too
            with contextlib.suppress(OSError):
                record()
            raise
        record()


def _start_or_resume(
    folder: pathlib.Path, name: str, contents: Contents, stored: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Returns how many images of each class are there, for each split."""
    if folder.exists():
        for leftover in folder.glob(".*"):  # of a kill while progress was recorded
            leftover.unlink()
        try:
            filled = _resumable(folder, name, contents, stored)
        except UserError:
            raise  # the source cannot be read, which says nothing of what was written
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.info("%s: the unfinished cache %s is useless: %s", name, folder, error)
            shutil.rmtree(folder)
        else:
            _check_space(folder, name, stored)
            log.info(
                "%s: going on with the unfinished cache %s: %d of %d images are there",
                name,
                folder,
                sum(int(counts.sum()) for counts in filled.values()),
                sum(sum(stored[split]) for split in splits_of(stored)),
            )
            return filled
    _check_space(folder, name, stored)
    folder.mkdir()
    for split in splits_of(stored):
        _SplitWriter(folder, stored, split).close()
    classes = len(stored["class_names"])
    filled = {split: np.zeros([classes], np.int64) for split in splits_of(stored)}
    _record(folder, stored, filled)
    return filled


def _resumable(
    folder: pathlib.Path, name: str, contents: Contents, stored: dict[str, Any]
) -> dict[str, np.ndarray]:
    """As `_start_or_resume`; raises where the cache cannot be gone on with."""
    recorded = parse_json((folder / PROGRESS).read_text())
    if recorded["contents"] != stored:
        raise ValueError("it is of other images")
    filled = {}
    for split in splits_of(stored):
        counts = np.asarray(recorded["filled"][split])
        if counts.dtype != np.int64 or counts.shape != (len(stored[split]),):
            raise ValueError(f"{PROGRESS} is damaged")
        if np.any(counts < 0) or np.any(counts > stored[split]):
            raise ValueError(f"{PROGRESS} is damaged")
        filled[split] = counts
    _verify(folder, f"{name}: checking what is there", stored, filled)
    for split_name, split in contents.splits().items():
        checksums = load_checksums(folder, stored, split_name)
        _check_source(split, filled[split_name], checksums)
    return filled


def _check_source(
    split: SplitContents, filled: np.ndarray, checksums: np.ndarray
) -> None:
    """Raises ValueError if the first or the latest images are others by now.

    Args:
        split: Where they are read again.
        filled: Images of each class that were read, int64 [classes].
        checksums: What they were, uint32 [n].
    """
    done = int(filled.sum())
    count = min(CHUNK, done)
    if not count:
        return
    for first in (0, done - count):
        images, labels = _some_images(split, first, count)
        found = np.bincount(labels, minlength=len(filled))
        before = filled - found if first else np.zeros_like(filled)
        if len(labels) < count or np.any(before < 0) or np.any(found > split.counts):
            raise ValueError(_CHANGED)
        order, rows = sorted_rows(split, before, labels)
        if np.any(row_checksums(images[order]) != checksums[rows]):
            raise ValueError(_CHANGED)


def _some_images(
    split: SplitContents, first: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Reads `count` images from `first` on, and their labels; fewer at the end."""
    parts = []
    for chunk in split.chunks(first):
        parts.append(chunk)
        if sum(len(labels) for _, labels in parts) >= count:
            break
    if not parts:
        raise ValueError(_CHANGED)
    images, labels = map(np.concatenate, zip(*parts, strict=True))
    return images[:count], labels[:count]


def _verify(
    folder: pathlib.Path,
    description: str,
    stored: dict[str, Any],
    filled: dict[str, np.ndarray],
) -> None:
    """Raises ValueError if what was written, by `filled`, does not lie there now."""
    total = sum(int(counts.sum()) for counts in filled.values())
    with progress(total, description) as bar:
        for split in splits_of(stored):
            images = image_file(folder, stored, split)
            checksums = load_checksums(folder, stored, split)
            images.forget()  # so that it is read from the disk
            starts = np.cumsum(stored[split]) - stored[split]
            ranges = _merged(starts, starts + filled[split])
            if len(wrong := damaged_rows(images, checksums, ranges, bar.update)):
                raise ValueError(f"{len(wrong)} images of {split} are damaged")


def _merged(starts: np.ndarray, ends: np.ndarray) -> list[tuple[int, int]]:
    """Returns ranges that hold the same rows, those that touch put together."""
    ranges: list[tuple[int, int]] = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if ranges and ranges[-1][1] == start:
            ranges[-1] = ranges[-1][0], end
        elif end > start:
            ranges.append((start, end))
    return ranges


def _record(
    folder: pathlib.Path, stored: dict[str, Any], filled: dict[str, np.ndarray]
) -> None:
    counts = {split: done.tolist() for split, done in filled.items()}
    with atomic_file(folder / PROGRESS) as file:
        file.write_text(json.dumps({"contents": stored, "filled": counts}))


def _check_space(folder: pathlib.Path, name: str, stored: dict[str, Any]) -> None:
    pixels = int(np.prod(stored["image_shape"]))
    needed = pixels * sum(sum(stored[split]) for split in splits_of(stored))
    if folder.exists():  # files have holes where nothing was written yet
        needed -= sum(512 * file.stat().st_blocks for file in folder.iterdir())
    free = shutil.disk_usage(folder.parent).free
    if free < needed:
        raise OSError(f"{needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} are free")
    log.info("%s: writing %.1f GB of images to %s", name, needed / 1e9, folder.parent)


class _SplitWriter:
    """The two files of a split, open for writing: its images and their checksums."""

    def __init__(self, folder: pathlib.Path, stored: dict[str, Any], split: str):
        count = sum(stored[split])
        shape = (count, *stored["image_shape"])
        self._images = RowWriter(folder / f"{split}.npy", shape, np.uint8)
        file = checksums_path(folder, split)
        self._checksum_file = RowWriter(file, (count,), np.uint32)
        # In memory until `sync`: 4 bytes each are too few for a call to the system.
        self._checksums = load_checksums(folder, stored, split)
        self._changed = range(0)  # rows of them

    def __enter__(self) -> "_SplitWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._images.close()
        self._checksum_file.close()

    def write(self, rows: np.ndarray, images: np.ndarray) -> None:
        """Writes images to `rows`, which ascend."""
        ends = np.flatnonzero(np.diff(rows, append=-1) != 1) + 1
        start = 0
        for end in ends.tolist():
            self._images.write(int(rows[start]), images[start:end])
            start = end
        self._checksums[rows] = row_checksums(images)
        first, last = int(rows[0]), int(rows[-1]) + 1
        if self._changed:
            first = min(first, self._changed.start)
            last = max(last, self._changed.stop)
        self._changed = range(first, last)

    def sync(self) -> None:
        """Brings to the disk what was written."""
        first, last = self._changed.start, self._changed.stop
        self._checksum_file.write(first, self._checksums[first:last])
        self._changed = range(0)
        for file in (self._images, self._checksum_file):
            file.sync()
