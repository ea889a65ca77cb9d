"""What a program holds becomes real data: every form against NumPy, and bad ones."""

import dataclasses
import re

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.config.settings import DatasetConfig
from dam_tf.data.sources.memory import as_real_data, test_split
from tests.tiny_data import make_data, save_npz

test_split.__test__ = False  # a function of dam_tf, not one of these tests

LABELS = np.array([2, 0, 1, 2, 0, 1, 1])
ORDER = [1, 4, 2, 5, 6, 0, 3]  # stable, by class


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (7, 4, 6, 3), np.uint8)


class Series:
    """What pandas and PyTorch have in common: NumPy makes an array of it."""

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)


def check(data, images, names=("0", "1", "2"), order=ORDER):
    np.testing.assert_array_equal(data.train.images, images[order])
    assert data.train.images.dtype == np.uint8
    assert data.class_names == names
    assert data.train.labels.tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert data.train.labels.dtype == np.int64
    assert data.train.offsets.tolist() == [0, 2, 5, 7]


def levels(values, low, high):
    return np.round((values - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)


ANIMALS = np.array(["ant", "bee", "cat"])


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (LABELS, ("0", "1", "2")),
        (LABELS.tolist(), ("0", "1", "2")),
        (LABELS[:, None].astype(np.uint8), ("0", "1", "2")),
        (LABELS.astype(np.float32), ("0", "1", "2")),
        (np.array([100, 9, 10])[[2, 1, 0]][np.array([2, 0, 1])[LABELS]], None),
        (np.eye(3)[LABELS], ("0", "1", "2")),
        (np.eye(3, dtype=bool)[LABELS], ("0", "1", "2")),
        (tf.one_hot(LABELS, 3), ("0", "1", "2")),
        (tf.constant(LABELS), ("0", "1", "2")),
        (ANIMALS[LABELS], tuple(ANIMALS)),
        (ANIMALS[LABELS].astype("S"), tuple(ANIMALS)),
        (ANIMALS[LABELS].astype(object), tuple(ANIMALS)),
        (ANIMALS[LABELS].tolist(), tuple(ANIMALS)),
        (Series(ANIMALS[LABELS]), tuple(ANIMALS)),
        (LABELS.astype(object), ("0", "1", "2")),
        (np.array([-5, 3, 12])[LABELS], ("-5", "3", "12")),
    ],
)
def test_forms_of_labels(images, labels, names):
    if names is None:  # numbers are sorted as numbers: 9, 10, 100
        labels, names = np.array([9, 10, 100])[LABELS], ("9", "10", "100")
    check(as_real_data(images, labels), images, names)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (LABELS, ("ant", "cat", "bee")),
        (np.eye(3)[LABELS], ("ant", "cat", "bee")),
        (np.array(["ant", "cat", "bee"])[LABELS], ["ant", "cat", "bee"]),
        (np.array([7, 5, 6])[LABELS], ("7", "5", "6")),  # numbers are names here
    ],
)
def test_class_names_decide_the_order(images, labels, names):
    check(as_real_data(images, labels, class_names=names), images, tuple(names))


@pytest.mark.parametrize(
    "give",
    [
        lambda x: x,
        lambda x: x.astype(np.int64),
        lambda x: x.astype(np.float32) / 255,
        lambda x: x.astype(np.float16) / 255 + 1e-4,
        lambda x: tf.constant(x),
        lambda x: tf.constant(x, tf.float32) / 255,
        lambda x: Series(x),
        lambda x: list(x),
        lambda x: np.asfortranarray(x),
    ],
)
def test_forms_of_images(images, give):
    check(as_real_data(give(images), LABELS), images)


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [(-1, 1, np.float32), (0, 255, np.float64), (-2.5, 7, float), (0, 4095, np.int32)],
)
def test_pixel_range(rng, low, high, dtype):
    values = rng.uniform(low, high, (7, 4, 6, 1)).astype(dtype)
    data = as_real_data(values, LABELS, pixel_range=(low, high))
    check(data, levels(values.astype(np.float64), low, high))


def test_floating_point_is_rounded_and_that_is_said(rng, said):
    values = rng.uniform(size=(7, 4, 6))
    check(as_real_data(values, LABELS), levels(values, 0, 1)[..., None])
    assert said() == ["The images are kept as uint8: pixels are rounded to 256 levels."]


def test_black_and_white(rng, said):
    values = rng.integers(0, 2, (7, 4, 6)).astype(bool)
    check(as_real_data(values, LABELS), np.uint8(255) * values[..., None])
    assert said() == []
    numbers = values.astype(np.uint8)
    check(as_real_data(numbers, LABELS), numbers[..., None])
    assert "nearly black" in said()[0]
    white = as_real_data(numbers, LABELS, pixel_range=(0, 1))
    check(white, np.uint8(255) * values[..., None])


