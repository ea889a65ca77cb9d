"""Arrays and `tf.data` that cannot be used: one line says what is wrong."""

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.config.settings import DatasetConfig
from dam_tf.data.sources.memory import as_real_data
from tests.tiny_data import make_data


def pairs(images, labels):
    return tf.data.Dataset.from_tensor_slices((images, labels))


X = np.zeros([4, 8, 8], np.uint8)
Y = [0, 1, 0, 1]
NAN = np.full([4, 8, 8], np.nan)


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        ([X], "images need labels, one for each; ndarray was given alone"),
        ([None], "NoneType was given alone"),
        ([X, [0, 1, 0]], "there are 4 images and 3 labels"),
        ([X, [0, 0, 0, 0]], "all images are of one class, '0'"),
        ([X, np.eye(3)[Y]], "class '2' has no image"),
        ([X, [[0.5, 0.5]] * 4], r"not one-hot: row 0 is \[0.5, 0.5\]; .*argmax"),
        ([X, [[1, 1], [0, 1], [1, 0], [1, 0]]], r"multi-label\): row 0 is \[1, 1\]"),
        ([X, [[1, 0], [0, 0], [0, 1], [1, 0]]], r"multi-label\): row 1 is \[0, 0\]"),
        ([X, [0.5, 1, 0, 1]], "label 0.5 of image 0; labels must be whole"),
        ([X, [0, np.nan, 0, 1]], "label nan of image 1"),
        ([X, ["a", None, "b", "a"]], "label None of image 1"),
        ([X, np.array(["a", 1, "b", "a"], object)], "label 1 of image 1"),
        ([X, np.zeros([4, 2, 2])], r"labels of shape \(4, 2, 2\)"),
        ([X, [[0], [1, 2], [0], [1]]], "cannot be made an array of labels"),
        ([X, ["a", "a ", "b", "b"]], "class name 'a ' is empty, begins or ends with"),
        ([X.reshape(4, 64), Y], r"shape \(4, 64\).*rows of pixels need images.reshape"),
        ([np.zeros([4, 3, 8, 8]), Y], r"channels come last: np.moveaxis"),
        ([np.zeros([4, 8, 8, 4]), Y], "with 1 or 3 channels"),
        ([X[:0], []], r"images have shape \(0, 8, 8\)"),
        ([np.float32(3), Y], r"images have shape \(\)"),
        ([[X[0], X[0, :4]], [0, 1]], "images cannot be made an array"),
        ([np.array([None, X], object), [0, 1]], "array of objects.*np.stack"),
        ([np.array([[["a"]]] * 4), Y], "images are of type <U1; pixels must be"),
        ([X + 1j, Y], "images are of type complex128"),
        ([NAN, Y], "NaN or infinite"),
        ([X + np.inf, Y], "NaN or infinite"),
        (
            [X + np.linspace(-1, 1, 8), Y],
            r"float64 with values -1 to 1; .* pixel_range=\(-1, 1\)",
        ),
        ([X + 255.0, Y], r"float64 with values 255 to 255; .*"),
        ([X.astype(int) + 256, Y], "int64 with values 256 to 256; whole numbers must"),
        ([X.astype(int) - 1, Y], "int64 with values -1 to -1"),
        ("digits", "unused"),
    ],
)
def test_what_cannot_be_used(arguments, pattern):
    if arguments == "digits":
        arguments, pattern = ["digits", Y], "labels cannot be given for 'digits'"
    with pytest.raises(UserError, match=pattern) as caught:
        as_real_data(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("named", "pattern"),
    [
        ({"pixel_range": (1, 0)}, r"the smaller one first, .*not \(1, 0\)"),
        ({"pixel_range": 255}, "pixel_range must be the values of black and white"),
        ({"pixel_range": (-1, 1)}, r"outside of pixel_range=\(-1, 1\)"),
        ({"class_names": ["a", "b", "c"]}, "class 'c' has no image"),
        ({"class_names": ["a", "a"]}, "'a' is there twice"),
        ({"class_names": ["a"]}, "the label 1; with 1 named classes, labels must be"),
        ({"class_names": ["5", "6"]}, "the label 0, but the classes are 5, 6"),
        ({"test": (X, [0, 1, 2, 0])}, "test images have the label 2, but the classes"),
        ({"test": (X, np.eye(3)[Y])}, "have 3 classes .*but there are 2 class names"),
        ({"test": (X[:, :4], Y)}, r"are \(4, 8, 1\), .* to test \(8, 8, 1\)"),
        ({"test": X}, "test images need labels"),
        ({"test": "digitz"}, r"unknown data set 'digitz' \(did you mean 'digits'\?\)"),
        ({"test": make_data()}, "images of tiny have the label 'circle'"),
        ({"dataset": DatasetConfig(max_classes=3)}, "max_classes is 3, but arrays:"),
    ],
)
def test_what_does_not_fit(named, pattern):
    with pytest.raises(UserError, match=pattern) as caught:
        as_real_data(X + np.uint8(2), Y, **named)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "pattern"),
    [
        (pairs(X, Y).repeat(), "has no end; leave out repeat"),
        (pairs(X, Y).take(0), "is empty"),
        (pairs(X, Y).map(lambda x, y: x), "must be .image, label"),
        (pairs(X, Y).map(lambda x, y: (x, y, 1.0)), "must be .image, label"),
        (pairs(tf.ragged.constant([[1], [2, 3], [4], [5]]), Y), "dense"),
        (
            pairs(X, [2, 3, 4, 5]).batch(2).map(lambda x, y: (x[:, : y[0]], y)),
            "have several sizes",
        ),
        (
            pairs(X, [2, 3, 4, 5]).map(lambda x, y: (x[:y], y)),
            "have several sizes; give all the same",
        ),
    ],
)
def test_tf_data_that_cannot_be_used(data, pattern):
    with pytest.raises(UserError, match=pattern) as caught:
        as_real_data(data)
    assert "\n" not in str(caught.value)


def test_labels_beside_tf_data():
    with pytest.raises(UserError, match="labels come from the"):
        as_real_data(pairs(X, Y), Y)


def test_what_a_users_pipeline_raises_is_his():
    def fail(x, y):
        tf.debugging.assert_less(y, 1)
        return x, y

    with pytest.raises(tf.errors.InvalidArgumentError):
        as_real_data(pairs(X, Y).map(fail))
