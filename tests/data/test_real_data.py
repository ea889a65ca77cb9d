"""Class subsets of a data set."""

import numpy as np
import pytest

from dam_tf.data.real_data import class_subset
from tests.tiny_data import make_data


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
