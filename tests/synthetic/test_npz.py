"""Sets in npz files, of other programs and of our own export."""

import dataclasses
import json

import numpy as np
import pytest

import dam_tf
from dam_tf.base.errors import UserError
from dam_tf.config.settings import Config
from dam_tf.data.preprocessing.preprocessing import fit_preprocessing
from dam_tf.evaluation.evaluate import sets_of_files
from dam_tf.exports.formats import npz_arrays
from dam_tf.synthetic.npz import NpzSet, npz_file
from tests.synthetic.sets import assert_same
from tests.tiny_data import NAMES, make_data, tiny_config

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal([3, 8, 8, 1]).astype(np.float32)
MOMENTS = {"mean": [0.5], "deviation": [0.25]}


@pytest.fixture
def write(tmp_path):
    def write(name="set.npz", **arrays):
        np.savez(tmp_path / name, **{"labels": [0, 1, 2], **arrays})
        return tmp_path / name

    return write


@pytest.mark.parametrize("fixture", ["distilled", "whole"])
def test_what_an_export_holds_is_read_again(fixture, write, request):
    one = request.getfixturevalue(fixture)
    path = write(**npz_arrays(one))
    found = dam_tf.load(path)
    assert_same(found, dataclasses.replace(one, name=""))
    assert_same(dam_tf.load(f"npz:{path}"), found)
    weights = one.preprocessing.get_weights() if one.preprocessing else []
    for ours, theirs in zip(found.preprocessing.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("kind", ["standardize", "zca", "standardize_zca", "none"])
def test_networks_see_what_the_data_set_makes_of_it(write, kind):
    data = make_data()
    name, _, more = kind.rpartition("_")
    zca = {"dataset__zca_input": "standardized"} if name else {}
    config = tiny_config(dataset__preprocessing=more, **zca)
    real = fit_preprocessing(kind, data.train.images)
    file = NpzSet.read(write(images=IMAGES, space="network"))
    one, found = file.of_data(data, config)
    np.testing.assert_allclose(one.to_numpy("network")[0], IMAGES, atol=1e-3)
    np.testing.assert_allclose(
        one.preprocessing(data.test.images / np.float32(255)),
        real(data.test.images / np.float32(255)),
        atol=1e-3,
    )
    assert one.class_names == NAMES and found.distillation.ipc == 1
    pixels = NpzSet.read(write(images=np.clip(IMAGES, -1, 1)))
    assert pixels.of_data(data, config)[0].preprocessing.kind == kind


def test_the_settings_say_what_networks_see(write):
    data, config = make_data(), tiny_config(dataset__preprocessing="zca")
    file = NpzSet.read(write(images=IMAGES, **MOMENTS))
    _, found = file.of_data(data, config)
    assert found.dataset.preprocessing == "standardize"
    assert config.dataset.preprocessing == "zca"


def test_sets_that_cannot_be_joined_are_told(write):
    data, config = make_data(), tiny_config(dataset__preprocessing="zca")
    pixels = NpzSet.read(write("a.npz", images=np.clip(IMAGES, 0, 1)))
    moments = NpzSet.read(write("b.npz", images=IMAGES, **MOMENTS))
    assert len(sets_of_files([pixels, pixels], config, data)[0]) == 2
    with pytest.raises(UserError, match=r"a\.npz and .*b\.npz differ in"):
        sets_of_files([pixels, moments], config, data)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": np.zeros([3, 2])}, "soft labels must be probabilities"),
        ({"class_names": ["a", "b"]}, "must be 0 to 1, as there are 2 class names"),
        ({"class_names": [1, 2, 3]}, "its class_names is int64, not str_"),
        ({"space": "zca"}, "unknown space 'zca'"),
        ({"space": 3}, "its space is int64"),
        ({"pixel_range": [0.0]}, r"its pixel_range is \[1\], not \[2\]"),
        ({"images": np.array([{}])}, "holds Python objects"),
        ({"images": np.zeros([3, 8, 8], complex)}, "images are of type complex128"),
        ({"recipe": "{"}, "its recipe is no JSON"),
        ({"recipe": "[1]"}, "its recipe holds no object"),
        ({"recipe": json.dumps({"step": 1})}, "unknown setting or section 'step'"),
        ({"soft_labels": np.eye(3, 4)}, r"soft_labels must be \[3, 3\]"),
        ({"preprocessing_kind": "zca"}, "it lacks preprocessing_eps"),
        ({"formation": "factor:2"}, "do not go together"),
    ],
)
def test_a_file_that_does_not_fit_is_named(write, arrays, message):
    path = write(**{"images": np.zeros([3, 8, 8, 1]), **arrays})
    with pytest.raises(UserError, match=message) as caught:
        dam_tf.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_of_something_else(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=np.zeros(3))
    with pytest.raises(UserError, match=r"it lacks images, labels .*distilled set"):
        dam_tf.load(tmp_path / "a.npz")
    with pytest.raises(UserError, match=r"No such file.*distilled set"):
        dam_tf.load("npz:missing")
    assert npz_file(tmp_path) is None


def test_python_evaluates_a_file(write, monkeypatch):
    seen = []

    def train_and_test(trainer, test, settings, *_):
        seen.append(test.images.shape)
        return [test.labels] * settings.networks

    monkeypatch.setattr("dam_tf.evaluation.evaluate.train_and_test", train_and_test)
    data, path = make_data(), write(images=IMAGES, space="network")
    assert dam_tf.evaluate(path, data, networks=2).mean == 1.0
    assert dam_tf.evaluate(path, test=data, config=Config(), networks=2).mean == 1.0
    with pytest.raises(UserError, match="need the preprocessing that made them"):
        dam_tf.evaluate(path, data.test.images, data.test.labels)
    path = write(images=np.clip(IMAGES, 0, 1))
    pair = data.test.images, data.test.labels
    assert dam_tf.evaluate(path, *pair, networks=2).mean == 1.0
    assert seen == 3 * [data.test.images.shape]
