"""Resizing covers, cuts and weighs pixels as a triangle does, by a NumPy formula."""

import numpy as np
import pytest

from dam_tf.data.sources.resizing import resize


def weights(before: int, after: int) -> np.ndarray:
    """A triangle as wide as two pixels of the coarser grid, [after, before]."""
    scale = before / after
    centres = (np.arange(after) + 0.5) * scale - 0.5
    distance = np.abs(np.arange(before) - centres[:, np.newaxis])
    triangle = np.clip(1 - distance / max(scale, 1), 0, None)
    return triangle / triangle.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("size", "target", "cut"),
    [
        ((40, 40), (16, 16), np.s_[:, :]),
        ((10, 10), (17, 17), np.s_[:, :]),
        ((30, 61), (8, 8), np.s_[:, 15:45]),
        ((50, 20), (8, 8), np.s_[15:35, :]),
        ((30, 40), (10, 20), np.s_[5:25, :]),
        ((2, 300), (8, 8), np.s_[:, 149:151]),
    ],
)
def test_it_is_the_formula(rng, size, target, cut, channels):
    images = rng.integers(0, 256, [2, *size, channels], np.uint8)
    found = resize(images, (*target, channels))
    part = np.stack([image[cut] for image in images])
    rows, columns = weights(part.shape[1], target[0]), weights(part.shape[2], target[1])
    expected = np.einsum("yh,nhwc,xw->nyxc", rows, part, columns)
    assert found.dtype == np.uint8 and np.abs(found - expected).max() <= 1


def test_what_fits_is_not_copied(rng):
    images = rng.integers(0, 256, [2, 5, 7, 3], np.uint8)
    assert resize(images, (5, 7, 3)) is images
