"""Which data a run or a study is made of: told in words, kept as JSON, compared.

Names and places of files are no part of what is compared, so data may move.
"""

import dataclasses
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dam_tf.base.errors import UserError
from dam_tf.base.messages import log, say_once
from dam_tf.base.trials import DATA, Trials
from dam_tf.data.real_data import RealData, Split

_MOST_NAMED = 3  # classes, in a message


@dataclasses.dataclass(frozen=True)
class Identity:
    """What a data set is, without its images.

    Attributes:
        name: As in the settings.
        source: Where the images come from, and in which version; it may be unknown.
        class_names: In the order of the labels.
        image_shape: Height, width and channels.
        train: Training images of each class.
        train_pixels: A fingerprint of the pixels of all training images, in order.
        test: Test images of each class; empty where there are none.
        test_pixels: As `train_pixels`.
    """

    name: str
    source: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, ...]
    train: tuple[int, ...]
    train_pixels: str
    test: tuple[int, ...] = ()
    test_pixels: str = ""

    @classmethod
    def of(cls, data: RealData, pixels: bool = True) -> "Identity":
        """Returns that of `data`.

        Args:
            data: The data set.
            pixels: Whether all images are read, for the fingerprints of their pixels.

        Example:
            >>> from dam_tf.data.real_data import sorted_split
            >>> split = sorted_split(np.zeros([3, 8, 8, 1], np.uint8), [1, 2])
            >>> identity = Identity.of(RealData("pets", ("cat", "dog"), split))
            >>> print(identity)
            pets: 2 classes, train 3 (1 to 2 a class), no test images, 8x8x1
            >>> Identity.from_dict(dataclasses.asdict(identity)) == identity
            True
        """
        counts, prints = [], []
        for split in filter(None, (data.train, data.test)):
            counts.append(tuple(np.diff(split.offsets).tolist()))
            prints.append(_pixels(split) if pixels else "")
        train, *test = itertools.chain(*zip(counts, prints, strict=True))
        return cls(
            data.name, data.source, data.class_names, data.image_shape, train, *test
        )

    @classmethod
    def from_dict(cls, values: Any) -> "Identity":
        """Returns what `dataclasses.asdict` made plain, maybe read from JSON.

        Raises:
            ValueError: it is damaged.
        """
        if not isinstance(values, Mapping):
            raise ValueError("it is no table")
        found = {}
        for field in dataclasses.fields(cls):
            kind = str if field.type is str else int
            kind = str if field.name == "class_names" else kind
            value = values.get(field.name)
            if field.type is not str and isinstance(value, (list, tuple)):
                if all(type(item) is kind for item in value):
                    found[field.name] = tuple(value)
            elif field.type is str and isinstance(value, str):
                found[field.name] = value
            if field.name not in found:
                raise ValueError(f"its {field.name!r} is {value!r}")
        return cls(**found)

    def __str__(self) -> str:
        source = f" ({self.source})" if self.source else ""
        size = "x".join(map(str, self.image_shape))
        classes = f"{len(self.class_names):,} classes"
        return f"{self.name}{source}: {classes}, {self.in_numbers()}, {size}"

    def in_numbers(self) -> str:
        """Returns how many images there are, of each split and of its classes."""
        tested = f"test {_range(self.test)}" if self.test else "no test images"
        return f"train {_range(self.train)}, {tested}"

    def differences(self, now: "Identity", tested: bool = False) -> str:
        """Returns in what other data differ from these; nothing if they are the same.

        Args:
            now: The others.
            tested: Whether the test images are compared, too.

        Example:
            >>> pets = Identity("pets", "", ("cat", "dog"), (8, 8, 1), (3, 4), "ab")
            >>> named = dataclasses.replace(pets, class_names=("dog", "feline"))
            >>> pets.differences(named)
            "class 'cat' is gone, class 'feline' is new"
            >>> pets.differences(dataclasses.replace(pets, train=(3, 5)))
            "class 'dog' has 5 training images, not 4"
        """
        found = [_names(self.class_names, now.class_names)]
        if self.image_shape != now.image_shape:
            is_now, was = ("x".join(map(str, one.image_shape)) for one in (now, self))
            found.append(f"images are {is_now}, not {was}")
        splits = [("training", self.train, now.train)]
        pixels = [("training", self.train_pixels, now.train_pixels)]
        if tested:
            splits.append(("test", self.test, now.test))
            pixels.append(("test", self.test_pixels, now.test_pixels))
        if self.class_names == now.class_names:
            found += [_sizes(now.class_names, *split) for split in splits]
        if not any(found):
            found += [
                f"the pixels of the {name} images differ"
                for name, before, after in pixels
                if before != after
            ]
        return ", ".join(filter(None, found))


