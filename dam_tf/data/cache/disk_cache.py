"""Images too many for memory: class-sorted .npy files, written once, read at random.

A cache is a folder of its own: `train.npy` and `test.npy` with the images, a file
of checksums for each, and `contents.json`. It appears under its name only when
complete; until then it lies beside it, hidden, and a build that was stopped goes on
there (`cache_build.py`).

Sizes, headers and the checksums of all small files are checked whenever a cache is
opened; an image, when it is read for a batch; every image, once after it was built
and with `dataset.cache` = "verify".
"""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import re
import shutil
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dam_tf.base.errors import UserError
from dam_tf.base.files import atomic_file, publish_folder
from dam_tf.base.json_lines import parse_json
from dam_tf.base.messages import log
from dam_tf.data.cache.cache_build import (
    PROGRESS,
    describe,
    fill,
    image_file,
    load_checksums,
    splits_of,
)
from dam_tf.data.cache.image_file import CachedSplit, damaged_rows
from dam_tf.data.real_data import FilesChanged, RealData, sorted_split
from dam_tf.data.source import Contents, progress

_VERSION = 2  # of the layout; another one is another key
_CONTENTS, _DAMAGED = "contents.json", "damaged"


def cache_folder(name: str, key: str, data_dir: str) -> pathlib.Path:
    """Returns where the cache of a data set lies.

    Args:
        name: The data set.
        key: Everything that its images depend on.
        data_dir: Where caches lie, in `dam_tf_cache`; if it is empty or read-only,
            they lie in `~/.cache/dam_tf`.
    """
    root = pathlib.Path.home() / ".cache" / "dam_tf"
    if data_dir:
        given = pathlib.Path(data_dir).expanduser()
        if os.access(given, os.W_OK) or not given.exists():
            root = given / "dam_tf_cache"
    digest = hashlib.sha256(f"{_VERSION} {name} {key}".encode()).hexdigest()
    return root / f"{re.sub('[^a-zA-Z0-9_.]+', '-', name)[-40:]}-{digest[:16]}"


def open_cache(
    folder: pathlib.Path, name: str, verify: bool = False
) -> RealData | None:
    """Opens a cache; None if there is none, or it is damaged, which is said.

    Args:
        folder: Where it lies, from `cache_folder`.
        name: The data set.
        verify: Compare every image with its checksum first.

    Returns:
        The images, memory-mapped; `Split.take` compares what it reads with the
        checksums, and raises a `UserError` where an image is damaged.
    """
    if not folder.is_dir():
        return None
    try:
        if (folder / _DAMAGED).exists():
            raise ValueError((folder / _DAMAGED).read_text())
        stored = parse_json((folder / _CONTENTS).read_text())
        if stored.pop("crc32") != _crc32(stored):
            raise ValueError(f"{_CONTENTS} does not match its checksum")
        splits = {split: _open(folder, stored, split) for split in splits_of(stored)}
        class_names = tuple(map(str, stored["class_names"]))
        if verify:
            _verify(folder, name, splits)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.info("cache %s is damaged and is built again: %s", folder, error)
        return None
    return RealData(name, class_names, **splits)


