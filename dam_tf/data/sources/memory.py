"""Data that a program holds already: arrays, tensors and `tf.data`, as `RealData`.

`pixels.py` reads the images and `classes.py` the labels; here both come together,
sorted by class.
"""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dam_tf.base.errors import UserError
from dam_tf.config.settings import DatasetConfig
from dam_tf.data.catalog import ARRAYS
from dam_tf.data.loading import load_dataset
from dam_tf.data.real_data import RealData, Split, class_subset, sorted_split
from dam_tf.data.source import CHUNK, kept_classes, progress
from dam_tf.data.sources.classes import class_numbers, named_classes
from dam_tf.data.sources.pixels import to_pixels
from dam_tf.data.sources.resizing import resize


def as_real_data(
    data: Any,
    labels: Any = None,
    test: Any = None,
    class_names: Sequence[str] | None = None,
    pixel_range: tuple[float, float] | None = None,
    dataset: DatasetConfig | None = None,
) -> RealData:
    """Returns real data of whatever a program holds.

    Images are [n, height, width] or [n, height, width, channels], with 1 or 3
    channels: uint8 or other whole numbers 0 to 255, booleans, or floating point, which
    is rounded to 256 levels. Floating point within 0 to 1 is black to white; for other
    values, `pixel_range` must say which are.

    Labels are [n], [n, 1] or one-hot [n, classes]. Whole numbers are the names of the
    classes, in their order; texts are sorted. With `class_names`, whole numbers are
    positions in it, unless all of these names are whole numbers themselves.

    Args:
        data: Images: an array, or anything that NumPy makes one of; a finite
            `tf.data.Dataset` of (image, label) or {"image": ..., "label": ...},
            batched or not, which is read once; or, without labels, the name of a data
            set (a catalog name, `folder:PATH`, `npz:PATH`, a TFDS name), or RealData.
        labels: Of `data`, where that is images.
        test: What networks are tested on: a pair (images, labels), a `tf.data.Dataset`,
            or a name or RealData, whose test images are meant; none if left out.
        class_names: The classes, in the order of the labels; found in the labels if
            left out.
        pixel_range: The values of black and white, such as (-1, 1).
        dataset: Further settings: `image_size` and `max_classes`, and those that a
            name is loaded with.

    Returns:
        The images, uint8, sorted by class; within a class they keep their order. Arrays
        of uint8 that are sorted already are not copied. What was given as arrays is
        named by its fingerprint, so that a run knows its data.

    Raises:
        UserError: something given cannot be used.

    Example:
        >>> images = np.zeros([3, 8, 8], np.uint8)
        >>> data = as_real_data(images, ["dog", "cat", "dog"])
        >>> data.class_names, data.train.labels, data.image_shape
        (('cat', 'dog'), array([0, 1, 1]), (8, 8, 1))
    """
    dataset = dataset or DatasetConfig()
    if isinstance(data, (str, RealData)):
        _check_alone(data, labels, class_names, pixel_range)
    if isinstance(data, str):
        real = load_dataset(dataclasses.replace(dataset, name=data))
        return real if test is None else _with_test(real, test, pixel_range, dataset)
    if isinstance(data, RealData):
        real = data
    else:
        images, labels = _arrays(data, labels, pixel_range)
        numbers, names = named_classes(labels, class_names)
        split = sorted_by_class(images, numbers, len(names))
        real = RealData(ARRAYS, names, split)
        real = dataclasses.replace(real, name=f"{ARRAYS}:{real.fingerprint[:12]}")
    if test is not None:
        real = _with_test(real, test, pixel_range, DatasetConfig())
    return _fitted(real, dataset)


def test_split(
    test: Any,
    class_names: Sequence[str],
    image_shape: tuple[int, int, int],
    pixel_range: tuple[float, float] | None = None,
    dataset: DatasetConfig | None = None,
) -> Split:
    """Returns test images, sorted by the classes of what they are a test for.

    Classes are matched by name; labels are read as `as_real_data` reads them with
    `class_names`. A class may have no image.

    Args:
        test: As for `as_real_data`.
        class_names: Of what is tested.
        image_shape: Height, width and channels of what is tested.
        pixel_range: The values of black and white in an array.
        dataset: Settings that a name is loaded with.

    Raises:
        UserError: it cannot be read, or has another shape or other classes.

    Example:
        >>> pair = np.zeros([2, 8, 8], np.uint8), ["dog", "cat"]
        >>> test_split(pair, ("ant", "cat", "dog"), (8, 8, 1)).labels
        array([1, 2])
    """
    dataset = dataset or DatasetConfig()
    if isinstance(test, (str, RealData)):
        real = test
        if isinstance(test, str):
            real = load_dataset(dataclasses.replace(dataset, name=test))
        split, what = real.tested(), f"the test images of {real.name}"
        if real.class_names != tuple(class_names):
            labels = np.asarray(real.class_names)[split.labels]
            numbers = class_numbers(labels, class_names, what)
            split = sorted_by_class(split.checked_images(), numbers, len(class_names))
    else:
        what = "the test images"
        images, labels = _arrays(test, None, pixel_range, "test ")
        numbers = class_numbers(labels, class_names, what)
        split = sorted_by_class(images, numbers, len(class_names))
    split = _resized(split, dataset.image_size)
    shape = split.images.shape[1:]
    if shape != tuple(image_shape):
        raise UserError(
            f"{what} are {shape}, those that they are to test {tuple(image_shape)}; "
            "give test images of the same height, width and channels"
        )
    return split