def keep_identity(trials: Trials, data: RealData) -> None:
    """Adds to a study of which data it is, and refuses others on resuming.

    Args:
        trials: Of the study, before it begins.
        data: The real data, training and test images.

    Raises:
        UserError: as `check_identity`.
    """
    check_identity(trials, Identity.of(data))


def check_identity(trials: Trials, now: Identity) -> None:
    """Does what `keep_identity` does, of data that another process has read.

    Raises:
        UserError: a study that is resumed was begun on other data, or does not say on
            which.
    """
    if trials.stored:
        path = trials.folder / "settings.json"
        try:
            before = Identity.from_dict(trials.stored.get(DATA))
        except ValueError as error:
            raise UserError(
                f"cannot resume {trials.folder}: {path.name} there does not say of "
                f"which data the study is ({error}); restore it, or start anew with "
                "--overwrite"
            ) from None
        if found := before.differences(now, tested=True):
            raise UserError(
                f"cannot resume {trials.folder} with other data: {now.name} now is not "
                f"what the study was started with: {found}; give the same data, or "
                "start anew with --overwrite"
            )
        tell_moved(trials.folder, before.name, now.name)
    trials.remember(DATA, dataclasses.asdict(now))
    say_once(str(now))


def tell_data(data: RealData) -> None:
    """Says, once, which data these are, and how many."""
    say_once(str(Identity.of(data, pixels=False)))


def tell_moved(folder: Any, before: str, now: str) -> None:
    """Says that the same data have another name, or another place, than before."""
    if before != now:
        log.info(
            "The data of %s were %s and are %s now: the same.", folder, before, now
        )


def _pixels(split: Split) -> str:
    checksums = np.asarray(split.image_checksums(), "<u4")
    return hashlib.blake2b(checksums.tobytes(), digest_size=16).hexdigest()


def _range(counts: Sequence[int]) -> str:
    few, many = min(counts), max(counts)
    each = f"{few:,}" if few == many else f"{few:,} to {many:,}"
    return f"{sum(counts):,} ({each} a class)"


def _names(before: Sequence[str], now: Sequence[str]) -> str:
    if before == now:
        return ""
    changes = [
        f"{_classes([name for name in one if name not in set(other)])} {what}"
        for one, other, what in ((before, now, "gone"), (now, before, "new"))
        if set(one) - set(other)
    ]
    return ", ".join(changes) or "the classes are in another order"


def _classes(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_MOST_NAMED]))
    if len(names) > _MOST_NAMED:
        shown += f" and {len(names) - _MOST_NAMED} more"
    return f"classes {shown} are" if len(names) > 1 else f"class {shown} is"


def _sizes(
    names: Sequence[str], kind: str, before: Sequence[int], now: Sequence[int]
) -> str:
    if len(before) != len(now):
        return f"there are {'no ' if not now else ''}{kind} images now"
    changed = [k for k in range(len(now)) if before[k] != now[k]]
    if not changed:
        return ""
    first, others = changed[0], len(changed) - 1
    more = f" (and {others} more classes differ)" if others else ""
    images = "image" if now[first] == 1 else "images"
    return (
        f"class {names[first]!r} has {now[first]} {kind} {images}, not "
        f"{before[first]}{more}"
    )