def test_sorted_images_are_not_copied(images, tmp_path):
    data = as_real_data(images, np.sort(LABELS))
    assert np.shares_memory(data.train.images, images)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r", allow_pickle=False)
    data = as_real_data(mapped, np.sort(LABELS))
    assert np.shares_memory(data.train.images, mapped)


def test_the_name_tells_the_data(images):
    name = as_real_data(images, LABELS).name
    assert re.fullmatch("arrays:[0-9a-f]{12}", name)
    assert as_real_data(images[ORDER], LABELS[ORDER]).name == name
    assert as_real_data(255 - images, LABELS).name != name
    assert as_real_data(images, (LABELS + 1) % 3).name != name
    assert as_real_data(images, ANIMALS[LABELS]).name != name


def pairs(images, labels=LABELS):
    return tf.data.Dataset.from_tensor_slices((images, labels))


@pytest.mark.parametrize(
    "give",
    [
        lambda x: pairs(x),
        lambda x: pairs(x).batch(3),
        lambda x: pairs(x, np.eye(3)[LABELS]),
        lambda x: pairs(x, np.eye(3)[LABELS]).batch(2),
        lambda x: pairs(x, LABELS[:, None]),
        lambda x: pairs(x).map(lambda x, y: {"image": x, "label": y, "id": "a"}),
        lambda x: pairs(x).batch(4).map(lambda x, y: {"image": x, "label": y}),
        lambda x: pairs(x).filter(lambda x, y: True),
        lambda x: pairs(tf.constant(x, tf.float32) / 255).batch(4),
    ],
)
def test_forms_of_tf_data(images, give):
    check(as_real_data(give(images)), images)


@pytest.mark.parametrize("batch", [None, 3])
def test_grey_tf_data_without_channels(images, batch):
    grey = images[..., 0]
    data = pairs(grey, ANIMALS[LABELS])
    data = data if batch is None else data.batch(batch)
    check(as_real_data(data), grey[..., None], tuple(ANIMALS))


@pytest.mark.parametrize("batch", [False, True])
def test_tf_data_of_unknown_shape_is_read_once(images, batch):
    passes = []

    def generate():
        passes.append(1)
        yield from [(images, LABELS)] if batch else zip(images, LABELS, strict=True)

    data = tf.data.Dataset.from_generator(generate, output_types=(tf.uint8, tf.int32))
    assert data.element_spec[0].shape.rank is None
    check(as_real_data(data), images)
    assert passes == [1]


def test_names_and_real_data(images, tmp_path):
    real = make_data()
    assert as_real_data(real) is real
    loaded = as_real_data(save_npz(tmp_path / "data.npz", real))
    np.testing.assert_array_equal(loaded.train.images, real.train.images)
    assert as_real_data("digits").image_shape == (8, 8, 1)


def test_pairs_are_images_and_labels(images):
    check(as_real_data((images, LABELS)), images)


def test_max_classes_and_image_size(images):
    dataset = DatasetConfig(max_classes=2, image_size=5)
    test = images, LABELS
    data = as_real_data(images, LABELS, test, dataset=dataset)
    assert data.class_names == ("0", "1") and data.image_shape == (5, 5, 3)
    assert data.train.offsets.tolist() == data.test.offsets.tolist() == [0, 2, 5]
    whole = as_real_data(images, LABELS).train.images[:5]
    centre = tf.image.resize(
        tf.constant(whole)[:, :, 1:5], [5, 5], antialias=True
    )  # the shorter side is kept, and the middle of the other
    np.testing.assert_allclose(data.train.images, centre, atol=1)


@pytest.mark.parametrize(
    "give",
    [
        lambda x: (x, ["bee", "ant"]),
        lambda x: (x, [1, 0]),
        lambda x: (x, [[0, 1, 0], [1, 0, 0]]),
        lambda x: pairs(x, [1, 0]),
        lambda x: pairs(x, [b"bee", b"ant"]).batch(2),
        lambda x: dataclasses.replace(
            as_real_data(x, ["bee", "ant"]), test=as_real_data(x, ["bee", "ant"]).train
        ),
    ],
)
def test_forms_of_test_images(images, give):
    data = as_real_data(images, ANIMALS[LABELS], give(images[:2]))
    np.testing.assert_array_equal(data.test.images, images[[1, 0]])
    assert data.test.labels.tolist() == [0, 1] and data.test.offsets[-1] == 2


def test_test_images_are_matched_by_number_where_names_are_numbers(images):
    split = test_split((images[:2], [9, 10]), ("10", "9"), (4, 6, 3))
    np.testing.assert_array_equal(split.images, images[[1, 0]])
