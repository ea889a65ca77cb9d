"""Real images in memory or in a memory-mapped file: uint8, once, sorted by class."""

import dataclasses
import functools
import hashlib
import unicodedata
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from dam_tf.base.errors import UserError
from dam_tf.data.source import SplitContents, progress

# Unicode's categories of control characters, line ends and halves of characters.
_NO_LETTERS = {"Cc", "Zl", "Zp", "Cs"}


class FilesChanged(UserError):
    """Files of a data set are not what they were when it was looked at.

    Args:
        description: Names what was read.
    """

    def __init__(self, description: str):
        super().__init__(
            f"{description}: the files changed while they were read; start again when "
            "nothing writes to them"
        )


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

    @property
    def counts(self) -> np.ndarray:
        """Images of each class, int64 [classes]."""
        return np.diff(self.offsets)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Returns a copy of the images `rows`, uint8 [len(rows), h, w, channels]."""
        return self.images[rows]

    def class_images(self, k: int) -> np.ndarray:
        """Returns the images of class `k`, uint8 [n, height, width, channels]."""
        return self.images[self.offsets[k] : self.offsets[k + 1]]

    def checked_images(self) -> np.ndarray:
        """Returns all images, uint8 [n, h, w, channels], for reading part by part.

        Those of a cache are compared with their checksums as they are read.
        """
        return self.images

    def image_checksums(self) -> np.ndarray:
        """Returns the CRC-32 of each image, uint32 [n]; those of a cache are stored."""
        return self._checksums

    @functools.cached_property
    def _checksums(self) -> np.ndarray:
        # Computed once: a run asks for its fingerprint, and for what it keeps of them.
        return row_checksums(self.images)


@dataclasses.dataclass(frozen=True)
class RealData:
    """A labelled image data set.

    Attributes:
        name: As in the settings.
        class_names: In the order of the labels.
        train: What is distilled.
        test: What a network is tested on; None where the data set has no such images.
        source: Where the images come from, and in which version, if that is known.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    test: Split | None = None
    source: str = ""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @functools.cached_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that tell the training images of a data set.

        They depend on the class names, the shape of the images, how many each class
        has, and all their pixels; not on the name, on the test images, or on whether
        the images lie in memory or in a cache. Computed once, 0.1 s for CIFAR-10.

        Example:
            >>> split = sorted_split(np.zeros([2, 1, 1, 1], np.uint8), [1, 1])
            >>> RealData("pets", ("cat", "dog"), split).fingerprint
            'ec1b554a288b6118d135c4a2b859a2d8'
        """
        offsets, checksums = self.train.offsets, self.train.image_checksums()
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr((self.class_names, self.image_shape)).encode())
        digest.update(np.asarray(offsets, "<i8").tobytes())
        digest.update(np.asarray(checksums, "<u4").tobytes())
        return digest.hexdigest()

    def tested(self) -> Split:
        """Returns the test images.

        Raises:
            UserError: the data set has none.
        """
        if self.test is None:
            raise UserError(
                f"{self.name} has no test images, on which networks are tested; give "
                "some"
            )
        return self.test


def named(data: RealData, name: str) -> RealData:
    """Returns `data` under the name that it has in the settings of a run.

    Example:
        >>> data = RealData("pets", (), sorted_split(np.zeros([0, 8, 8, 1]), []))
        >>> named(data, "folder:/pets").name
        'folder:/pets'
    """
    return data if data.name == name else dataclasses.replace(data, name=name)


def row_checksums(images: np.ndarray) -> np.ndarray:
    """Returns the CRC-32 of each image, uint32 [n].

    Example:
        >>> row_checksums(np.zeros([2, 1, 1, 1], np.uint8))
        array([3523407757, 3523407757], dtype=uint32)
    """
    checksums = (zlib.crc32(np.ascontiguousarray(image)) for image in images)
    return np.fromiter(checksums, np.uint32, len(images))


def sorted_split(images: np.ndarray, counts: np.ndarray) -> Split:
    """Returns the split of `images` that are sorted by class already."""
    counts = np.asarray(counts, np.int64)
    labels = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    return Split(images, labels, offsets)


def composed(name: str) -> str:
    """Returns the name of a class in Unicode's composed form (NFC).

    macOS and Linux may write the same name in two forms, which look alike.

    Example:
        >>> composed("cafe\u0301") == "caf\u00e9"
        True
    """
    return unicodedata.normalize("NFC", name)


def check_class_names(names: Sequence[str]) -> None:
    """Raises a `UserError` unless classes can be called by these names and saved.

    Example:
        >>> check_class_names(["cat", "dog"])
    """
    if len(set(names)) != len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise UserError(f"class names must differ: {double!r} is there twice")
    for name in names:
        # TFDS keeps one name a line, spaces around it removed; others keep tables with
        # tabs, and all keep UTF-8.
        broken = any(unicodedata.category(letter) in _NO_LETTERS for letter in name)
        if broken or not name or name != name.strip():
            raise UserError(
                f"class name {name!r} is empty, begins or ends with a space, or has "
                "tabs, several lines or other characters that are no text; rename it"
            )


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
    test = None if data.test is None else split_of(data.test)
    return RealData(data.name, names, split_of(data.train), test, data.source)


def read_into(images: np.ndarray, split: SplitContents, description: str) -> None:
    """Reads a split once, in its own order, and sorts it by class on the way.

    Args:
        images: Where they go, uint8 [n, height, width, channels].
        split: What is read.
        description: For the progress bar.
    """
    nothing = np.zeros_like(split.counts)
    with progress(len(images), description) as bar:
        for rows, chunk, _ in sorted_chunks(split, nothing, description):
            images[rows] = chunk
            bar.update(len(rows))


def sorted_rows(
    split: SplitContents, filled: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns how images of `labels` [n] are sorted, and the rows they then belong in.

    Args:
        split: What they are of.
        filled: Images of each class that came before them, int64 [classes].
        labels: The class of each, integer [n].

    Returns:
        The order, int64 [n], and the rows, int64 [n], ascending.
    """
    order = np.argsort(labels, kind="stable")
    labels = labels[order]
    # How many of these images that are of the same class come before.
    before = np.arange(len(labels)) - np.searchsorted(labels, labels)
    starts = np.cumsum(split.counts) - split.counts
    return order, starts[labels] + filled[labels] + before


def sorted_chunks(
    split: SplitContents, filled: np.ndarray, description: str
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Reads what is missing of a split, and says where each image belongs.

    Args:
        split: What is read, in its own order.
        filled: Images of each class that have been read before, int64 [classes].
        description: Names the split in errors.

    Yields:
        rows, ascending, int64 [n]; the images that belong there, uint8 [n, h, w, c];
        and how many images of each class have been read with them, as `filled`.

    Raises:
        FilesChanged: there are more images of a class, or fewer, than were counted.
    """
    for chunk, labels in split.chunks(int(filled.sum())):
        order, rows = sorted_rows(split, filled, labels)
        filled = filled + np.bincount(labels, minlength=len(filled))
        if np.any(filled > split.counts):
            break
        yield rows, chunk[order], filled
    if np.any(filled != split.counts):
        raise FilesChanged(description)
