"""What is learned: images, labels and step sizes as variables, against NumPy."""

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from dam_tf.data.preprocessing.preprocessing import fit_preprocessing
from dam_tf.synthetic.formation import decode
from dam_tf.synthetic.synthetic_set import SyntheticSet
from tests.tiny_data import NAMES, make_data

SHAPE = (3, 2, 8, 8, 1)


@pytest.fixture
def images(rng):
    return rng.standard_normal(SHAPE).astype(np.float32)


def test_images_are_sorted_by_class(images):
    synthetic = SyntheticSet(images)
    np.testing.assert_array_equal(synthetic.images(), images.reshape(-1, 8, 8, 1))
    np.testing.assert_array_equal(synthetic.owners, [0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(synthetic.labels(), np.eye(3).repeat(2, axis=0))


def test_rows_are_those_of_the_classes(images):
    synthetic = SyntheticSet(images)
    rows = synthetic.rows_of(tf.constant([2, 0]), 2).numpy()
    np.testing.assert_array_equal(synthetic.owners[rows], [[2, 2], [0, 0]])
    np.testing.assert_array_equal(tf.gather(synthetic.images(), rows), images[[2, 0]])


@pytest.mark.parametrize("formation", ["raw", "factor:2"])
def test_classes_of_different_numbers(formation, rng):
    by_class = [rng.random((n, 8, 8, 1), np.float32) for n in (3, 1, 2)]
    synthetic = SyntheticSet(by_class, formation=formation)
    parts = {"raw": 1, "factor:2": 4}[formation]
    assert (synthetic.classes, synthetic.counts) == (3, (3, 1, 2))
    owners = np.repeat([0, 0, 0, 1, 2, 2], parts)
    np.testing.assert_array_equal(synthetic.owners, owners)
    np.testing.assert_array_equal(synthetic.labels(), np.eye(3)[owners])
    assert len(synthetic.images()) == len(owners)
    for k, expected in enumerate(by_class):
        for label in (k, tf.constant(k)):
            found = synthetic.by_count(
                label, lambda n, k=label: synthetic.stored_of(tf.stack([k]), n)[0]
            )
            np.testing.assert_array_equal(found, expected)
    layer = fit_preprocessing("standardize", make_data().train.images)
    exported = synthetic.export(layer, NAMES, "tiny")
    np.testing.assert_array_equal(exported.labels, owners)
    assert (exported.counts, exported.ipc, exported.ipc_text) == (
        (3, 1, 2),
        3,
        "1 to 3",
    )


def test_learned_labels_are_probabilities(images, rng):
    logits = rng.standard_normal((6, 3)).astype(np.float32)
    synthetic = SyntheticSet(images, soft_labels=logits)
    expected = scipy.special.softmax(logits, axis=1)
    np.testing.assert_allclose(synthetic.labels(), expected, rtol=1e-5)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(synthetic.labels()[:, 0])
    slope = tape.gradient(loss, synthetic.variables_by_name["labels"].value)
    by_hand = expected * (np.eye(3)[0] - expected[:, :1])
    np.testing.assert_allclose(slope, by_hand, rtol=1e-4, atol=1e-6)


def test_other_numbers_are_learned_by_name(images):
    synthetic = SyntheticSet(images, scalars={"learning_rate": 0.01})
    assert list(synthetic.variables_by_name) == ["images", "learning_rate"]
    assert float(synthetic.scalar("learning_rate")) == pytest.approx(0.01)


def test_samples_are_different_images_with_their_labels(images):
    synthetic = SyntheticSet(images)
    flat, seen = images.reshape(6, -1), set()
    for seed in range(20):
        some, labels = synthetic.sample(tf.constant([0, seed]), 4)
        distances = np.abs(some.numpy().reshape(4, 1, -1) - flat).sum(-1)
        rows = distances.argmin(axis=1)
        assert len(set(rows)) == 4 and distances.min(axis=1).max() == 0
        np.testing.assert_array_equal(labels.numpy().argmax(1), synthetic.owners[rows])
        seen.add(tuple(rows))
    assert len(seen) > 10
    again, _ = synthetic.sample(tf.constant([0, 3]), 4)
    same, _ = synthetic.sample(tf.constant([0, 3]), 4)
    np.testing.assert_array_equal(again, same)


class TestFactor:
    """Each stored image holds 2 x 2 smaller ones, of its own class."""

    def test_four_of_each(self, images):
        synthetic = SyntheticSet(images, formation="factor:2")
        decoded, labels = synthetic.images(), synthetic.labels().numpy()
        assert decoded.shape == (24, 8, 8, 1)
        np.testing.assert_array_equal(labels.argmax(1), np.repeat([0, 1, 2], 8))
        # The corner of an enlarged part is the corner of the part.
        corners = images.reshape(6, 8, 8, 1)[:, ::4, ::4].reshape(24, 1)
        np.testing.assert_allclose(decoded[:, 0, 0], corners, rtol=1e-6)

    def test_the_budget_is_what_is_stored(self, images):
        preprocessing = fit_preprocessing("standardize", make_data().train.images)
        synthetic = SyntheticSet(images, formation="factor:2")
        distilled = synthetic.export(preprocessing, NAMES, "tiny")
        assert (len(distilled.images), distilled.size, distilled.ipc) == (24, 6, 2)
        assert distilled.formation == "factor:2"
        seen = preprocessing(distilled.images)
        np.testing.assert_allclose(seen, synthetic.images(), atol=1e-5)
        decoded = decode(distilled.stored, distilled.formation)
        np.testing.assert_allclose(decoded, distilled.images, atol=1e-5)

    def test_whitened_pixels_cannot_be_taken_apart(self, images):
        preprocessing = fit_preprocessing("zca", make_data().train.images)
        with pytest.raises(ValueError, match="ZCA mixes the pixels"):
            SyntheticSet(images, formation="factor:2").export(preprocessing, NAMES)


def test_what_is_exported_is_seen_as_it_was_learned(images, rng):
    preprocessing = fit_preprocessing("zca", make_data().train.images)
    logits = rng.standard_normal((6, 3)).astype(np.float32)
    synthetic = SyntheticSet(images, logits)
    distilled = synthetic.export(preprocessing, NAMES, "tiny", provenance={"data": "7"})
    np.testing.assert_allclose(
        preprocessing(distilled.images), synthetic.images(), atol=1e-3
    )
    soft = scipy.special.softmax(logits, axis=1)
    np.testing.assert_allclose(distilled.soft_labels, soft, rtol=1e-5)
    np.testing.assert_array_equal(distilled.labels, soft.argmax(axis=1))
    assert (distilled.name, distilled.class_names) == ("tiny", NAMES)
    assert distilled.provenance == {"data": "7"}


def test_averages_take_the_place_of_images(images):
    preprocessing = fit_preprocessing("none", make_data().train.images)
    average = tf.zeros([6, 8, 8, 1])
    exported = SyntheticSet(images).export(
        preprocessing, NAMES, averages={"images": average}
    )
    np.testing.assert_array_equal(exported.images, average)
