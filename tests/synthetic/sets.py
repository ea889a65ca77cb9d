"""What the tests of distilled sets share beside fixtures."""

import numpy as np

from dam_tf.synthetic.distilled_set import DistilledSet

NAMES = ("red panda", "kočka", "$x_1$", "犬")
SHARD = "distilled-train.tfrecord-00000-of-00001"


def assert_same(first: DistilledSet, second: DistilledSet) -> None:
    """Compares all that is saved, preprocessing aside, bit for bit."""
    for name in ("images", "soft_labels", "stored"):
        one, other = getattr(first, name), getattr(second, name)
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_array_equal(one.view(np.uint32), other.view(np.uint32))
    np.testing.assert_array_equal(first.labels, second.labels)
    for name in ("class_names", "name", "formation", "recipe", "provenance"):
        assert getattr(first, name) == getattr(second, name)
