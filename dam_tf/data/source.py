"""What every kind of data set is turned into before its images are read.

A `Source` is cheap: it knows where its files are, and a text that changes when they
do. Looking at it (`Source.look`) reads headers and labels, and gives `Contents`, from
which all images can be read, in chunks and in an order of its own, from any one on.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dam_tf.base.errors import UserError
from dam_tf.base.messages import progress_bar

CHUNK = 256  # images that are read at a time

Chunks = Iterator[tuple[np.ndarray, np.ndarray]]
Notes = tuple[tuple[int, str], ...]  # lines for the user, with a level of `logging`


@dataclasses.dataclass(frozen=True)
class SplitContents:
    """One split that has not been read yet.

    Attributes:
        counts: Images of each class, int64 [classes].
        chunks: Starts a pass over the split at an image, 0 being the first; yields
            images, uint8 [at most CHUNK, height, width, channels], and their labels,
            integer [n]. The order is the same in every pass.
    """

    counts: np.ndarray
    chunks: Callable[[int], Chunks]


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a data set holds: its classes, the shape of its images, its splits.

    `test` is None where the data set has no test images.
    """

    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    train: SplitContents
    test: SplitContents | None = None

    def splits(self) -> dict[str, SplitContents]:
        """Returns the splits that are there, by name."""
        both = {"train": self.train, "test": self.test}
        return {name: split for name, split in both.items() if split is not None}


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set that has not been looked at yet.

    Attributes:
        name: What the user calls it.
        identity: Changes whenever the images may have changed.
        look: Reads headers and labels.
        origin: Where the images come from, and in which version, for people.
        notes: What is to be said of it when it is loaded, such as what is left out.
    """

    name: str
    identity: str
    look: Callable[[], Contents]
    origin: str = ""
    notes: Notes = ()


def kept_classes(max_classes: int | None, classes: int, name: str) -> int:
    """Returns how many of `classes` are kept.

    Raises:
        UserError: `max_classes` is more than there are, or one class is left.
    """
    kept = classes if max_classes is None else max_classes
    if kept > classes:
        raise UserError(
            f"dataset.max_classes is {kept}, but {name} has {classes} classes; "
            f"give at most {classes} or leave it out"
        )
    if kept < 2:
        raise UserError(
            f"{name} has {kept} class; a classifier needs images of at least 2 classes"
        )
    return kept


def progress(total: int | None, description: str, done: int = 0) -> Any:
    """Returns a bar of images, from `done` to `total`, shown if it takes a while."""
    return progress_bar(
        description, " images", total=total, initial=done, delay=1, leave=False
    )
