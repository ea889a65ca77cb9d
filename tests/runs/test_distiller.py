"""One iteration of Algorithm 1, against the same iteration written out plainly."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf import networks
from dam_tf.augmentation import dsa
from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.methods.objectives import create_objective
from dam_tf.networks.weights import RandomWeights
from dam_tf.runs.distiller import Distiller
from tests.tiny_data import tiny_config

FEATURE_MATCHING = "dam_tf.methods.feature_matching"

CLASSES, IPC, BATCH, SIZE = 3, 2, 5, 8


def settings(**overrides):
    return tiny_config(distillation__batch_real=BATCH, **overrides)


@pytest.fixture
def images(rng):
    shape = (CLASSES, IPC, SIZE, SIZE, 3)
    return rng.standard_normal(shape).astype(np.float32)


@pytest.fixture
def real(rng):
    shape = (CLASSES, BATCH, SIZE, SIZE, 3)
    return rng.integers(0, 256, shape).astype(np.uint8)


def groups_of(distiller, real):
    return iter(tf.constant(part) for part in np.split(real, distiller.groups, axis=0))


def plain_loss(config, images, real, iteration):
    """The loss of an iteration with nothing chunked, grouped or averaged early."""
    network = networks.create("convnet", (SIZE, SIZE, 3), CLASSES, config.network)
    extractor = networks.registry.feature_extractor(network)
    theta = RandomWeights(extractor)(
        tensor_seed(config.distillation.seed, Purpose.NETWORK, iteration)
    )
    parameters = dsa.draw(
        tensor_seed(config.distillation.seed, Purpose.AUGMENTATION, iteration),
        CLASSES,
        (SIZE, SIZE),
        config.augmentation,
    )
    objective = create_objective(config.method, 2, SIZE)

    def vectors(batch):
        each = batch.shape[1]
        flat = tf.reshape(batch, [CLASSES * each, SIZE, SIZE, 3])
        rows = np.repeat(np.arange(CLASSES), each)
        augmented = dsa.apply(flat, dsa.take(parameters, rows))
        features, _ = extractor.stateless_call(
            theta, extractor.non_trainable_variables, augmented, training=True
        )
        return [tf.reshape(v, [CLASSES, each, -1]) for v in objective.vectors(features)]

    pixels = tf.constant(real, tf.float32) / 255
    return objective.losses(vectors(pixels), vectors(images))["loss"]


@pytest.mark.parametrize(
    ("norm", "method", "chunk"),
    [
        ("instance", {"name": "datadam"}, 4),
        ("instance", {"name": "datadam", "kernel": "rbf"}, 4),
        ("instance", {"name": "dm"}, 64),
        ("batch", {"name": "datadam"}, 4),
        ("batch", {"name": "dm", "kernel": "rbf"}, 64),
    ],
)
def test_gradient_is_that_of_the_plain_loss(
    images, real, norm, method, chunk, monkeypatch
):
    monkeypatch.setattr(f"{FEATURE_MATCHING}._REAL_PIXELS", chunk * SIZE * SIZE)
    monkeypatch.setattr(f"{FEATURE_MATCHING}._SYNTHETIC_PIXELS", SIZE * SIZE * IPC)
    config = settings(
        network__norm=norm, **{f"method__{key}": v for key, v in method.items()}
    )
    distiller = Distiller(images, config, keras.layers.Identity())
    assert distiller.groups == (1 if norm == "batch" else CLASSES)
    variable = tf.Variable(images)
    with tf.GradientTape() as tape:
        expected = plain_loss(config, variable, real, iteration=7)
    gradient, losses = distiller.gradient(groups_of(distiller, real), 7)
    np.testing.assert_allclose(losses["loss"], expected, rtol=1e-4)
    expected_gradient = tape.gradient(expected, variable)
    scale = np.abs(expected_gradient).max()
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-4 * scale)


@pytest.mark.parametrize("norm", ["instance", "batch", "group", "layer", "none"])
@pytest.mark.parametrize("jit", ["xla", "none"])
@pytest.mark.parametrize(("precision", "digits"), [("float32", 4), ("bfloat16", 1.5)])
def test_every_compiler_and_precision_gives_that_gradient(
    images, real, norm, jit, precision, digits
):
    """A smooth activation, whose gradient a rounded map does not turn."""
    config = settings(
        network__norm=norm,
        network__activation="swish",
        distillation__jit=jit,
        distillation__precision=precision,
    )
    distiller = Distiller(images, config, keras.layers.Identity())
    variable = tf.Variable(images)
    with tf.GradientTape() as tape:
        expected = plain_loss(config, variable, real, iteration=7)
    step = tf.function(lambda batches: distiller.gradient(batches, 7))
    gradient, losses = step(iter(tf.data.Dataset.from_tensors(real)))
    tolerance = 10**-digits
    np.testing.assert_allclose(losses["loss"], expected, rtol=tolerance)
    expected_gradient = tape.gradient(expected, variable)
    scale = np.abs(expected_gradient).max()
    np.testing.assert_allclose(gradient, expected_gradient, atol=tolerance * scale)
    if precision == "bfloat16":  # which is seen to do something
        assert np.abs(gradient - expected_gradient).max() > 1e-5 * scale


def test_gradient_is_the_slope_of_the_loss(images, real):
    """Along the gradient itself, where the slope is its norm."""
    config = settings(method__name="dm")
    distiller = Distiller(images, config, keras.layers.Identity())
    gradient = distiller.gradient(groups_of(distiller, real), 0)[0].numpy()
    norm = np.linalg.norm(gradient)

    def loss_at(step):
        distiller.images.assign(images + step * gradient / norm)
        return distiller.gradient(groups_of(distiller, real), 0)[1]["loss"].numpy()

    assert (loss_at(0.01) - loss_at(-0.01)) / 0.02 == pytest.approx(norm, rel=0.02)


def test_the_images_are_the_only_trainable_weight(images):
    distiller = Distiller(images, settings(), keras.layers.Rescaling(2.0))
    (weight,) = distiller.trainable_weights
    np.testing.assert_array_equal(weight, images)
    assert distiller(None).shape == (CLASSES * IPC, SIZE, SIZE, 3)


def test_steps_are_sgd_with_momentum(images, real):
    config = settings(distillation__learning_rate=3.0, distillation__momentum=0.5)
    distiller = Distiller(images, config, keras.layers.Identity())
    expected, velocity = images.astype(np.float64), np.zeros_like(images)
    for iteration in range(3):
        gradient, _ = distiller.gradient(groups_of(distiller, real), iteration)
        velocity = 0.5 * velocity + gradient.numpy()
        expected = expected - 3.0 * velocity
        distiller.train_step(groups_of(distiller, real))
    np.testing.assert_allclose(distiller.images, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("ipc", "rate"), [(1, 1.0), (50, 1.0), (51, 10.0)])
def test_the_learning_rate_follows_ipc(ipc, rate):
    images = np.zeros([2, ipc, 8, 8, 1], np.float32)
    distiller = Distiller(images, settings(), keras.layers.Identity())
    assert distiller.optimizer.learning_rate == rate


def test_every_iteration_draws_another_network_without_retracing(images, real):
    distiller = Distiller(images, settings(), keras.layers.Identity())
    traces = []

    @tf.function
    def step(batches, iteration):
        traces.append(iteration)
        return distiller.gradient(batches, iteration)[1]["loss"]

    dataset = tf.data.Dataset.from_tensors(real).repeat()
    if distiller.groups > 1:
        dataset = dataset.unbatch().batch(distiller.classes_per_group, True)
    batches = iter(dataset)
    losses = [float(step(batches, tf.constant(i, tf.int64))) for i in range(4)]
    assert len(traces) == 1
    assert all(a != b for a, b in itertools.combinations(losses, 2))


def test_classes_do_not_influence_each_other_under_instance_norm(images, real, rng):
    distiller = Distiller(images, settings(), keras.layers.Identity())
    gradient = distiller.gradient(groups_of(distiller, real), 0)[0].numpy()
    changed = real.copy()
    changed[1] = rng.integers(0, 256, real[1].shape)
    other = distiller.gradient(groups_of(distiller, changed), 0)[0].numpy()
    np.testing.assert_allclose(other[[0, 2]], gradient[[0, 2]], atol=1e-6)
    assert np.abs(other[1] - gradient[1]).max() > 1e-3


def test_only_the_drawn_classes_move(images, real):
    """They move as if there were no others; the others keep value and momentum."""
    plain = {"augmentation__operations": ()}
    some, every = (
        Distiller(images, settings(**plain, **drawn), keras.layers.Identity())
        for drawn in ({"distillation__classes_per_step": 2}, {})
    )
    (momentum,) = some.optimizer.momentums
    expected, velocity = images.astype(np.float64), np.zeros_like(images)
    moved = set()
    for iteration in range(4):
        classes = some.drawn_classes(iteration).numpy()
        moved.add(tuple(classes))
        every.images.assign(some.images)
        gradient = every.gradient(groups_of(every, real), iteration)[0].numpy()
        velocity[classes] = 0.5 * velocity[classes] - gradient[classes]
        expected[classes] += velocity[classes]
        some.train_step(groups_of(some, real[classes]))
        np.testing.assert_allclose(some.images, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(momentum, velocity, rtol=1e-4, atol=1e-5)
    assert len(moved) > 1, "other classes at another time"
