"""Data sets that are arrays already: scikit-learn's digits, and npz files."""

import importlib.metadata
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from dam_tf.base.errors import UserError, listed
from dam_tf.base.messages import log
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
from dam_tf.data.sources.classes import class_numbers, named_classes
from dam_tf.data.sources.pixels import to_pixels
from dam_tf.data.sources.resizing import resize

# What the arrays of a file may be called: training images and labels, test images and
# labels. Keras' data sets have the first names, those of MedMNIST the second.
_NAMES = (
    ("x_train", "y_train", "x_test", "y_test"),
    ("train_images", "train_labels", "test_images", "test_labels"),
)
_WHAT = "a file of numpy.savez with " + ", or ".join(
    f"{images}, {labels} and, to test on, {test_images}, {test_labels}"
    for images, labels, test_images, test_labels in _NAMES
)
_EXPORTED = {"model_images", "preprocessing_kind"}  # by which our own exports are known


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
        return _contents("digits", tuple("0123456789"), *splits, config)

    version = importlib.metadata.version("scikit-learn")
    return Source("digits", "scikit-learn", look, origin=f"scikit-learn {version}")


def npz_source(entry: Entry, config: DatasetConfig) -> Source:
    """Returns the images and labels of an npz file, which may have test images, too.

    Images and labels are what `dam_tf.distill` takes as arrays (`pixels.py`,
    `classes.py`), except that floating point must be within 0 to 1.

    Raises:
        UserError: the file is missing; or, when it is looked at, unreadable, or an
            array is missing or cannot be used.
    """
    file = pathlib.Path(entry.path).expanduser()
    if not file.is_file():
        raise UserError(f"{entry.name}: no such file {file}; give {_WHAT}")
    stat = os.stat(file)
    identity = f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns}"

    def look() -> Contents:
        names, arrays = _read(file)
        train, labels = _pair(file, names[:2], arrays)
        numbers, class_names = named_classes(labels, what=f"{names[1]} of {file}")
        test = None
        if names[2] in arrays:
            images, labels = _pair(file, names[2:], arrays)
            if train.shape[1:] != images.shape[1:]:
                raise UserError(
                    f"{file}: images of {names[0]} are {train.shape[1:]}, of "
                    f"{names[2]} {images.shape[1:]}; they must have the same shape"
                )
            what = f"{names[3]} of {file}"
            test = images, class_numbers(labels, class_names, what)
        return _contents(entry.name, class_names, (train, numbers), test, config)

    return Source(entry.name, identity, look)


def _contents(
    name: str,
    class_names: tuple[str, ...],
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray] | None,
    config: DatasetConfig,
) -> Contents:
    """Returns what was found: images and numbers of classes, of each split."""
    splits = {"train": train} if test is None else {"train": train, "test": test}
    classes = kept_classes(config.max_classes, len(class_names), name)
    height, width, channels = train[0].shape[1:]
    if config.image_size:
        height = width = config.image_size
    shape = (height, width, channels)
    return Contents(
        class_names=class_names[:classes],
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
            yield resize(images[rows], shape), labels[rows]

    return SplitContents(np.bincount(labels[kept], minlength=classes), chunks)


def _read(file: pathlib.Path) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Returns what the arrays of the file are called, and those that are there."""
    held = names_in(file, _WHAT)
    if set(held) >= _EXPORTED:
        raise UserError(
            f"{file} is a distilled set that dam_tf exported, no real images; to test "
            "it, give the folder of its run: --distilled=RUN"
        )
    names = next((some for some in _NAMES if some[0] in held), _NAMES[0])
    wanted = names if set(names[2:]) & set(held) else names[:2]
    # Any type: what is not right is said later, with what to do.
    arrays = read_npz(file, dict.fromkeys(wanted, Array(dtype=np.generic)), _WHAT)
    if others := [name for name in held if name not in wanted]:
        log.info("%s: %s left out.", file, listed(others))
    return names, arrays


def _pair(
    file: pathlib.Path, names: Sequence[str], arrays: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns images, uint8 [n, h, w, c], and as many labels, which are not yet read.

    What is returned is no longer in `arrays`, so that nothing is kept twice.
    """
    images, labels = (arrays.pop(name) for name in names)
    images = to_pixels(images, None, f"images {names[0]} of {file}", in_file=True)
    if labels.ndim == 0 or len(labels) != len(images):
        count = len(labels) if labels.ndim else "no list of"
        raise UserError(
            f"{file}: {names[0]} has {len(images)} images and {names[1]} has {count} "
            "labels; give one label an image"
        )
    return images, labels
