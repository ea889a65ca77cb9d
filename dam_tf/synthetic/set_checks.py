"""What the parts of a distilled set must be, so that they fit together.

`DistilledSet` asks it whenever one is made.
"""

from typing import TYPE_CHECKING

import numpy as np

from dam_tf.base.errors import UserError
from dam_tf.data.real_data import check_class_names
from dam_tf.synthetic.formation import check_sides, factor_of, stored_shape

if TYPE_CHECKING:
    from dam_tf.synthetic.distilled_set import DistilledSet

_ROUNDING = 1e-3  # by which the sum of a row of soft labels may differ from 1


def check_set(one: "DistilledSet") -> None:
    """Raises a `UserError` where the parts of a set do not fit together."""
    images, labels, names = one.images, one.labels, one.class_names
    if images.ndim != 4 or 0 in images.shape:
        raise UserError(
            f"images must be [n, height, width, channels], not {images.shape}"
        )
    if labels.shape != images.shape[:1]:
        raise UserError(
            f"labels must be [{len(images)}], one an image, not {labels.shape}"
        )
    if labels.min() < 0 or labels.max() >= len(names):
        raise UserError(
            f"labels must be 0 to {len(names) - 1}, as there are {len(names)} "
            f"class names, not {labels.min()} to {labels.max()}"
        )
    check_class_names(names)
    for what, values in (("images", images), ("stored", one.stored)):
        if values is not None and not np.isfinite(values).all():
            raise UserError(f"{what} must be finite: they hold NaN or infinity")
    # One that is not fitted yet has no shape.
    fitted = getattr(one.preprocessing, "image_shape", one.image_shape)
    if tuple(fitted) != one.image_shape:
        raise UserError(
            f"the preprocessing is of images {'x'.join(map(str, fitted))}, and these "
            f"are {'x'.join(map(str, one.image_shape))}"
        )
    _check_soft_labels(one)
    _check_stored(one)
    if one.recipe is not None:
        one.recipe.check_images(len(images))


def _check_soft_labels(one: "DistilledSet") -> None:
    soft = one.soft_labels
    if soft is None:
        return
    expected = (len(one.images), one.num_classes)
    if soft.shape != expected:
        raise UserError(
            f"soft_labels must be {list(expected)}, a row of probabilities for each "
            f"image, not {list(soft.shape)}"
        )
    wrong = ~((soft >= 0).all(axis=1) & (np.abs(soft.sum(axis=1) - 1) <= _ROUNDING))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise UserError(
            f"row {row} of soft_labels holds no probabilities: its values must be 0 "
            f"to 1 and add up to 1, not to {soft[row].sum():.6g}"
        )
    if not (soft.argmax(axis=1) == one.labels).any():
        raise UserError(
            "no label is the most probable class of its row in soft_labels, so the two "
            "are not in the same order of images or classes; where there are no hard "
            "labels, give soft_labels.argmax(axis=1)"
        )


def _check_stored(one: "DistilledSet") -> None:
    factor, images, stored = factor_of(one.formation), one.images, one.stored
    if (stored is None) != (factor == 1):
        raise UserError(
            f"formation {one.formation!r} and stored images do not go together: "
            "'raw' has none, and every other formation needs them"
        )
    if stored is None:
        return
    check_sides(*images.shape[1:3], one.formation)
    if (len(stored) * factor**2, *stored.shape[1:]) != images.shape:
        raise UserError(
            f"stored must be {stored_shape(images.shape, one.formation)}, from which "
            f"{one.formation!r} makes images of {list(images.shape)}, not "
            f"{list(stored.shape)}"
        )
