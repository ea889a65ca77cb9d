"""The real images of a search: what is trained on, ranked by and tested on."""

import dataclasses

import numpy as np

from dam_tf.base.errors import UserError
from dam_tf.base.seeds import Purpose, numpy_generator
from dam_tf.data.real_data import RealData, Split, sorted_split
from dam_tf.studies.search.settings import SearchSettings


@dataclasses.dataclass(frozen=True)
class SearchData:
    """The parts of a data set.

    Attributes:
        train: The data without the held-out training images.
        whole: The same, with as many training images as stand for the whole set.
        exam: What each network is asked: the held-out images, then those of the test.
        held_out: How many there are of the former.
    """

    train: RealData
    whole: RealData
    exam: Split
    held_out: int


def divide(data: RealData, settings: SearchSettings, seed: int) -> SearchData:
    """Divides real data for a search.

    Args:
        data: All images.
        settings: How many are held out, and how many are used at all.
        seed: Decides which.

    Raises:
        UserError: nothing would be left to train on.

    Example:
        >>> from dam_tf.config.sections import DatasetConfig
        >>> from dam_tf.data.loading import load_dataset
        >>> digits = load_dataset(DatasetConfig(name="digits"))
        >>> parts = divide(digits, SearchSettings(test_images=50), seed=0)
        >>> len(digits.train.labels), len(parts.train.train.labels), parts.held_out
        (1442, 1298, 144)
        >>> len(parts.exam.labels)
        194
    """
    train, validation = _hold_out(data, settings.validation, seed)
    test = _some_rows(data.tested(), settings.test_images, seed)
    exam = Split(
        np.concatenate([validation.images, data.tested().take(test)]),
        np.concatenate([validation.labels, data.tested().labels[test]]),
        np.array([0, len(validation.labels) + len(test)]),
    )
    whole = _thin(train, settings.whole_images, seed)
    return SearchData(train, whole, exam, len(validation.labels))


def _hold_out(data: RealData, count: int | None, seed: int) -> tuple[RealData, Split]:
    """Splits training images into those to train on and those to rank by."""
    total = len(data.train.images)
    count = max(1, total // 10) if count is None else count
    if count >= total:
        raise UserError(
            f"validation {count} leaves none of {data.name}'s {total} training images"
        )
    held_out = np.zeros(total, bool)
    held_out[_some_rows(data.train, count, seed)] = True
    rest, validation = (
        _rows_of(data.train, np.flatnonzero(rows), data.num_classes)
        for rows in (~held_out, held_out)
    )
    return dataclasses.replace(data, train=rest), validation


def _thin(data: RealData, count: int | None, seed: int) -> RealData:
    """Returns `data` with `count` training images."""
    if count is None:
        return data
    rows = _some_rows(data.train, count, seed)
    train = _rows_of(data.train, rows, data.num_classes)
    return dataclasses.replace(data, train=train)


def _some_rows(split: Split, count: int | None, seed: int) -> np.ndarray:
    """Returns rows of `count` images, of each class its share of them, ascending."""
    generator = numpy_generator(seed, Purpose.ARCHITECTURE_SEARCH, 0)
    places = np.concatenate(
        [generator.permutation(size) / size for size in np.diff(split.offsets)]
    )
    return np.sort(np.argsort(places, kind="stable")[:count])


def _rows_of(split: Split, rows: np.ndarray, classes: int) -> Split:
    counts = np.bincount(split.labels[rows], minlength=classes)
    return sorted_split(split.take(rows), counts)
