"""Classes that flips make alike are found, and no others."""

import logging

import numpy as np
import pytest

from dam_tf.config.sections import AugmentationConfig, DatasetConfig
from dam_tf.data.loading import load_dataset
from dam_tf.data.mirrored import mirrored_pairs, warn_of_mirrored
from dam_tf.data.real_data import sorted_split


def arrow(rng, direction):
    """A bright arrow on noise, 32x32, at any height (or, up and down, at any place)."""
    picture = rng.integers(0, 60, (32, 32), np.uint8)
    y = rng.integers(8, 24)
    picture[y, 4:28] = 255
    for k in range(6):
        picture[y - k, 4 + k] = picture[y + k, 4 + k] = 255
    return {
        "left": picture,
        "right": picture[:, ::-1],
        "up": picture.T,
        "down": picture.T[::-1],
    }[direction][..., np.newaxis]


def arrows(directions, count=40, seed=0):
    rng = np.random.default_rng(seed)
    images = [arrow(rng, one) for one in directions for _ in range(count)]
    return sorted_split(np.stack(images), [count] * len(directions))


@pytest.mark.parametrize("seed", range(5))
def test_arrows_to_the_left_and_to_the_right(seed):
    assert mirrored_pairs(arrows(["left", "right"], 20, seed)) == [(0, 1)]
    found = mirrored_pairs(arrows(["left", "up", "right", "down"], 40, seed))
    assert found == [(0, 2)], "up and down are their own mirror images"


def coloured(split):
    """The first class in red, the second in blue."""
    images = np.repeat(split.images, 3, axis=3)
    half = len(images) // 2
    images[:half, ..., 1:], images[half:, ..., :2] = 0, 0
    return sorted_split(images, split.counts)


def noise(classes, count, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, [classes * count, 8, 9, 1])
    return sorted_split(pixels.astype(np.uint8), [count] * classes)


@pytest.mark.parametrize(
    "split",
    [
        arrows(["left", "left"]),
        arrows(["up", "down"]),
        coloured(arrows(["left", "right"])),  # a flip leaves the colour
        load_dataset(DatasetConfig("digits")).train,
        sorted_split(np.zeros([20, 8, 8, 3], np.uint8), [10, 10]),
        sorted_split(np.zeros([3, 2, 1, 1], np.uint8), [1, 2]),
        *(noise(2, count, seed) for count in (2, 5, 50) for seed in range(10)),
        *(noise(30, count, 0) for count in (2, 5, 50)),
    ],
)
def test_no_false_alarm(split):
    assert mirrored_pairs(split) == []


@pytest.mark.parametrize(
    ("augmentation", "warned"),
    [
        (AugmentationConfig(), True),
        (AugmentationConfig(("crop", "rotate")), False),
        (AugmentationConfig(flip=0.0), False),
    ],
)
def test_the_warning_says_what_to_give(augmentation, warned, caplog):
    caplog.set_level(logging.WARNING)
    split = arrows(["left", "right"])
    warn_of_mirrored(split, ("left", "right"), augmentation)
    line = (
        "flipped left to right, images of class 'left' and 'right' look like each "
        "other's, and the augmentation flips; where a flip changes what an image is, "
        "give --set=augmentation.operations=color,crop,cutout,scale,rotate"
    )
    assert caplog.messages == ([line] if warned else [])
