"""Training networks epoch by epoch: what is seen when, and what comes of it."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from dam_tf import networks
from dam_tf.augmentation import autoaugment, dsa
from dam_tf.base.errors import UserError
from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.coresets.select import random_real_set
from dam_tf.data.preprocessing.preprocessing import fit_preprocessing
from dam_tf.evaluation.evaluate import evaluate, evaluate_whole_set
from dam_tf.evaluation.scheduling import train_and_test
from dam_tf.networks.weights import RandomWeights
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.training.descent import Descent
from dam_tf.training.on_distilled import train_network, trainer_of
from dam_tf.training.trainer import Trainer
from tests.tiny_data import make_data, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")

NO_AUGMENTATION = {"augmentation__operations": ""}


def small_set(rng, count=6):
    images = rng.standard_normal((count, 8, 8, 1)).astype(np.float32)
    return images, np.arange(count) % 3


def train(trainer, states, indices, epochs):
    """Trains from the start, as tensors that do not retrace."""
    numbers = [tf.constant(index) for index in indices]
    return trainer.train(states, numbers, tf.constant(0), tf.constant(epochs))


def test_epochs_follow_the_schedule_and_the_targets(rng):
    """Four epochs of one batch: three at the whole rate, one at a tenth."""
    images, labels = small_set(rng)
    config = tiny_config(**NO_AUGMENTATION, evaluation__epochs=4)
    states = []
    for targets in (labels, np.eye(3, dtype=np.float32)[labels]):
        trainer = Trainer(images, targets, 3, config)
        state = trainer.initial_state(0)
        (trained,) = train(trainer, [state], [0], 4)
        states.append(trained)
    made = Descent((8, 8, 1), 3, config, images=6)
    for rate in (0.01, 0.01, 0.01, 0.001):
        targets = tf.constant(labels, tf.int32)
        state, _ = made.step(state, images, targets, tf.constant(rate))
    for found in states:
        for one, other in zip(found[0], state[0], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_labels_of_another_shape_are_a_mistake(rng):
    images, labels = small_set(rng)
    with pytest.raises(ValueError, match=r"\(6, 1\) are not those of 6 images and 3"):
        Trainer(images, labels[:, None], 3, tiny_config())


def test_an_epoch_sees_every_image_once(rng, monkeypatch):
    """Seven images in batches of three: two whole batches and one of a single."""
    images, labels = small_set(rng, 7)
    config = tiny_config(evaluation__batch_size=3)
    trainer = Trainer(images, labels, 3, config)
    seen = []

    def step(state, rows, *_):
        seen.append(rows.numpy())
        return state, tf.fill([len(rows)], True)

    monkeypatch.setattr(trainer, "_step", step)
    train(trainer, [((), (), ())], [0], 2)
    assert [len(rows) for rows in seen] == [3, 3, 1] * 2
    first, second = np.concatenate(seen[:3]), np.concatenate(seen[3:])
    assert sorted(first) == sorted(second) == list(range(7))
    assert list(first) != list(second)


def test_predictions_follow_from_the_seed_and_the_index_alone(rng):
    """Whatever is trained beside a network: itself alone, one more, or two."""
    images, labels = small_set(rng)
    test = make_data().test

    def predictions(seed, together):
        config = tiny_config(distillation__seed=seed, evaluation__networks=3)
        trainer = Trainer(images, labels, 3, config)
        settings = dataclasses.replace(config.evaluation, networks_at_once=together)
        return np.stack(train_and_test(trainer, test, settings))

    alone = predictions(0, 1)
    assert alone.shape == (3, len(test.labels))
    np.testing.assert_array_equal(predictions(0, 1), alone)
    # Sums may be taken in another order then, which can turn an answer that hangs in
    # the balance.
    for together in (2, 3):
        assert np.mean(predictions(0, together) == alone) > 0.9


def test_weights_do_not_depend_on_what_is_trained_beside(rng):
    trainer = Trainer(*small_set(rng), 3, tiny_config())
    states = [trainer.initial_state(index) for index in (0, 1)]
    together = train(trainer, states, [0, 1], 3)
    for index in (0, 1):
        (alone,) = train(trainer, states[index : index + 1], [index], 3)
        for one, other in zip(alone[0], together[index][0], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_the_flags_of_an_epoch_are_in_the_order_of_the_images(rng, monkeypatch):
    images, labels = small_set(rng, 7)
    trainer = Trainer(images, labels, 3, tiny_config(evaluation__batch_size=3))
    monkeypatch.setattr(
        trainer, "_step", lambda state, rows, *_: (state, tf.equal(rows % 3, 0))
    )
    for index in range(3):
        _, right = trainer.train_epoch(trainer.initial_state(index), index, 0)
        assert right.tolist() == [i % 3 == 0 for i in range(7)]


def test_an_untrained_network_is_right_where_its_logits_say_so(rng):
    """The flags are those before the update, and of the augmented images."""
    images, labels = small_set(rng)
    config = tiny_config(**NO_AUGMENTATION)
    trainer = Trainer(images, labels, 3, config)
    state = trainer.initial_state(0)
    network = trainer.model(state)
    expected = np.argmax(network(images), axis=1) == labels
    _, right = trainer.train_epoch(state, 0, 0)
    np.testing.assert_array_equal(right, expected)


def test_pixels_are_trained_on_as_their_model_space_is(rng):
    """uint8 from a file, float pixels and model space: one and the same training."""
    data = make_data(per_class=(4, 4, 4))
    preprocessing = fit_preprocessing("standardize", data.train.images)
    unit = (data.train.images / 255).astype(np.float32)
    config = tiny_config(evaluation__batch_size=5)
    weights = []
    for images, pixels in [
        (data.train.images, False),
        (unit, True),
        (np.asarray(preprocessing(unit)), False),
    ]:
        trainer = Trainer(
            images, data.train.labels, 3, config, preprocessing, pixels=pixels
        )
        ((trained, _, _),) = train(trainer, [trainer.initial_state(0)], [0], 2)
        weights.append(trained)
    for other in weights[1:]:
        for one, two in zip(weights[0], other, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["none", "dsa", "autoaugment", "randaugment"])
def test_each_augmentation_trains(kind, rng):
    data = make_data(per_class=(4, 4, 4))
    distilled = random_real_set(data, tiny_config())
    config = tiny_config(evaluation__augmentation=kind)
    first, again = (evaluate(distilled, config, data).accuracies for _ in range(2))
    assert first == again
    assert len(first) == 2


def test_augmentation_sees_what_it_is_made_for(rng, monkeypatch):
    """Policies work on pixels, DSA in model space."""
    data = make_data(per_class=(4, 4, 4))
    distilled = random_real_set(data, tiny_config())
    seen = {}
    monkeypatch.setattr(
        autoaugment, "apply", lambda kind, images, seed: seen.setdefault(kind, images)
    )
    monkeypatch.setattr(
        dsa,
        "compiled_apply",
        lambda images, parameters: seen.setdefault("dsa", images),
    )
    for kind in ("dsa", "autoaugment"):
        trainer = trainer_of(distilled, tiny_config(evaluation__augmentation=kind))
        train(trainer, [trainer.initial_state(0)], [0], 1)
    pixels = distilled.images.reshape(6, -1)
    assert {row.tobytes() for row in pixels} == {
        row.tobytes() for row in seen["autoaugment"].numpy().reshape(6, -1)
    }
    seen_by_dsa = distilled.preprocessing.inverse(seen["dsa"]).numpy().reshape(6, -1)
    np.testing.assert_allclose(
        np.sort(seen_by_dsa, axis=None), np.sort(pixels, axis=None), atol=1e-5
    )


def test_the_network_sees_model_space_after_a_policy(monkeypatch):
    data = make_data(per_class=(4, 4, 4))
    distilled = random_real_set(data, tiny_config())
    monkeypatch.setattr(autoaugment, "apply", lambda kind, images, seed: images)
    trainer = trainer_of(distilled, tiny_config(evaluation__augmentation="autoaugment"))
    seen = trainer._augment(tf.constant(distilled.images), tf.constant([0, 0]))
    np.testing.assert_allclose(seen, distilled.to_numpy("network")[0], atol=1e-6)


def test_the_whole_set_is_an_upper_bound_that_learns():
    data = make_data(per_class=(30, 30, 30))
    for split in (data.train, data.test):
        for label in range(3):
            split.class_images(label)[:, :, 2 * label] = 255
    config = tiny_config(
        **NO_AUGMENTATION,
        network__depth=1,
        evaluation__epochs=15,
        evaluation__learning_rate=0.03,
        evaluation__networks=1,
        evaluation__batch_size=45,
    )
    assert evaluate_whole_set(config, data).mean > 0.8


def test_a_shipped_network_is_the_first_of_an_evaluation(rng):
    data = make_data()
    distilled, config = random_real_set(data, tiny_config()), tiny_config()
    done = []
    network = train_network(distilled, config, done.append)
    assert done[-1] == config.evaluation.epochs
    images = distilled.preprocessing(data.test.images / np.float32(255))
    answers = np.argmax(network(images, training=False), axis=1)
    trainer = trainer_of(distilled, config)
    settings = dataclasses.replace(config.evaluation, networks=1)
    np.testing.assert_array_equal(
        answers, train_and_test(trainer, data.test, settings)[0]
    )


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_a_network_learns_what_can_be_learnt(norm):
    data = make_data(per_class=(30, 30, 30))
    images = (data.train.images / 255).astype(np.float32)
    config = tiny_config(
        **NO_AUGMENTATION,
        network__norm=norm,
        network__depth=1,
        evaluation__epochs=30,
        evaluation__learning_rate=0.03,
        evaluation__networks=1,
    )
    if norm == "instance":  # which cannot see brightness: give it a pattern
        for label in range(3):
            images[30 * label : 30 * label + 30, :, 2 * label] += 1
            data.test.images[5 * label : 5 * label + 5, :, 2 * label] = 255
    trainer = Trainer(images, data.train.labels, 3, config)
    (answers,) = train_and_test(trainer, data.test, config.evaluation)
    assert np.mean(answers == data.test.labels) > 0.8


def test_networks_are_drawn_from_the_stream_of_their_purpose(rng):
    images, labels = small_set(rng)
    config = tiny_config(distillation__seed=5)

    def seeds_of(purpose):
        trainer = Trainer(images, labels, 3, config, purpose=purpose)
        firsts = [trainer.initial_state(index)[0][0].numpy() for index in (0, 1)]
        return [*firsts, trainer._order(0, 0).numpy(), trainer._order(0, 1).numpy()]

    own = (Purpose.SELECTION_NETWORK, Purpose.POOL_NETWORK, Purpose.EMBEDDING_NETWORK)
    found = [
        x.tobytes() for p in (Purpose.EVALUATION_NETWORK, *own) for x in seeds_of(p)
    ]
    assert len(set(found)) == 4 * 4
    network = networks.create("convnet", (8, 8, 1), 3, config.network)
    draw = RandomWeights(network)
    for index, weight in enumerate(seeds_of(Purpose.EVALUATION_NETWORK)[:2]):
        expected = draw(tensor_seed(5, Purpose.EVALUATION_NETWORK, index))[0]
        np.testing.assert_array_equal(weight, expected)


def test_random_real_images_are_pixels_of_their_class():
    data, config = make_data(), tiny_config()
    chosen = random_real_set(data, config)
    assert chosen.images.shape == (6, 8, 8, 1)
    for image, label in zip(chosen.images, chosen.labels, strict=True):
        real = data.train.class_images(label).astype(np.float32) / 255
        assert (real == image).all((1, 2, 3)).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_names": ("a", "b", "c")}, "other classes"),
        ({"images": np.zeros([3, 9, 9, 1], np.float32)}, r"\(9, 9, 1\).*\(8, 8, 1\)"),
    ],
)
def test_a_set_of_other_data_is_refused(change, message):
    data = make_data()
    values = {
        "images": np.zeros([3, 8, 8, 1], np.float32),
        "labels": np.arange(3),
        "class_names": data.class_names,
    }
    with pytest.raises(UserError, match=message):
        evaluate(DistilledSet(**{**values, **change}), tiny_config(), data)
