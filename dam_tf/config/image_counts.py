"""How many images each class has, as `distillation.images_per_class` says it.

All that makes, counts or names images of each class asks here: runs, coresets,
generators, and what estimates memory. Nothing else reads that setting's text.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dam_tf.base.errors import UserError

if TYPE_CHECKING:
    from dam_tf.config.sections import DistillationConfig

EQUAL, PROPORTIONAL = "equal", "proportional"
_SETTING = "distillation.images_per_class"


def listed(text: str | None) -> tuple[int, ...] | None:
    """Returns the numbers of a list, and None for what is none.

    Raises:
        UserError: the text is none of these.

    Example:
        >>> listed("5, 3,1"), listed("proportional")
        ((5, 3, 1), None)
    """
    if text in (None, EQUAL, PROPORTIONAL):
        return None
    parts = text.split(",")
    if not all(re.fullmatch(r" *0*[1-9][0-9]{0,8} *", part) for part in parts):
        raise UserError(
            f"{_SETTING} must be {EQUAL}, {PROPORTIONAL} or a whole number from 1 on "
            f"for each class, such as 5,3,1, not {text!r}"
        )
    return tuple(map(int, parts))


def checked(ipc: int, text: str | None) -> tuple[int, str | None]:
    """Returns both settings as they are kept: of a list, `ipc` is the rounded mean.

    What is equal is None, so that settings and their fingerprints are those of runs
    that knew nothing else.

    Raises:
        UserError: the text cannot be read, or `ipc` is neither 1, its default, nor
            the mean.

    Example:
        >>> checked(1, "5, 3, 2"), checked(10, "proportional"), checked(10, "equal")
        ((3, '5,3,2'), (10, 'proportional'), (10, None))
    """
    numbers = listed(text)
    if numbers is None:
        return ipc, None if text == EQUAL else text
    mean = (2 * sum(numbers) + len(numbers)) // (2 * len(numbers))
    if ipc not in (1, mean):
        raise UserError(
            f"distillation.ipc {ipc} is not the mean of {_SETTING} {short(text)}, "
            f"which is {mean}; leave ipc out, or the list"
        )
    return mean, ",".join(map(str, numbers))


def image_counts(
    settings: "DistillationConfig", classes: int, real: Sequence[int] | None = None
) -> tuple[int, ...]:
    """Returns how many images each class has, in the order of their labels.

    Args:
        settings: Its ipc and images_per_class are used.
        classes: How many classes there are.
        real: Real training images of each; only what is proportional needs them.

    Raises:
        UserError: a list has another length.

    Example:
        >>> from dam_tf.config.sections import DistillationConfig
        >>> image_counts(DistillationConfig(ipc=4), 2)
        (4, 4)
        >>> settings = DistillationConfig(ipc=4, images_per_class="proportional")
        >>> image_counts(settings, 3, [70, 29, 1])
        (8, 3, 1)
    """
    if settings.images_per_class == PROPORTIONAL:
        return proportional(settings.ipc * classes, real)
    numbers = listed(settings.images_per_class)
    if numbers is None:
        return (settings.ipc,) * classes
    if len(numbers) != classes:
        raise UserError(
            f"{_SETTING} {short(settings.images_per_class)} has {len(numbers)} "
            f"numbers, and there are {classes} classes; give one for each, in the "
            "order of their names"
        )
    return numbers


def proportional(total: int, real: Sequence[int]) -> tuple[int, ...]:
    """Deals out images in proportion to the real ones, at least one to each class.

    Classes whose share is at most one image have one. The others share what is left
    by the largest remainder (Hamilton's method): each gets the whole part of its share,
    and those with the largest rests one more, the first classes where rests are equal.

    Args:
        total: Images to deal out, at least as many as classes.
        real: Real images of each class.

    Example:
        >>> proportional(10, [100, 60, 30, 10])
        (5, 3, 1, 1)
        >>> proportional(5, [1, 1, 1])
        (2, 2, 1)
    """
    real, one = [int(size) for size in real], set()
    while True:
        rest = [k for k in range(len(real)) if k not in one]
        left, images = total - len(one), sum(real[k] for k in rest)
        small = {k for k in rest if left * real[k] <= images}
        if not small or small == set(rest):
            break
        one |= small
    counts = [1] * len(real)
    if not images:  # no class that is left has any
        return tuple(counts)
    for k in rest:
        counts[k] = left * real[k] // images
    by_rest = sorted(rest, key=lambda k: (-(left * real[k] % images), k))
    for k in by_rest[: total - sum(counts)]:
        counts[k] += 1
    return tuple(counts)


def in_words(settings: "DistillationConfig") -> str:
    """Returns how many images there are per class, as settings alone tell it.

    Example:
        >>> from dam_tf.config.sections import DistillationConfig
        >>> in_words(DistillationConfig()), in_words(DistillationConfig(ipc=10))
        ('1 image per class', '10 images per class')
        >>> in_words(DistillationConfig(images_per_class="5,3,1"))
        '5,3,1 images of the classes'
        >>> in_words(DistillationConfig(ipc=10, images_per_class="proportional"))
        '10 images per class on average, in proportion to the real ones'
    """
    words = f"{settings.ipc} image{'' if settings.ipc == 1 else 's'} per class"
    if settings.images_per_class is None:
        return words
    if settings.images_per_class == PROPORTIONAL:
        return f"{words} on average, in proportion to the real ones"
    return f"{short(settings.images_per_class)} images of the classes"


def short(text: str) -> str:
    """Returns the text of a list, without the middle of a long one.

    Example:
        >>> short("5,3,1"), short(",".join(["7"] * 100))
        ('5,3,1', '7,7,7,...,7')
    """
    parts = text.split(",")
    return text if len(parts) <= 10 else ",".join([*parts[:3], "...", parts[-1]])


def check_equal(settings: "DistillationConfig", what: str) -> None:
    """Raises a `UserError` where classes may get different numbers of images.

    Args:
        settings: Its images_per_class is read.
        what: Needs as many of each, and why.
    """
    if settings.images_per_class is not None:
        raise UserError(
            f"{_SETTING} {short(settings.images_per_class)} is not for {what}; leave "
            "it out"
        )


def check_mean(settings: "DistillationConfig", ipc: int) -> None:
    """Raises a `UserError` where a list gives classes other numbers than a study asks.

    Args:
        settings: Of one cell of the study.
        ipc: The images per class of this cell.
    """
    if settings.ipc != ipc:
        raise UserError(
            f"{_SETTING} {short(settings.images_per_class)} has {settings.ipc} images "
            f"per class on average, not {ipc}; give --ipc={settings.ipc} alone, or "
            f"{PROPORTIONAL}"
        )
