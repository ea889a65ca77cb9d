"""Training the evaluation networks, against the same steps in NumPy and Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf import networks
from dam_tf.distilled_set import DistilledSet
from dam_tf.errors import UserError
from dam_tf.evaluation import Evaluation, evaluate, random_real_set
from dam_tf.seeds import Purpose, tensor_seed
from dam_tf.training import _Trainer, train_and_test
from tests.tiny_data import make_data, tiny_config

NO_AUGMENTATION = {"augmentation__operations": ""}


def small_set(rng, count=6):
    images = rng.standard_normal((count, 8, 8, 1)).astype(np.float32)
    return images, np.arange(count) % 3


def test_steps_are_pytorch_sgd_with_l2_and_one_drop(rng):
    """velocity = 0.9 velocity + gradient + decay w; w -= rate velocity."""
    images, labels = small_set(rng)
    config = tiny_config(
        **NO_AUGMENTATION, evaluation__epochs=4, evaluation__weight_decay=0.1
    )
    trainer = _Trainer(images, labels, 3, config)
    state = trainer.initial_state(tf.constant(0))
    weights = [w.numpy().astype(np.float64) for w in state[0]]
    trained, _, _ = trainer.train(state, *map(tf.constant, (0, 0, 4)))

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


def test_an_epoch_sees_every_image_once(rng, monkeypatch):
    """Seven images in batches of three: two whole batches and one of a single."""
    images, labels = small_set(rng, 7)
    config = tiny_config(evaluation__batch_size=3)
    trainer = _Trainer(images, labels, 3, config)
    seen = []
    monkeypatch.setattr(
        trainer, "_step", lambda state, rows, *_: (seen.append(rows.numpy()), state)[1]
    )
    tf.config.run_functions_eagerly(True)
    try:
        trainer.train(((), (), ()), *map(tf.constant, (0, 0, 2)))
    finally:
        tf.config.run_functions_eagerly(False)
    assert [len(rows) for rows in seen] == [3, 3, 1] * 2
    first, second = np.concatenate(seen[:3]), np.concatenate(seen[3:])
    assert sorted(first) == sorted(second) == list(range(7))
    assert list(first) != list(second)


def test_accuracies_follow_from_the_seed(rng):
    images, labels = small_set(rng)
    test = make_data().test

    def accuracies(seed):
        config = tiny_config(distillation__seed=seed, evaluation__models=3)
        return train_and_test(images, labels, test, 3, keras.layers.Identity(), config)

    assert accuracies(0) == accuracies(0)
    assert len(accuracies(0)) == 3


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
    (accuracy,) = train_and_test(
        images, data.train.labels, data.test, 3, keras.layers.Identity(), config
    )
    assert accuracy > 0.8


def test_networks_differ_and_are_drawn_from_their_own_stream():
    seeds = [
        tensor_seed(0, purpose, index).numpy().tolist()
        for purpose in (Purpose.NETWORK, Purpose.EVALUATION_NETWORK)
        for index in range(3)
    ]
    assert len({tuple(seed) for seed in seeds}) == 6


def test_the_report_is_mean_and_deviation_over_networks():
    evaluation = Evaluation((0.1, 0.2, 0.6))
    assert evaluation.mean == pytest.approx(0.3)
    assert evaluation.deviation == pytest.approx(np.sqrt((0.04 + 0.01 + 0.09) / 3))
    assert str(evaluation) == "30.0 ± 21.6 % over 3 networks"


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
