"""Arrays of other programs as sets: pixels, layouts and labels, and what is refused."""

import numpy as np
import pytest

from dam_tf.base.errors import UserError
from dam_tf.data.preprocessing.preprocessing import fit_preprocessing
from dam_tf.synthetic.distilled_set import DistilledSet

RNG = np.random.default_rng(0)
PIXELS = RNG.random([4, 6, 5, 3])
FIRST = np.moveaxis(PIXELS, 3, 1)  # PyTorch's
MEAN, DEVIATION = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]
LABELS = [1, 0, 2, 1]


def set_of(images, labels=LABELS, *arguments, **keywords):
    return DistilledSet.from_arrays(images, labels, *arguments, **keywords)


@pytest.mark.parametrize(
    ("images", "keywords"),
    [
        (PIXELS, {}),
        (FIRST, {}),
        (FIRST.astype(np.float16), {}),
        (np.round(PIXELS * 255).astype(np.uint8), {}),
        (np.round(FIRST * 255).astype(np.int64), {}),
        (FIRST * 255, {"pixel_range": (0, 255)}),
        (FIRST * 2 - 1, {"pixel_range": (-1, 1)}),
        (
            (FIRST - np.reshape(MEAN, [3, 1, 1])) / np.reshape(DEVIATION, [3, 1, 1]),
            {"mean": MEAN, "deviation": DEVIATION},
        ),
    ],
)
def test_pixels_are_found_again(images, keywords):
    found = set_of(images, **keywords)
    np.testing.assert_allclose(found.images, PIXELS, atol=1 / 400)
    assert found.class_names == ("0", "1", "2") and found.soft_labels is None


def test_networks_see_standardised_images_as_they_were():
    images = RNG.standard_normal([4, 3, 6, 5]).astype(np.float32)
    found = set_of(images, mean=MEAN, deviation=DEVIATION)
    seen, _ = found.to_numpy("network")
    np.testing.assert_allclose(seen, np.moveaxis(images, 1, 3), atol=1e-5)
    test = found.preprocessing(PIXELS.astype(np.float32))
    np.testing.assert_allclose(test, (PIXELS - MEAN) / DEVIATION, atol=1e-5)


def test_networks_see_whitened_images_as_they_were():
    real = RNG.integers(0, 256, [60, 6, 5, 3], np.uint8)
    preprocessing = fit_preprocessing("zca", real)
    images = RNG.standard_normal([4, 3, 6, 5]).astype(np.float32)
    found = set_of(images, space="network", preprocessing=preprocessing)
    seen, _ = found.to_numpy("network")
    np.testing.assert_allclose(seen, np.moveaxis(images, 1, 3), atol=1e-4)


def test_grey_images_without_a_channel():
    assert set_of(PIXELS[..., 0]).image_shape == (6, 5, 1)


SOFT = np.array([[0.1, 0.9, 0], [1, 0, 0], [0, 0.4, 0.6], [0.3, 0.5, 0.2]])


@pytest.mark.parametrize(
    "labels",
    [
        LABELS,
        np.reshape(LABELS, [4, 1]),
        np.array(LABELS, np.float32),
        np.eye(3)[LABELS],
        ["b", "a", "c", "b"],
    ],
)
def test_hard_labels(labels):
    found = set_of(PIXELS, labels, ["a", "b", "c"])
    assert found.labels.tolist() == LABELS and found.soft_labels is None


def test_labels_are_positions_whatever_the_classes_are_called():
    assert set_of(PIXELS, LABELS, ["7", "3", "2"]).labels.tolist() == LABELS


def test_soft_labels():
    found = set_of(PIXELS, SOFT)
    np.testing.assert_array_equal(found.soft_labels, SOFT.astype(np.float32))
    assert found.labels.tolist() == LABELS and found.num_classes == 3


@pytest.mark.parametrize(
    ("images", "labels", "keywords", "message"),
    [
        (PIXELS * 4, LABELS, {}, "do not look like pixels .* mean and deviation"),
        (np.full([4, 6, 5, 3], 256), LABELS, {}, "whole numbers must be 0 to 255"),
        (PIXELS * np.nan, LABELS, {}, "nan"),
        (PIXELS[..., :2], LABELS, {}, r"\(4, 6, 5, 2\); they must be \[n, height"),
        (PIXELS[0, 0], LABELS, {}, "they must be"),
        (np.zeros([4, 3, 8, 3]), LABELS, {}, "channels first or last"),
        (np.zeros([0, 8, 8, 3]), LABELS, {}, "they must be"),
        (PIXELS.astype(str), LABELS, {}, "must be numbers"),
        (PIXELS, LABELS[:3], {}, r"labels must be \[4\]"),
        (PIXELS, [0, 1, 2.5, 1], {}, "must be whole numbers"),
        (PIXELS, [0, -1, 2, 1], {}, "must be 0 to 2"),
        (PIXELS, ["a"] * 4, {}, "labels are of type"),
        (PIXELS, LABELS, {"class_names": ["a", "b"]}, "must be 0 to 1"),
        (PIXELS, SOFT, {"class_names": ["a", "b"]}, "there are 2 classes"),
        (PIXELS, 3 * SOFT, {}, r"softmax\(labels\)"),
        (PIXELS, SOFT - 0.1, {}, "must be probabilities"),
        (PIXELS, LABELS, {"mean": MEAN}, "deviation is missing"),
        (PIXELS, LABELS, {"mean": 0.5, "deviation": 0.2}, r"mean must be \[3\]"),
        (PIXELS, LABELS, {"mean": [125, 123, 114], "deviation": MEAN}, "by 255"),
        (PIXELS, LABELS, {"mean": MEAN, "deviation": [0.1, 0, 0.1]}, "deviation must"),
        (
            PIXELS,
            LABELS,
            {"mean": MEAN, "deviation": MEAN, "pixel_range": (0, 1)},
            "pixel_range cannot be given beside mean",
        ),
        (PIXELS, LABELS, {"space": "network"}, "need the preprocessing"),
        (PIXELS, LABELS, {"space": "zca"}, "unknown space 'zca'"),
        (PIXELS, LABELS, {"pixel_range": (1, 0)}, "the smaller one first"),
    ],
)
def test_what_is_refused(images, labels, keywords, message):
    with pytest.raises(UserError, match=message) as caught:
        set_of(images, labels, **keywords)
    assert "\n" not in str(caught.value)
