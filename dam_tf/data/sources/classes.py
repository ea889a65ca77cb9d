"""Labels that a program holds, in any of their usual forms, as classes with names."""

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from dam_tf.base.errors import UserError, did_you_mean
from dam_tf.data.real_data import check_class_names, composed

_FORMS = "[n], [n, 1] or one-hot [n, classes]"


def named_classes(
    labels: Any, class_names: Sequence[str] | None = None, what: str = "the labels"
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns the class of each training image, and what the classes are called.

    Args:
        labels: Whole numbers or texts, [n] or [n, 1], or one-hot [n, classes].
        class_names: The classes, in the order of the labels. Left out, texts are the
            names, sorted; so are whole numbers, by their value; columns are numbered.
        what: Names the labels in messages.

    Returns:
        Positions in the names, int64 [n], and the names.

    Raises:
        UserError: the labels cannot be read, or do not fit to the names; a class has
            no image; or there is only one class.

    Example:
        >>> named_classes([10, 9, 10])
        (array([1, 0, 1]), ('9', '10'))
        >>> named_classes([[0, 1], [1, 0]], ["cat", "dog"])
        (array([1, 0]), ('cat', 'dog'))
    """
    values, columns = _values(labels, what)
    if class_names is not None:
        names = tuple(composed(str(name)) for name in class_names)
        found = class_numbers(labels, names, what)
    elif columns is not None:
        names, found = tuple(map(str, range(columns))), values
    else:
        unique, found = np.unique(values, return_inverse=True)
        names = tuple(map(str, unique.tolist()))
    check_class_names(names)
    if len(names) < 2:
        raise UserError(
            f"all images are of one class, {names[0]!r}, in {what}; a classifier needs "
            "images of at least 2 classes"
        )
    missing = np.setdiff1d(np.arange(len(names)), found)
    if len(missing):
        raise UserError(
            f"class {names[missing[0]]!r} has no image in {what}; give images of every "
            "class, or leave it out"
        )
    return found.astype(np.int64), names


def class_numbers(labels: Any, class_names: Sequence[str], what: str) -> np.ndarray:
    """Returns the positions of labels in known class names, int64 [n].

    Texts are names. Whole numbers are names too, where all names are whole numbers;
    else they are positions, as are the columns of one-hot labels.

    Args:
        labels: As for `named_classes`.
        class_names: All classes there are.
        what: Names the labels, or their images, in messages.

    Raises:
        UserError: the labels cannot be read, or one of them is none of the classes.

    Example:
        >>> class_numbers(["dog", "cat"], ("cat", "dog"), "the labels")
        array([1, 0])
        >>> class_numbers([9, 10], ("10", "9"), "the labels")
        array([1, 0])
    """
    values, columns = _values(labels, what)
    names = [composed(str(name)) for name in class_names]
    if columns is not None:
        if columns != len(names):
            raise UserError(
                f"{what} have {columns} classes (columns of one-hot labels), but there "
                f"are {len(names)} class names"
            )
        return values
    unique, inverse = np.unique(values, return_inverse=True)
    by_name = values.dtype.kind == "U" or all(map(_is_whole_number, names))
    known = {name: k for k, name in enumerate(names)} if by_name else None
    found = []
    for value in unique.tolist():
        position = value if known is None else known.get(str(value))
        if position is None or not 0 <= position < len(names):
            raise UserError(_stranger(value, names, by_name, what))
        found.append(position)
    return np.array(found, np.int64)[inverse]


def _stranger(value: Any, names: list[str], by_name: bool, what: str) -> str:
    if not by_name:
        return (
            f"{what} have the label {value}; with {len(names)} named classes, labels "
            f"must be 0 to {len(names) - 1}, or names"
        )
    few = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    hint = did_you_mean(str(value), names)
    return f"{what} have the label {value!r}{hint}, but the classes are {few}"


def _is_whole_number(name: str) -> bool:
    return name.removeprefix("-").isdecimal()


def _values(labels: Any, what: str) -> tuple[np.ndarray, int | None]:
    """Returns labels as int64 or text [n]; and how many columns they had, if one-hot.

    One-hot labels are returned as positions.
    """
    try:
        array = np.asarray(labels)
    except (ValueError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{what} cannot be made an array of labels ({reason}); give {_FORMS}"
        ) from None
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2 and array.dtype.kind in "biuf" and array.size:
        zeros, ones = (array == 0).sum(axis=1), (array == 1).sum(axis=1)
        wrong = np.flatnonzero((ones != 1) | (zeros != array.shape[1] - 1))
        if len(wrong):
            row = f"row {wrong[0]} is {_short(array[wrong[0]])}"
            if (zeros + ones == array.shape[1]).all():
                raise UserError(
                    f"{what} name several classes of an image, or none (multi-label): "
                    f"{row}; a classifier needs one class an image, so leave such "
                    "images out, or make one of the columns the labels"
                )
            raise UserError(
                f"{what} have labels [n, {array.shape[1]}] that are not one-hot: {row};"
                " give one class an image, as in labels.argmax(axis=1)"
            )
        return array.argmax(axis=1), array.shape[1]
    if array.ndim != 1 or not array.size:
        raise UserError(
            f"{what} have labels of shape {array.shape}, type {array.dtype}; they must "
            f"be {_FORMS}"
        )
    values = _plain(array, what)
    if values.dtype.kind == "U":
        values = np.array(list(map(composed, values.tolist())))
    return values, None


def _plain(array: np.ndarray, what: str) -> np.ndarray:
    kind = array.dtype.kind
    if kind in "biu":
        return array.astype(np.int64)
    if kind == "f":
        wrong = np.flatnonzero(~np.isfinite(array) | (array != np.round(array)))
        if not len(wrong):
            return array.astype(np.int64)
    elif kind == "U":
        return array
    else:  # bytes, and objects such as a pandas column of texts
        items = [x.decode() if isinstance(x, bytes) else x for x in array.tolist()]
        for one in (str, numbers.Integral):
            if all(isinstance(item, one) for item in items):
                return np.array(items, np.str_ if one is str else np.int64)
        first = str if isinstance(items[0], str) else numbers.Integral
        wrong = [k for k, item in enumerate(items) if not isinstance(item, first)]
    value = array[wrong[0]]
    raise UserError(
        f"{what} have the label {value!s} of image {wrong[0]}; labels must be whole "
        "numbers or texts, all of one kind"
    )


def _short(row: np.ndarray) -> str:
    text = ", ".join(f"{value:g}" for value in row[:6].tolist())
    return f"[{text}{', ...' if len(row) > 6 else ''}]"