def build_cache(
    folder: pathlib.Path,
    name: str,
    contents: Contents,
    unchanged: Callable[[], bool] = lambda: True,
) -> RealData:
    """Reads a data set once, in bounded memory, into a cache, and opens that.

    What an earlier build has left unfinished is checked and not read again.

    Args:
        folder: Where it will lie, from `cache_folder`.
        name: The data set.
        contents: What is read.
        unchanged: Says, when all is read, whether the files are what they were.

    Raises:
        UserError: the disk is too small or cannot be written to, or the files
            changed meanwhile.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _lock(folder, name):
            data = open_cache(folder, name)  # somebody else may have built it meanwhile
            if data is None:
                _build(folder, name, contents, unchanged)
                data = open_cache(folder, name)
    except OSError as error:
        kept = ""
        if _unfinished(folder).exists():
            kept = "; what is written is kept, and the next start goes on from there"
        raise UserError(
            f"cannot write the image cache {folder}: {error}{kept}; make space, or set "
            "dataset.data_dir (--data_dir) to a folder with space, or dataset.cache to "
            "'memory'"
        ) from None
    if data is None:
        raise UserError(f"the image cache {folder} cannot be read back; check the disk")
    return data


def _build(
    folder: pathlib.Path,
    name: str,
    contents: Contents,
    unchanged: Callable[[], bool],
) -> None:
    """Makes the folder; nobody else does meanwhile, as we hold the lock."""
    unfinished = _unfinished(folder)
    if folder.exists():
        shutil.rmtree(folder)  # it is damaged
    same_name = re.sub("[0-9a-f]{16}$", "*", folder.name)
    for other in folder.parent.glob(f".{same_name}.unfinished"):
        lock = other.with_name(f"{other.stem[1:]}.lock")
        if other != unfinished and _is_free(lock):
            log.info(
                "%s: %s was left unfinished with other settings, or before the files "
                "changed; it is not used, and may be removed",
                name,
                other,
            )
    try:
        fill(unfinished, name, contents)
        if not unchanged():
            raise FilesChanged(name)
    except FilesChanged:
        shutil.rmtree(unfinished)
        raise
    stored = describe(contents)
    for split in splits_of(stored):
        checksums = load_checksums(unfinished, stored, split)
        stored[f"{split}_crc32"] = zlib.crc32(checksums)
    with atomic_file(unfinished / _CONTENTS) as file:
        file.write_text(json.dumps({**stored, "crc32": _crc32(stored)}))
    publish_folder(unfinished, folder)
    (folder / PROGRESS).unlink(missing_ok=True)


def _unfinished(folder: pathlib.Path) -> pathlib.Path:
    return folder.with_name(f".{folder.name}.unfinished")


def _open(folder: pathlib.Path, stored: dict[str, Any], split: str) -> CachedSplit:
    file = image_file(folder, stored, split)
    checksums = load_checksums(folder, stored, split)
    if zlib.crc32(checksums) != stored[f"{split}_crc32"]:
        raise ValueError(f"the checksums of {split} are damaged themselves")
    plain = sorted_split(file.mapped(), stored[split])

    def on_damage(rows: np.ndarray, reason: str) -> None:
        _mark_damaged(folder, reason)
        which = ""
        if len(rows):
            label = int(plain.labels[rows[0]])
            number = int(rows[0] - plain.offsets[label])
            which = f" (image {number} of class {stored['class_names'][label]!r})"
        raise UserError(
            f"the image cache {folder} is damaged: {split}: {reason}{which}; start "
            "again, and it is built again (check the disk if that comes back)"
        )

    return CachedSplit(
        plain.images, plain.labels, plain.offsets, file, checksums, on_damage
    )


def _verify(folder: pathlib.Path, name: str, splits: dict[str, CachedSplit]) -> None:
    """Raises ValueError if an image does not match its checksum."""
    total = sum(len(split.images) for split in splits.values())
    with progress(total, f"{name}: checking the cache") as bar:
        for split_name, split in splits.items():
            everything = [(0, len(split.images))]
            wrong = damaged_rows(split.file, split.checksums, everything, bar.update)
            if len(wrong):
                reason = f"{len(wrong)} images of {split_name} are damaged"
                _mark_damaged(folder, reason)  # in case this process is killed now
                raise ValueError(reason)
    log.info("%s: all %d images of the cache match their checksums", name, total)


def _mark_damaged(folder: pathlib.Path, reason: str) -> None:
    with contextlib.suppress(OSError):
        (folder / _DAMAGED).write_text(reason)


def _crc32(stored: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(stored, sort_keys=True).encode())


def _is_free(lock: pathlib.Path) -> bool:
    """Whether nobody builds the cache that `lock` guards."""
    with open(lock, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@contextlib.contextmanager
def _lock(folder: pathlib.Path, name: str) -> Iterator[None]:
    """Lets one process at a time build `folder`; a killed one frees its lock."""
    with open(folder.with_name(f"{folder.name}.lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("%s: waiting for another process that builds its cache", name)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