def sorted_by_class(images: np.ndarray, labels: np.ndarray, classes: int) -> Split:
    """Returns the split of images in any order; a copy unless they are sorted.

    Args:
        images: uint8 [n, height, width, channels].
        labels: Integer [n], 0 to classes - 1.
        classes: How many classes there are.
    """
    if np.any(np.diff(labels) < 0):
        images = images[np.argsort(labels, kind="stable")]
    return sorted_split(images, np.bincount(labels, minlength=classes))


def _check_alone(data: str | RealData, *others: Any) -> None:
    """Raises a `UserError` if what only arrays need was given beside `data`."""
    names = ("labels", "class_names", "pixel_range")
    for what, value in zip(names, others, strict=True):
        if value is not None:
            name = data if isinstance(data, str) else data.name
            raise UserError(f"{what} cannot be given for {name!r}, which has its own")


def _with_test(
    data: RealData, test: Any, pixel_range: Any, dataset: DatasetConfig
) -> RealData:
    split = test_split(test, data.class_names, data.image_shape, pixel_range, dataset)
    return dataclasses.replace(data, test=split)


def _fitted(data: RealData, dataset: DatasetConfig) -> RealData:
    """Returns `data` with as many classes and of the size that `dataset` says."""
    classes = kept_classes(dataset.max_classes, data.num_classes, data.name)
    if classes < data.num_classes:
        data = class_subset(data, range(classes))
    size, test = dataset.image_size, data.test
    if size is None or data.image_shape[:2] == (size, size):
        return data
    test = test and _resized(test, size)
    return dataclasses.replace(data, train=_resized(data.train, size), test=test)


def _resized(split: Split, size: int | None) -> Split:
    height, width, channels = split.images.shape[1:]
    if size is None or (height, width) == (size, size):
        return split
    images = np.empty([len(split.images), size, size, channels], np.uint8)
    for start in range(0, len(images), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(images)))
        images[rows] = resize(split.take(rows), (size, size, channels))
    return Split(images, split.labels, split.offsets)


def _arrays(
    data: Any, labels: Any, pixel_range: tuple[float, float] | None, kind: str = ""
) -> tuple[np.ndarray, Any]:
    """Returns images, uint8 [n, h, w, c], and as many labels, which are not yet read.

    `kind` names the images in errors: `"test "`.
    """
    if labels is None and isinstance(data, (tuple, list)) and len(data) == 2:
        data, labels = data
    tf = sys.modules.get("tensorflow")  # who has a data set of it has imported it
    if tf is not None and isinstance(data, tf.data.Dataset):
        if labels is not None:
            raise UserError(
                f"the {kind}labels come from the tf.data.Dataset; give none beside it"
            )
        parts = [*zip(*_parts(data, kind), strict=True)]
        if not parts:
            raise UserError(f"the tf.data.Dataset of {kind}images is empty")
        if len({image.shape[1:] for image in parts[0]}) > 1:
            raise _several_sizes(kind)
        data, labels = (np.concatenate(part) for part in parts)
    if labels is None:
        raise UserError(
            f"{kind}images need labels, one for each; {type(data).__name__} was given "
            "alone (accepted: images and labels, a tf.data.Dataset of both, the name "
            "of a data set, or RealData)"
        )
    images = to_pixels(data, pixel_range, f"{kind}images")
    labels = labels if hasattr(labels, "__len__") else list(labels)
    if len(labels) != len(images):
        raise UserError(
            f"there are {len(images)} {kind}images and {len(labels)} labels; give one "
            "label an image"
        )
    return images, labels


def _parts(dataset: Any, kind: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields images and labels of a `tf.data.Dataset`, some at a time; reads it once.

    Raises:
        UserError: it has no end, or other elements than (image, label).
    """
    import tensorflow as tf

    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise UserError(
            f"the tf.data.Dataset of {kind}images has no end; leave out repeat()"
        )
    spec = dataset.element_spec
    if isinstance(spec, dict) and {"image", "label"} <= spec.keys():
        dataset = dataset.map(lambda element: (element["image"], element["label"]))
        spec = dataset.element_spec
    if (
        not isinstance(spec, tuple)
        or len(spec) != 2
        or not all(isinstance(one, tf.TensorSpec) for one in spec)
    ):
        raise UserError(
            f"the elements of the tf.data.Dataset of {kind}images must be (image, "
            f"label) or {{'image': ..., 'label': ...}}, dense, not {spec}"
        )
    known = spec[0].shape.rank is not None
    if known and _is_one(spec[0].shape, spec[1].shape.rank):
        dataset = dataset.batch(CHUNK)
    try:
        with progress(None, f"reading {kind}images") as bar:
            for image, label in dataset.as_numpy_iterator():
                if not known and _is_one(image.shape, np.ndim(label)):
                    image, label = image[np.newaxis], np.asarray(label)[np.newaxis]
                bar.update(len(image))
                yield image, label
    except tf.errors.InvalidArgumentError as error:
        # Others come from the user's own pipeline.
        if "Cannot batch" in str(error) or "to the batch" in str(error):
            raise _several_sizes(kind) from None
        raise


def _several_sizes(kind: str) -> UserError:
    return UserError(
        f"the {kind}images of the tf.data.Dataset have several sizes; give all "
        "the same, as by dataset.map(lambda x, y: (tf.image.resize(x, [32, 32]), y))"
    )


def _is_one(image: Sequence[int | None], label_rank: int | None) -> bool:
    """Whether elements of these shapes are single images, and no batches of them."""
    return len(image) == 2 or (
        len(image) == 3 and (label_rank == 0 or image[-1] in (1, 3))
    )
