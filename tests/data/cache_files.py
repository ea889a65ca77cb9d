"""Comparing and spoiling caches of images."""

import pathlib

import numpy as np

from dam_tf.data.real_data import RealData


def assert_same(data: RealData, expected: RealData) -> None:
    """Raises where names, images, labels or their types differ."""
    assert data.class_names == expected.class_names and data.name == expected.name
    for split in ("train", "test"):
        one, other = getattr(data, split), getattr(expected, split)
        for name in ("images", "labels", "offsets"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
            assert getattr(one, name).dtype == getattr(other, name).dtype


def flip(file: pathlib.Path, place: int) -> None:
    """Flips one bit."""
    content = bytearray(file.read_bytes())
    content[place] ^= 4
    file.write_bytes(content)
