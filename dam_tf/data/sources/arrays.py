"""Data sets that are arrays already: scikit-learn's digits, and npz files."""

import importlib.metadata
import os
import pathlib

import numpy as np

from dam_tf.base.errors import UserError
from dam_tf.base.npz import Array, names_in, read_npz
from dam_tf.config.sections import DatasetConfig
from dam_tf.data.catalog import Entry
from dam_tf.data.source import (
    CHUNK,
    Chunks,
    Contents,
    Source,
    SplitContents,
    kept_classes,
)

_KEYS = ("x_train", "y_train")
_TEST_KEYS = ("x_test", "y_test")
_ALL = f"{', '.join(_KEYS)} and, to test on, {', '.join(_TEST_KEYS)}"


def digits_source(config: DatasetConfig) -> Source:
    """Returns scikit-learn's 1,797 handwritten digits, 8x8 grey.

    Every fifth image of each class is a test image.
    """

    def look() -> Contents:
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        images = np.round(images * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
        order = np.argsort(labels, kind="stable")
        labels = labels[order]
        rank = np.arange(len(labels)) - np.searchsorted(labels, labels)
        train, test = order[rank % 5 != 4], order[rank % 5 == 4]
        targets = labels[rank % 5 != 4], labels[rank % 5 == 4]
        splits = (images[train], targets[0]), (images[test], targets[1])
        return _contents("digits", *splits, config)

    version = importlib.metadata.version("scikit-learn")
    return Source("digits", "scikit-learn", look, origin=f"scikit-learn {version}")


def npz_source(entry: Entry, config: DatasetConfig) -> Source:
    """Returns the arrays `x_train`, `y_train`, `x_test`, `y_test` of an npz file.

    One without the latter two has no test images, and can be distilled.
    Images are uint8 [n, height, width] or [n, height, width, 1 or 3], labels are
    whole numbers from 0, [n] or [n, 1]. Classes are named by their number.

    Raises:
        UserError: the file is missing; or, when it is looked at, unreadable, or an
            array is missing or not as above.
    """
    file = pathlib.Path(entry.path).expanduser()
    if not file.is_file():
        raise UserError(
            f"{entry.name}: no such file {file}; give an npz file with the arrays "
            f"{_ALL}"
        )
    stat = os.stat(file)
    identity = f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns}"

    def look() -> Contents:
        arrays = _read(file)
        x_train, y_train = _checked(file, arrays, "train")
        test = _checked(file, arrays, "test") if "x_test" in arrays else None
        if test is not None and x_train.shape[1:] != test[0].shape[1:]:
            raise UserError(
                f"{file}: images of x_train are {x_train.shape[1:]}, of x_test "
                f"{test[0].shape[1:]}; they must have the same shape"
            )
        return _contents(entry.name, (x_train, y_train), test, config)

    return Source(entry.name, identity, look)


def _contents(
    name: str,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray] | None,
    config: DatasetConfig,
) -> Contents:
    """Returns what was found: images and labels of each split."""
    splits = {"train": train} if test is None else {"train": train, "test": test}
    classes = int(max(labels.max() for _, labels in splits.values())) + 1
    for split, (_, labels) in splits.items():
        missing = np.setdiff1d(np.arange(classes), labels)
        if len(missing):
            raise UserError(
                f"{name}: class {missing[0]} has no image in x_{split}; labels must be "
                f"0 to {classes - 1}, each in every split"
            )
    classes = kept_classes(config.max_classes, classes, name)
    height, width, channels = train[0].shape[1:]
    if config.image_size:
        height = width = config.image_size
    shape = (height, width, channels)
    return Contents(
        class_names=tuple(map(str, range(classes))),
        image_shape=shape,
        **{
            name: _split_contents(images, labels, classes, shape)
            for name, (images, labels) in splits.items()
        },
    )


def _split_contents(
    images: np.ndarray, labels: np.ndarray, classes: int, shape: tuple[int, int, int]
) -> SplitContents:
    kept = np.flatnonzero(labels < classes)

    def chunks(first: int) -> Chunks:
        for start in range(first, len(kept), CHUNK):
            rows = kept[start : start + CHUNK]
            yield _resized(images[rows], shape), labels[rows]

    return SplitContents(np.bincount(labels[kept], minlength=classes), chunks)


def _resized(images: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    if images.shape[1:] == shape:
        return images
    import tensorflow as tf

    from dam_tf.data.sources.resizing import resize

    return resize(tf.constant(images), shape).numpy()


def _read(file: pathlib.Path) -> dict[str, np.ndarray]:
    what = f"a file of numpy.savez with {_ALL}"
    tested = set(_TEST_KEYS) & set(names_in(file, what))
    keys = _KEYS + _TEST_KEYS if tested else _KEYS
    # Any type: what is not right is said by `_checked`, with what to do.
    return read_npz(file, dict.fromkeys(keys, Array(dtype=np.generic)), what)


def _checked(
    file: pathlib.Path, arrays: dict[str, np.ndarray], split: str
) -> tuple[np.ndarray, np.ndarray]:
    images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
    if np.issubdtype(images.dtype, np.floating):
        raise UserError(
            f"{file}: x_{split} is {images.dtype}, whose range is not known; store "
            "pixels as uint8, 0 to 255, as in (images * 255).round().astype('uint8')"
        )
    if images.dtype != np.uint8:
        raise UserError(f"{file}: x_{split} is {images.dtype}; pixels must be uint8")
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape:
        raise UserError(
            f"{file}: x_{split} has shape {arrays[f'x_{split}'].shape}; it must be "
            "[n, height, width] or [n, height, width, channels] with 1 or 3 channels"
        )
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if not np.issubdtype(labels.dtype, np.integer) or labels.ndim != 1:
        raise UserError(
            f"{file}: y_{split} is {labels.dtype} {arrays[f'y_{split}'].shape}; labels "
            "must be whole numbers, [n] or [n, 1]"
        )
    if len(labels) != len(images):
        raise UserError(
            f"{file}: x_{split} has {len(images)} images and y_{split} has "
            f"{len(labels)} labels; give one label an image"
        )
    if labels.min() < 0:
        raise UserError(f"{file}: y_{split} holds {labels.min()}; labels start at 0")
    return images, labels.astype(np.int64)
