"""Stored images become more images, by the formula and by TensorFlow's resize."""

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.synthetic.formation import check_sides, decode, encode, factor_of


def enlarged(part: np.ndarray, factor: int) -> np.ndarray:
    """Bilinear interpolation of one image at one pixel after another."""
    height, width, channels = part.shape
    result = np.empty((height * factor, width * factor, channels))
    for i, j in np.ndindex(*result.shape[:2]):
        y = min(max((i + 0.5) / factor - 0.5, 0), height - 1)
        x = min(max((j + 0.5) / factor - 0.5, 0), width - 1)
        top, left = int(y), int(x)
        bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
        b, r = y - top, x - left
        result[i, j] = (1 - b) * ((1 - r) * part[top, left] + r * part[top, right])
        result[i, j] += b * ((1 - r) * part[bottom, left] + r * part[bottom, right])
    return result


@pytest.mark.parametrize(("factor", "shape"), [(2, (6, 8, 3)), (3, (6, 9, 1))])
def test_parts_are_enlarged_row_by_row(rng, factor, shape):
    stored = rng.normal(size=(3, *shape)).astype(np.float32)
    height, width = shape[0] // factor, shape[1] // factor
    expected = [
        enlarged(image[y : y + height, x : x + width], factor)
        for image in stored
        for y in range(0, shape[0], height)
        for x in range(0, shape[1], width)
    ]
    found = decode(stored, f"factor:{factor}").numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_it_is_tensorflows_resize(rng):
    """Which is PyTorch's Upsample without aligned corners, as IDC has it."""
    stored = rng.normal(size=(2, 32, 32, 3)).astype(np.float32)
    parts = [stored[:, y : y + 16, x : x + 16] for y in (0, 16) for x in (0, 16)]
    expected = [tf.image.resize(part, (32, 32)).numpy() for part in parts]
    found = decode(tf.constant(stored), "factor:2").numpy()
    np.testing.assert_allclose(found, np.concatenate(np.stack(expected, 1)), atol=1e-5)


def test_raw_is_what_is_stored(rng):
    stored = rng.normal(size=(2, 5, 7, 3)).astype(np.float32)
    np.testing.assert_array_equal(decode(stored, "raw"), stored)


def test_the_gradient_is_the_transposed_map(rng):
    """<decode(x), u> = <x, gradient>, in a graph, and twice differentiable."""
    stored = tf.constant(rng.normal(size=(2, 4, 4, 1)))
    direction = tf.constant(rng.normal(size=(8, 4, 4, 1)))

    @tf.function
    def gradients():
        with tf.GradientTape() as outer:
            outer.watch(stored)
            with tf.GradientTape() as inner:
                inner.watch(stored)
                square = tf.reduce_sum(direction * decode(stored, "factor:2") ** 2)
            first = inner.gradient(square, stored)
        return first, outer.gradient(first, stored)

    first, second = gradients()
    images = decode(stored, "factor:2")
    # Of a quadratic form q: <x, q'(x)> = 2 q(x), and q'' is constant.
    np.testing.assert_allclose(
        tf.reduce_sum(first * stored), 2 * tf.reduce_sum(direction * images**2), 1e-9
    )
    ones = decode(tf.ones_like(stored), "factor:2")
    np.testing.assert_allclose(
        tf.reduce_sum(second), 2 * tf.reduce_sum(direction * ones**2), 1e-9
    )


@pytest.mark.parametrize("formation", ["factor:1", "factor:10", "factor", "Raw", ""])
def test_unknown_formations_are_named(formation):
    with pytest.raises(UserError, match=f"unknown formation '{formation}'; choose raw"):
        factor_of(formation)


def test_sides_that_cannot_be_halved_are_refused():
    with pytest.raises(UserError, match="7x8 cannot be cut into 2 x 2 equal parts"):
        decode(np.zeros([1, 7, 8, 3], np.float32), "factor:2")
    check_sides(7, 8, "raw")


def test_encoding_is_the_mean_of_each_part(rng):
    images = rng.random((8, 4, 6, 3)).astype(np.float32)
    stored = encode(tf.constant(images), "factor:2").numpy()
    assert stored.shape == (2, 4, 6, 3)
    for k, image in enumerate(images):
        place, row, column = k // 4, k % 4 // 2 * 2, k % 2 * 3
        for y, x in np.ndindex(2, 3):
            expected = image[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean(axis=(0, 1))
            found = stored[place, row + y, column + x]
            np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_decoding_shows_what_was_encoded():
    grey = np.arange(4, dtype=np.float32)[:, None, None, None] * np.ones((1, 4, 4, 1))
    shown = decode(encode(tf.constant(grey, tf.float32), "factor:2"), "factor:2")
    np.testing.assert_allclose(shown, grey)
