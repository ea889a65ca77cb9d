"""The first images of each class, and sets joined class by class."""

import dataclasses

import numpy as np
import pytest

from dam_tf.base.errors import UserError
from dam_tf.synthetic.budgets import joined
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.synthetic.formation import decode
from dam_tf.synthetic.recipe import Recipe

CATS = ("cat", "dog")


def numbered(labels, **parts):
    """A set whose images are filled with their places."""
    images = np.zeros([len(labels), 4, 4, 1], np.float32)
    images += np.arange(len(labels))[:, None, None, None]
    return DistilledSet(images, np.array(labels), CATS, **parts)


def places(one):
    return one.images[:, 0, 0, 0].astype(int).tolist()


@pytest.mark.parametrize(
    ("ipc", "expected"), [(1, [0, 1]), (2, [0, 1, 2]), (3, [0, 1, 2, 4])]
)
def test_the_first_of_each_class_in_the_order_of_the_set(ipc, expected):
    one = numbered([1, 0, 1, 1, 1])  # a class that has fewer keeps all
    expected = [0, 1, 2, 3][: len(expected)] if ipc == 3 else expected
    first = one.first(ipc)
    assert places(first) == expected
    assert first.labels.tolist() == one.labels[expected].tolist()
    assert first.ipc == ipc


def test_stored_images_are_what_is_counted():
    stored = np.random.default_rng(0).random((4, 4, 4, 1), np.float32)
    images, labels = decode(stored, "factor:2"), np.repeat([0, 0, 1, 1], 4)
    formed = {"stored": stored, "formation": "factor:2"}
    one = DistilledSet(images, labels, CATS, history={"loss": [1.0]}, **formed)
    first = one.first(1)
    np.testing.assert_array_equal(first.stored, stored[[0, 2]])
    np.testing.assert_array_equal(first.images, decode(stored[[0, 2]], "factor:2"))
    assert (first.ipc, first.size, first.labels.tolist()) == (1, 2, [0] * 4 + [1] * 4)
    assert not first.history
    mixed = dataclasses.replace(one, labels=np.tile([0, 1], 8))
    with pytest.raises(UserError, match="are of several classes"):
        mixed.first(1)


@pytest.mark.parametrize("ipc", [0, -1, 3])
def test_no_class_has_so_many(ipc):
    with pytest.raises(UserError, match=f"to ipc {ipc}: it has 2 .* choose 1 to 2"):
        numbered([0, 0, 1]).first(ipc)


def test_what_was_learned_for_all_images_cannot_be_cut():
    soft = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    with pytest.raises(UserError, match="labels were learned for all"):
        numbered([0, 1], soft_labels=soft).first(1)
    ordered = Recipe((0.1,), 1, batches=((0, 1),))
    with pytest.raises(UserError, match="the order of its images were learned"):
        numbered([0, 1], recipe=ordered).first(1)
    rate = numbered([0, 0, 1, 1], recipe=Recipe((0.1,)))
    assert rate.first(1).recipe == rate.recipe


def test_sets_are_joined_class_by_class():
    one, more = numbered([0, 1]), numbered([0, 0, 1, 1], name="pets")
    more = dataclasses.replace(more, images=more.images + 10)
    both = joined(one, more)
    assert places(both) == [0, 10, 11, 1, 12, 13]
    assert both.labels.tolist() == [0, 0, 0, 1, 1, 1] and both.name == "pets"
    assert places(both.first(1)) == places(one)
