"""AutoAugment's operations against Pillow's, and both policies as random functions."""

import numpy as np
import PIL.Image
import PIL.ImageEnhance
import PIL.ImageOps
import pytest
import tensorflow as tf
from scipy import ndimage

from dam_tf.augmentation import autoaugment

# Sub-policies use levels k / 9.
LEVEL = 5 / 9


def smooth_images(channels=3, count=3, size=(40, 32)):
    """Images whose neighbours are alike, so that interpolation matters little."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0 : size[0], 0 : size[1]] / 20
    waves = rng.uniform(0.3, 2, [count, channels, 3])
    images = [
        [127 + 90 * np.sin(a * x + b * y + 6 * c) for a, b, c in image]
        for image in waves
    ]
    return np.moveaxis(np.array(images), 1, 3).astype(np.uint8)


def enhanced(kind):
    return lambda image, level: kind(image).enhance(1 + 0.9 * level)


ORACLES = {
    "color": enhanced(PIL.ImageEnhance.Color),
    "brightness": enhanced(PIL.ImageEnhance.Brightness),
    "contrast": enhanced(PIL.ImageEnhance.Contrast),
    "sharpness": enhanced(PIL.ImageEnhance.Sharpness),
    "posterize": lambda image, level: PIL.ImageOps.posterize(
        image, 8 - round(4 * level)
    ),
    "solarize": lambda image, level: PIL.ImageOps.solarize(image, 255 * (1 - level)),
    "invert": lambda image, level: PIL.ImageOps.invert(image),
    "auto_contrast": lambda image, level: PIL.ImageOps.autocontrast(image),
    "equalize": lambda image, level: PIL.ImageOps.equalize(image),
}


def run(name, images, level=LEVEL, sign=1.0):
    count = len(images)
    values = tf.constant(images / np.float32(255))
    result = autoaugment.OPERATIONS[name](
        values, tf.fill([count], level), tf.fill([count], float(sign))
    )
    return result.numpy() * 255


# Levels at which no threshold of solarize is a whole number.
@pytest.mark.parametrize("level", [2 / 9, LEVEL, 7 / 9])
@pytest.mark.parametrize("name", ORACLES)
def test_colours_as_pillow(name, level):
    images = smooth_images()
    pictures = map(PIL.Image.fromarray, images)
    expected = [np.asarray(ORACLES[name](picture, level)) for picture in pictures]
    # Pillow rounds what it blends to whole numbers, some of it twice.
    exact = name in ("posterize", "solarize", "invert", "equalize")
    tolerance = 1e-3 if exact else 1.6
    np.testing.assert_allclose(run(name, images, level), expected, atol=tolerance)


ROTATION = np.deg2rad(30 * LEVEL)


# What each takes output (row, column), from the centre, to in the source.
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(
    ("name", "matrix", "shift"),
    [
        ("shear_x", lambda s: [[1, 0], [0.3 * LEVEL * s, 1]], (0, 0)),
        ("shear_y", lambda s: [[1, 0.3 * LEVEL * s], [0, 1]], (0, 0)),
        ("translate_x", lambda s: np.eye(2), (0, 150 / 331 * LEVEL)),
        ("translate_y", lambda s: np.eye(2), (150 / 331 * LEVEL, 0)),
        (
            "rotate",
            lambda s: [
                [np.cos(ROTATION), np.sin(ROTATION) * s],
                [-np.sin(ROTATION) * s, np.cos(ROTATION)],
            ],
            (0, 0),
        ),
    ],
)
def test_shapes_as_scipy(name, matrix, shift, sign):
    images, margin = smooth_images(channels=1), 40
    size = np.array(images.shape[1:3])
    matrix, centre = np.array(matrix(sign)), (size - 1) / 2 + margin
    offset = centre - matrix @ centre + sign * np.array(shift) * size
    for image, found in zip(images[..., 0], run(name, images, sign=sign), strict=True):
        padded = np.pad(image.astype(float), margin)
        expected = ndimage.affine_transform(padded, matrix, offset, order=1)
        expected = expected[margin:-margin, margin:-margin]
        np.testing.assert_allclose(found[..., 0], expected, atol=1e-2)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("policy", autoaugment.POLICIES)
def test_a_function_of_the_seed(policy, channels):
    images = tf.constant(smooth_images(channels, 16) / np.float32(255))
    apply = tf.function(autoaugment.apply)
    first, again, other = (
        apply(policy, images, tf.constant([seed, 0])) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    assert np.isfinite(first).all()


def test_autoaugment_leaves_what_it_does_not_draw():
    """Values beyond 0..1, which distilled images have, stay where nothing happens."""
    images = tf.random.stateless_normal([3000, 4, 4, 3], [0, 0])
    changed = autoaugment.apply("autoaugment", images, tf.constant([3, 4])).numpy()
    same = (changed == images.numpy()).all(axis=(1, 2, 3))
    nothing = [
        (1 - first[1] / 10) * (1 - second[1] / 10)
        for first, second in autoaugment._SUB_POLICIES
    ]
    # Three standard deviations of the share of 3,000.
    assert same.mean() == pytest.approx(np.mean(nothing), abs=0.022)
    assert np.abs(changed).max() <= np.abs(images).max()


def test_each_image_has_a_sub_policy_of_its_own():
    images = tf.tile(smooth_images(count=1) / np.float32(255), [300, 1, 1, 1])
    changed = autoaugment.apply("autoaugment", images, tf.constant([3, 4])).numpy()
    kinds = {image.round(4).tobytes() for image in changed}
    # Two operations, each drawn or not, some signed: dozens of outcomes.
    assert 25 < len(kinds) < 130


def test_sub_policies_are_those_of_the_paper():
    """Spot checks of Table 7, and what must hold for every entry."""
    table = autoaugment._SUB_POLICIES
    assert len(table) == 25
    assert table[3] == (("shear_y", 5, 8), ("translate_y", 7, 9))
    assert table[24] == (("translate_y", 7, 9), ("auto_contrast", 9, 1))
    for sub_policy in table:
        for name, tenths, magnitude in sub_policy:
            assert name in autoaugment.OPERATIONS
            assert 0 <= tenths <= 9 and 0 <= magnitude <= 9
