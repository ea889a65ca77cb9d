"""`dam_tf.evaluate`: test images of any kind, matched with the classes of a set."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import dam_tf
from dam_tf.base.errors import UserError
from dam_tf.data.real_data import RealData, sorted_split
from tests.tiny_data import make_data, save_npz, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")

SHADES = np.array([0, 100, 200])  # of each class


@pytest.fixture
def trained(monkeypatch):
    """Networks that know the shade of each class; the settings they were given."""
    calls = []

    def train_and_test(trainer, test, settings, *_):
        calls.append(settings)
        nearest = np.abs(test.images[:, 0, 0, :1] - SHADES).argmin(axis=1)
        return [nearest] * settings.networks

    monkeypatch.setattr("dam_tf.evaluation.evaluate.train_and_test", train_and_test)
    return calls


def images_of(labels, channels=1):
    shades = SHADES[np.asarray(labels)].astype(np.uint8)
    return np.tile(shades[:, None, None, None], [1, 8, 8, channels])


def set_of(names, name=""):
    return dam_tf.DistilledSet(images_of([0, 1, 2]) / 255, [0, 1, 2], names, name=name)


def accuracy(names, *arguments, **keywords):
    return dam_tf.evaluate(set_of(names), *arguments, networks=2, **keywords).mean


PETS = ("cat", "dog", "owl")
LABELS = np.array([2, 0, 1, 1])
IMAGES = images_of(LABELS)


@pytest.mark.parametrize(
    ("names", "y_test"),
    [
        (PETS, LABELS),
        (PETS, LABELS[:, None]),
        (PETS, np.eye(3)[LABELS]),
        (PETS, np.array(PETS)[LABELS]),
        (("0", "1", "2"), LABELS),
        (("10", "7", "8"), np.array([10, 7, 8])[LABELS]),
    ],
)
def test_labels_are_matched_by_name_or_number(trained, names, y_test):
    assert accuracy(names, IMAGES, y_test) == 1.0
    assert accuracy(names, test=(IMAGES[..., 0], y_test)) == 1.0
    data = tf.data.Dataset.from_tensor_slices((IMAGES, y_test))
    assert accuracy(names, data) == accuracy(names, test=data.batch(3)) == 1.0


def test_a_class_without_test_images(trained):
    result = dam_tf.evaluate(set_of(PETS), IMAGES[:2], ["owl", "cat"], networks=2)
    assert result.accuracies == (1.0, 1.0) and np.isnan(result.per_class[1])


def test_real_data_are_matched_by_the_names_of_their_classes(trained):
    order = ("owl", "cat", "dog")
    split = sorted_split(images_of([2, 0, 0, 1]), [1, 2, 1])
    real = RealData("pets", order, split, split)
    assert accuracy(PETS, real) == 1.0
    assert accuracy(order, test=real) < 1.0  # in that order others are meant


def test_the_name_of_a_data_set(trained, tmp_path):
    split = sorted_split(images_of([0, 1, 1, 2]), [1, 2, 1])
    name = save_npz(tmp_path / "a.npz", RealData("a", PETS, split, split))
    names = ("0", "1", "2")
    assert accuracy(names, test=name) == accuracy(names, name) == 1.0
    assert dam_tf.evaluate(set_of(names, name)).mean == 1.0  # its own, if it says so


def test_keywords_are_settings(trained):
    accuracy(PETS, IMAGES, LABELS, epochs=3, schedule="paper", weight_decay=0.1)
    expected = dam_tf.Config().evaluation
    changed = {"networks": 2, "epochs": 3, "schedule": "paper", "weight_decay": 0.1}
    assert trained == [dataclasses.replace(expected, **changed)]


@pytest.mark.parametrize(
    ("arguments", "keywords", "pattern"),
    [
        ([], {}, "does not say of which data it is; give test images"),
        ([IMAGES], {}, "test images need labels"),
        ([IMAGES, LABELS], {"test": "digits"}, "either as x_test, y_test or as test"),
        ([IMAGES, LABELS[:2]], {}, "4 test images and 2 labels"),
        ([IMAGES, LABELS + 1], {}, "the label 3; with 3 named classes, labels must be"),
        ([IMAGES, ["dgo"] * 4], {}, r"'dgo' \(did you mean 'dog'\?\)"),
        ([IMAGES[:, :4], LABELS], {}, r"are \(4, 8, 1\), .* to test \(8, 8, 1\)"),
        ([images_of(LABELS, 3), LABELS], {}, r"are \(8, 8, 3\)"),
        ([IMAGES - 0.5, LABELS], {}, r"float64 with values -0.5 to 199.5"),
        ([], {"test": "digits"}, r"images of digits have the label '0'"),
        ([], {"test": dataclasses.replace(make_data(), test=None)}, "no test images"),
        ([IMAGES, LABELS], {"epoch": 1}, r"'epoch' \(did you mean 'epochs'"),
        ([IMAGES, LABELS], {"models": 1}, "unknown keyword 'models'"),
        ([IMAGES, LABELS], {"epochs": 0}, "evaluation.epochs must be at least 1"),
        ([IMAGES, LABELS], {"strategy": "two"}, "strategy must be .*, not 'two'"),
        ([IMAGES, LABELS], {"network": "resnt18"}, "did you mean 'resnet18'"),
    ],
)
def test_what_is_refused(trained, arguments, keywords, pattern):
    with pytest.raises(UserError, match=pattern) as caught:
        dam_tf.evaluate(set_of(PETS), *arguments, **keywords)
    assert "\n" not in str(caught.value) and not trained


def test_a_run_of_arrays_needs_the_test_images(trained, tmp_path):
    labels = np.repeat([0, 1, 2], 4)
    config, run = tiny_config(distillation__iterations=2), tmp_path / "run"
    names = np.array(PETS)[labels]
    distilled = dam_tf.distill(images_of(labels), names, config=config, output_dir=run)
    for one in (distilled, run, str(run / "distilled")):
        with pytest.raises(UserError, match="give the images again"):
            dam_tf.evaluate(one)
        assert dam_tf.evaluate(one, IMAGES, LABELS).mean == 1.0
    assert [settings.epochs for settings in trained] == [1000, 3, 3]  # those of the run
    distilled.save(tmp_path / "set")
    assert dam_tf.evaluate(tmp_path / "set", IMAGES, LABELS).mean == 1.0


def test_settings_second_as_before(trained):
    real = make_data()
    config = tiny_config(evaluation__networks=4)
    distilled = dam_tf.DistilledSet(
        images_of([0, 1, 2]) / 255, [0, 1, 2], real.class_names
    )
    for result in (
        dam_tf.evaluate(distilled, config, real),
        dam_tf.evaluate(distilled, config, data=real),
        dam_tf.evaluate(distilled, config=config, test=real),
    ):
        assert len(result.accuracies) == 4
