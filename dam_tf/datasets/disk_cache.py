"""Images too many for memory: class-sorted .npy files, written once, memory-mapped.

A cache is a folder of its own: `train.npy`, `test.npy` and `contents.json`. It
appears under its name only when complete, so a kill leaves nothing half-written.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import re
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np

from dam_tf.datasets.real_data import RealData, read_into, sorted_split
from dam_tf.datasets.source import Contents
from dam_tf.errors import UserError
from dam_tf.files import atomic_folder
from dam_tf.messages import log

_VERSION = 1  # of the layout; another one is another key
_SPLITS = ("train", "test")


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


def open_cache(folder: pathlib.Path, name: str) -> RealData | None:
    """Opens a cache, memory-mapped; None if there is none, or it is damaged."""
    if not folder.is_dir():
        return None
    try:
        stored = json.loads((folder / "contents.json").read_text())
        splits = [
            sorted_split(_open(folder / f"{split}.npy", stored, split), stored[split])
            for split in _SPLITS
        ]
        class_names = tuple(map(str, stored["class_names"]))
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        log.info("cache %s is damaged and is built again: %s", folder, error)
        return None
    return RealData(name, class_names, *splits)


def build_cache(folder: pathlib.Path, name: str, contents: Contents) -> RealData:
    """Reads a data set once, in bounded memory, into a cache, and opens that.

    Raises:
        UserError: the disk is too small or cannot be written to.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _lock(folder):
            data = open_cache(folder, name)  # somebody else may have built it meanwhile
            if data is None:
                _build(folder, name, contents)
                data = open_cache(folder, name)
    except OSError as error:
        raise UserError(
            f"cannot write the image cache {folder}: {error}; set dataset.data_dir "
            "(--data_dir) to a folder with space, or dataset.cache to 'memory'"
        ) from None
    if data is None:
        raise UserError(f"the image cache {folder} cannot be read back; check the disk")
    return data


def _build(folder: pathlib.Path, name: str, contents: Contents) -> None:
    # Left by a build that was killed: nobody else writes here, as we hold the lock.
    for leftover in (folder, *folder.parent.glob(f".{folder.name}-*")):
        if leftover.is_dir():
            shutil.rmtree(leftover)
    splits = {"train": contents.train, "test": contents.test}
    pixels = int(np.prod(contents.image_shape))
    needed = pixels * sum(int(split.counts.sum()) for split in splits.values())
    free = shutil.disk_usage(folder.parent).free
    if free < needed:
        raise OSError(f"{needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} are free")
    log.info("%s: writing %.1f GB of images to %s", name, needed / 1e9, folder)
    stored: dict[str, Any] = {
        "class_names": contents.class_names,
        "image_shape": contents.image_shape,
    }
    with atomic_folder(folder) as temporary:
        for split_name, split in splits.items():
            images = np.lib.format.open_memmap(
                temporary / f"{split_name}.npy",
                mode="w+",
                dtype=np.uint8,
                shape=(int(split.counts.sum()), *contents.image_shape),
            )
            read_into(images, split, f"{name} {split_name}")
            images.flush()
            stored[split_name] = split.counts.tolist()
        (temporary / "contents.json").write_text(json.dumps(stored))


def _open(file: pathlib.Path, stored: dict[str, Any], split: str) -> np.ndarray:
    images = np.load(file, mmap_mode="r", allow_pickle=False)
    shape = (sum(stored[split]), *stored["image_shape"])
    if images.shape != shape or images.dtype != np.uint8:
        raise ValueError(f"{file} is {images.dtype} {images.shape}, not uint8 {shape}")
    return images


@contextlib.contextmanager
def _lock(folder: pathlib.Path) -> Iterator[None]:
    """Lets one process at a time build `folder`; a killed one frees its lock."""
    with open(folder.with_name(f"{folder.name}.lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
