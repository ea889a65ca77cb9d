"""Names of classes: one rule for folders, arrays and sets."""

import numpy as np
import pytest

import dam_tf
from dam_tf.base.errors import UserError
from dam_tf.data.real_data import check_class_names
from dam_tf.data.sources.classes import class_numbers, named_classes
from dam_tf.synthetic.distilled_set import DistilledSet

NFC, NFD = "caf\u00e9", "cafe\u0301"
NO_NAMES = [
    "",
    " ",
    "a ",
    " a",
    "\u00a0a",
    "a\tb",
    "a\nb",
    "a\x00",
    "a\u2029b",
    "\udce9",
]


@pytest.mark.parametrize("name", NO_NAMES)
def test_names_that_cannot_be_kept_are_refused(name):
    with pytest.raises(UserError, match="is empty, begins or ends with a space") as one:
        check_class_names(["cat", name])
    assert repr(name) in str(one.value)
    str(one.value).encode()  # it can be printed anywhere


@pytest.mark.parametrize("name", ["a b", "naïve, dog", "犬", "x/y", "$x$", "क्‍ष", "🐕"])
def test_names_that_are_text_are_kept(name):
    check_class_names(["cat", name])


def test_two_forms_of_a_label_are_one_class():
    labels, names = named_classes(np.array([NFD, "dog", NFC]))
    assert labels.tolist() == [0, 1, 0] and names == (NFC, "dog")
    assert named_classes([NFC, "dog"], [NFD, "dog"])[1] == (NFC, "dog")
    assert class_numbers([NFD, NFC], (NFC, "dog"), "labels").tolist() == [0, 0]


def test_a_set_has_the_same_names_in_either_form():
    for form in (NFC, NFD):
        images = np.zeros([2, 8, 8, 1], np.float32)
        assert DistilledSet(images, [0, 1], (form, "dog")).class_names == (NFC, "dog")


def test_distilling_arrays_refuses_them_before_anything_is_written(tmp_path):
    images, labels = np.zeros([4, 8, 8], np.uint8), ["a\tb", "c"] * 2
    with pytest.raises(UserError, match=r"class name 'a..b'.* rename it"):
        dam_tf.distill(images, labels, output_dir=tmp_path / "run")
    assert not list(tmp_path.iterdir())
