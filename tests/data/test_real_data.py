"""Class subsets of a data set, its fingerprint, and one without test images."""

import dataclasses

import numpy as np
import pytest

from dam_tf.base.errors import UserError
from dam_tf.config.sections import DatasetConfig
from dam_tf.data.cache.image_file import CachedSplit
from dam_tf.data.loading import load_dataset
from dam_tf.data.real_data import RealData, class_subset, sorted_split
from tests.tiny_data import make_data, save_npz


def test_classes_are_relabelled_in_the_order_given():
    data = make_data()
    subset = class_subset(data, [2, 0])
    assert subset.class_names == ("square", "circle") and subset.num_classes == 2
    for whole, part in ((data.train, subset.train), (data.test, subset.test)):
        for label, original in enumerate([2, 0]):
            expected = whole.images[whole.labels == original]
            np.testing.assert_array_equal(part.images[part.labels == label], expected)
            np.testing.assert_array_equal(part.class_images(label), expected)
        assert np.all(np.diff(part.labels) >= 0)
        assert part.images.dtype == np.uint8


@pytest.mark.parametrize("classes", [[], [0, 0], [3], [-1]])
def test_labels_that_are_none(classes):
    with pytest.raises(ValueError, match="different labels 0 to 2"):
        class_subset(make_data(), classes)


def test_fingerprint_tells_training_images_and_classes_and_nothing_else():
    data = make_data()
    known = data.fingerprint
    assert len(known) == 32 and make_data().fingerprint == known
    same = [
        dataclasses.replace(data, name="other"),
        dataclasses.replace(data, test=None),
        dataclasses.replace(
            data, train=dataclasses.replace(data.train, images=strided(data))
        ),
    ]
    assert {other.fingerprint for other in same} == {known}
    images = data.train.images.copy()
    images[-1, -1, -1, -1] ^= 1
    others = [
        RealData(data.name, data.class_names, sorted_split(images, [9, 12, 15])),
        RealData(data.name, ("circle", "cross", "disc"), data.train),
        RealData(
            data.name, data.class_names, sorted_split(data.train.images, [9, 13, 14])
        ),
        RealData(
            data.name,
            data.class_names,
            sorted_split(data.train.images.reshape(-1, 4, 16, 1), [9, 12, 15]),
        ),
    ]
    assert len({known, *(other.fingerprint for other in others)}) == 5


def strided(data):
    """The training images as every other column of wider ones."""
    return np.repeat(data.train.images, 2, axis=2)[:, :, ::2]


def test_the_fingerprint_of_a_cache_is_that_of_its_images(tmp_path):
    name = save_npz(tmp_path / "data.npz", make_data())
    cached, plain = (
        load_dataset(DatasetConfig(name, data_dir=str(tmp_path), cache=kind))
        for kind in ("disk", "memory")
    )
    assert isinstance(cached.train, CachedSplit)
    assert cached.fingerprint == plain.fingerprint


def test_a_data_set_without_test_images():
    data = dataclasses.replace(make_data(), test=None)
    assert class_subset(data, [1, 0]).test is None
    with pytest.raises(UserError, match="tiny has no test images"):
        data.tested()
    assert make_data().tested() is not None
