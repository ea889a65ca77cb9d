"""Real images in memory or in a memory-mapped file: uint8, once, sorted by class."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from dam_tf.datasets.source import SplitContents, progress
from dam_tf.errors import UserError


@dataclasses.dataclass(frozen=True)
class Split:
    """The images of one split, sorted by class.

    Attributes:
        images: uint8 [n, height, width, channels], in memory or memory-mapped.
        labels: int64 [n], ascending.
        offsets: int64 [classes + 1]; class k is `images[offsets[k]:offsets[k + 1]]`.
    """

    images: np.ndarray
    labels: np.ndarray
    offsets: np.ndarray

    def class_images(self, k: int) -> np.ndarray:
        """Returns the images of class `k`, uint8 [n, height, width, channels]."""
        return self.images[self.offsets[k] : self.offsets[k + 1]]


@dataclasses.dataclass(frozen=True)
class RealData:
    """A labelled image data set.

    Attributes:
        name: As in the settings.
        class_names: In the order of the labels.
        train: What is distilled.
        test: What a network is tested on.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    test: Split

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)


def sorted_split(images: np.ndarray, counts: np.ndarray) -> Split:
    """Returns the split of `images` that are sorted by class already."""
    counts = np.asarray(counts, np.int64)
    labels = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    return Split(images, labels, offsets)


def class_subset(data: RealData, classes: Sequence[int]) -> RealData:
    """Returns some classes of a data set, relabelled in the order they are given.

    Images are copied, so those of a memory-mapped data set come into memory.

    Args:
        data: The data set.
        classes: Labels in `data`, all different; label k of the subset is
            `classes[k]`.

    Raises:
        ValueError: a label is not one of `data`, or is there twice, or none is.

    Example:
        >>> images = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1)
        >>> split = sorted_split(images, [1, 2])
        >>> data = RealData("pets", ("cat", "dog"), split, split)
        >>> subset = class_subset(data, [1])
        >>> subset.class_names, subset.train.images.ravel(), subset.train.labels
        (('dog',), array([1, 2], dtype=uint8), array([0, 0]))
    """
    known = set(range(data.num_classes))
    if not classes or len(set(classes)) < len(classes) or not set(classes) <= known:
        raise ValueError(
            f"classes must be different labels 0 to {data.num_classes - 1}, not "
            f"{list(classes)}"
        )

    def split_of(split: Split) -> Split:
        parts = [split.class_images(k) for k in classes]
        return sorted_split(np.concatenate(parts), [len(part) for part in parts])

    names = tuple(data.class_names[k] for k in classes)
    return RealData(data.name, names, split_of(data.train), split_of(data.test))


def read_into(images: np.ndarray, split: SplitContents, description: str) -> None:
    """Reads a split once, in its own order, and sorts it by class on the way.

    Args:
        images: Where they go, uint8 [n, height, width, channels].
        split: What is read.
        description: For the progress bar.
    """
    ends = np.cumsum(split.counts)
    free = ends - split.counts  # the next free place of each class
    with progress(len(images), description) as bar:
        for chunk, labels in split.chunks():
            order = np.argsort(labels, kind="stable")
            labels = labels[order]
            # How many of the chunk's images of the same class come before.
            before = np.arange(len(labels)) - np.searchsorted(labels, labels)
            places = free[labels] + before
            if np.any(places >= ends[labels]):
                break
            images[places] = chunk[order]
            free += np.bincount(labels, minlength=len(free))
            bar.update(len(labels))
    if np.any(free != ends):
        raise UserError(f"{description}: the files changed while they were read")
