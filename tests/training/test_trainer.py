"""Training the evaluation networks, against the same steps in NumPy and Keras."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf import networks
from dam_tf.augmentation import autoaugment, dsa
from dam_tf.base.errors import UserError
from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.config.sections import EvaluationConfig
from dam_tf.coresets.select import random_real_set
from dam_tf.data.preprocessing.preprocessing import fit_preprocessing
from dam_tf.evaluation.evaluate import evaluate, evaluate_whole_set
from dam_tf.evaluation.scheduling import train_and_test
from dam_tf.networks.xla_cpu import layers as fast_layers
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.training import descent
from dam_tf.training.descent import learning_rate
from dam_tf.training.trainer import Trainer, train_network, trainer_of
from tests.tiny_data import make_data, tiny_config

NO_AUGMENTATION = {"augmentation__operations": ""}


def small_set(rng, count=6):
    images = rng.standard_normal((count, 8, 8, 1)).astype(np.float32)
    return images, np.arange(count) % 3


def train(trainer, states, indices, epochs):
    """Trains from the start, as tensors that do not retrace."""
    numbers = [tf.constant(index) for index in indices]
    return trainer.train(states, numbers, tf.constant(0), tf.constant(epochs))


def test_steps_are_pytorch_sgd_with_l2_and_one_drop(rng):
    """velocity = 0.9 velocity + gradient + decay w; w -= rate velocity."""
    images, labels = small_set(rng)
    config = tiny_config(
        **NO_AUGMENTATION, evaluation__epochs=4, evaluation__weight_decay=0.1
    )
    trainer = Trainer(images, labels, 3, config)
    state = trainer.initial_state(tf.constant(0))
    weights = [w.numpy().astype(np.float64) for w in state[0]]
    ((trained, _, _),) = train(trainer, [state], [0], 4)

    network = networks.create("convnet", (8, 8, 1), 3, config.network)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    velocities = [np.zeros_like(w) for w in weights]
    for rate in (0.01, 0.01, 0.01, 0.001):
        for variable, weight in zip(network.trainable_variables, weights, strict=True):
            variable.assign(weight)
        with tf.GradientTape() as tape:
            loss = loss_of(labels, network(images))
        gradients = tape.gradient(loss, [v.value for v in network.trainable_variables])
        velocities = [
            0.9 * v + g.numpy() + 0.1 * w
            for v, g, w in zip(velocities, gradients, weights, strict=True)
        ]
        weights = [w - rate * v for w, v in zip(weights, velocities, strict=True)]
    for one, other in zip(trained, weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("at_once", [20, 4, 1])
def test_compiled_by_xla_it_trains_and_answers_the_same(rng, monkeypatch, at_once):
    """A smooth activation: ReLU's kinks would magnify the last bits."""
    data, config = make_data(), tiny_config(network__activation="swish")
    images, labels = small_set(rng, 7)
    plain = Trainer(images, labels, 3, config)
    monkeypatch.setattr(descent, "_PIXELS_WORTH_COMPILING", 0)
    monkeypatch.setattr(fast_layers, "_LEAST_CHANNELS", 1)
    height, width, _ = data.image_shape
    monkeypatch.setattr(descent, "_PIXELS_AT_ONCE", at_once * height * width)
    compiled = Trainer(images, labels, 3, config)
    assert compiled._descent.compiled and not plain._descent.compiled
    assert compiled._descent.step.function_spec.jit_compile
    states = [plain.initial_state(0)]
    (one,), (other,) = (train(t, states, [0], 3) for t in (plain, compiled))
    for a, b in zip(one[0], other[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    answers = [t.predict(one, data.test.images) for t in (plain, compiled)]
    np.testing.assert_allclose(*answers, rtol=1e-4, atol=1e-5)
    flags = [t.train_epoch(one, 0, 0)[1] for t in (plain, compiled)]
    np.testing.assert_array_equal(*flags)


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
    tf.config.run_functions_eagerly(True)
    try:
        train(trainer, [((), (), ())], [0], 2)
    finally:
        tf.config.run_functions_eagerly(False)
    assert [len(rows) for rows in seen] == [3, 3, 1] * 2
    first, second = np.concatenate(seen[:3]), np.concatenate(seen[3:])
    assert sorted(first) == sorted(second) == list(range(7))
    assert list(first) != list(second)


def test_predictions_follow_from_the_seed_and_the_index_alone(rng):
    """Whatever is trained beside a network: itself alone, one more, or two."""
    images, labels = small_set(rng)
    test = make_data().test

    def predictions(seed, together):
        config = tiny_config(distillation__seed=seed, evaluation__models=3)
        trainer = Trainer(images, labels, 3, config)
        settings = dataclasses.replace(config.evaluation, together=together)
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


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("lineage", {0: 1, 20: 1, 21: 0.1, 39: 0.1}),
        ("paper", {0: 1, 14: 1, 15: 0.5, 29: 0.5, 30: 0.25, 39: 0.25}),
        ("constant", {0: 1, 39: 1}),
    ],
)
def test_schedules(schedule, expected):
    settings = EvaluationConfig(learning_rate=1.0, schedule=schedule, epochs=40)
    found = {epoch: float(learning_rate(settings, epoch)) for epoch in expected}
    assert found == pytest.approx(expected)


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
        tf.config.run_functions_eagerly(True)
        try:
            train(trainer, [trainer.initial_state(0)], [0], 1)
        finally:
            tf.config.run_functions_eagerly(False)
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
        evaluation__epochs=40,
        evaluation__models=1,
        evaluation__batch_size=32,
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
    settings = dataclasses.replace(config.evaluation, models=1)
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
        evaluation__epochs=60,
        evaluation__models=1,
    )
    if norm == "instance":  # which cannot see brightness: give it a pattern
        for label in range(3):
            images[30 * label : 30 * label + 30, :, 2 * label] += 1
            data.test.images[5 * label : 5 * label + 5, :, 2 * label] = 255
    trainer = Trainer(images, data.train.labels, 3, config)
    (answers,) = train_and_test(trainer, data.test, config.evaluation)
    assert np.mean(answers == data.test.labels) > 0.8


def test_networks_differ_and_are_drawn_from_their_own_stream():
    seeds = [
        tensor_seed(0, purpose, index).numpy().tolist()
        for purpose in (Purpose.NETWORK, Purpose.EVALUATION_NETWORK)
        for index in range(3)
    ]
    assert len({tuple(seed) for seed in seeds}) == 6


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
