"""Sets of several sizes: the first images of each class, and images joined to them.

They are undone by each other: a set that was joined from two begins, in each class,
with the first of them.
"""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from dam_tf.base.errors import UserError

if TYPE_CHECKING:
    from dam_tf.synthetic.distilled_set import DistilledSet


def first_of_each(one: "DistilledSet", ipc: int) -> "DistilledSet":
    """Returns a smaller set; arguments and errors are those of `DistilledSet.first`."""
    if one.soft_labels is not None or (one.recipe and one.recipe.batches):
        what = "labels" if one.soft_labels is not None else "the order of its images"
        raise UserError(
            f"the set cannot be cut to ipc {ipc}: {what} were learned for all of its "
            "images together; distil a smaller one"
        )
    if not 1 <= ipc <= one.ipc:
        raise UserError(
            f"the set cannot be cut to ipc {ipc}: it has {one.ipc} images per class; "
            f"choose 1 to {one.ipc}"
        )
    parts = len(one.images) // one.size
    labels = one.labels.reshape(one.size, parts)
    if (labels != labels[:, :1]).any():
        raise UserError(
            f"the set cannot be cut to ipc {ipc}: the images in one of the stored ones "
            "are of several classes"
        )
    of_each = [np.flatnonzero(labels[:, 0] == k)[:ipc] for k in range(one.num_classes)]
    rows = np.sort(np.concatenate(of_each))
    images = one.images.reshape(one.size, parts, *one.image_shape)[rows]
    return dataclasses.replace(
        one,
        images=images.reshape(-1, *one.image_shape),
        labels=labels[rows].reshape(-1),
        stored=None if one.stored is None else one.stored[rows],
        history={},
    )


def joined(one: "DistilledSet", more: "DistilledSet") -> "DistilledSet":
    """Returns the images of both, class by class: those of `one`, then of `more`.

    Args:
        one: As many images of each class, sorted by class, with hard labels.
        more: As `one`; all that is no image or label is taken of it.
    """

    def both(name: str) -> np.ndarray:
        values = [getattr(some, name) for some in (one, more)]
        shape = values[0].shape[1:]
        by_class = [value.reshape(one.num_classes, -1, *shape) for value in values]
        return np.concatenate(by_class, axis=1).reshape(-1, *shape)

    names = ("images", "labels") + (("stored",) if one.stored is not None else ())
    return dataclasses.replace(more, **{name: both(name) for name in names})
