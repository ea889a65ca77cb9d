"""One iteration of Algorithm 1, against the same iteration written out plainly."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf import networks
from dam_tf.augmentation import dsa
from dam_tf.base.seeds import Purpose, drawn_classes, tensor_seed
from dam_tf.data.sampling import ClassBatch
from dam_tf.networks.weights import RandomWeights
from dam_tf.runs.distiller import create_distiller
from tests.tiny_data import made_method, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")

GROUP_GRADIENT = "dam_tf.methods.group_gradient"

CLASSES, IPC, BATCH, SIZE = 3, 2, 5, 8
SHAPE = (CLASSES, IPC, SIZE, SIZE, 3)


def settings(**overrides):
    batch = {"distillation__batch_real": BATCH, "network__depth": 2}
    return tiny_config(**{**batch, **overrides})


@pytest.fixture
def images(rng):
    return rng.standard_normal(SHAPE).astype(np.float32)


@pytest.fixture
def real(rng):
    shape = (CLASSES, BATCH, SIZE, SIZE, 3)
    return rng.integers(0, 256, shape).astype(np.uint8)


def groups_of(distiller, real, classes=None):
    """The batches of an iteration of `classes`, all if left out, with images `real`."""
    classes = np.arange(len(real)) if classes is None else np.asarray(classes)
    groups = distiller.method.groups
    return iter(
        ClassBatch(tf.constant(some, tf.int32), tf.constant(part))
        for some, part in zip(
            np.split(classes, groups), np.split(real, groups), strict=True
        )
    )


def gradient_of(distiller, batches, iteration):
    """The gradient of all images, `[classes, ipc, h, w, c]`, and the losses."""
    iteration = tf.constant(iteration, tf.int64)
    gradients, losses = distiller.method.gradients(
        distiller.synthetic, batches, iteration
    )
    return tf.reshape(tf.convert_to_tensor(gradients["images"]), SHAPE), losses


def images_of(distiller):
    return distiller.synthetic.stored.numpy().reshape(SHAPE)


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
    objective = made_method(blocks=2, size=SIZE, **vars(config.method))

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
    monkeypatch.setattr("dam_tf.methods.chunks.PIXELS_AT_ONCE", chunk * SIZE * SIZE)
    monkeypatch.setattr(f"{GROUP_GRADIENT}._SYNTHETIC_PIXELS", SIZE * SIZE * IPC)
    config = settings(
        network__norm=norm, **{f"method__{key}": v for key, v in method.items()}
    )
    distiller = create_distiller(images, config, keras.layers.Identity())
    assert distiller.method.groups == (1 if norm == "batch" else CLASSES)
    variable = tf.Variable(images)
    with tf.GradientTape() as tape:
        expected = plain_loss(config, variable, real, iteration=7)
    gradient, losses = gradient_of(distiller, groups_of(distiller, real), 7)
    np.testing.assert_allclose(losses["loss"], expected, rtol=1e-4)
    expected_gradient = tape.gradient(expected, variable)
    scale = np.abs(expected_gradient).max()
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-4 * scale)


@pytest.mark.parametrize(
    "norm",
    [
        "instance",
        *(
            pytest.param(norm, marks=pytest.mark.slow)
            for norm in ("batch", "group", "layer", "none")
        ),
    ],
)
@pytest.mark.parametrize("jit", ["xla", "none"])
@pytest.mark.parametrize(
    ("precision", "digits"),
    [("float32", 4), pytest.param("bfloat16", 1.5, marks=pytest.mark.slow)],
)
def test_every_compiler_and_precision_gives_that_gradient(
    compiled, images, real, norm, jit, precision, digits
):
    """A smooth activation, whose gradient a rounded map does not turn."""
    config = settings(
        network__norm=norm,
        network__activation="swish",
        distillation__jit=jit,
        distillation__precision=precision,
    )
    distiller = create_distiller(images, config, keras.layers.Identity())
    variable = tf.Variable(images)
    with tf.GradientTape() as tape:
        expected = plain_loss(config, variable, real, iteration=7)
    step = tf.function(lambda batches: gradient_of(distiller, batches, 7))
    batch = ClassBatch(tf.range(CLASSES), tf.constant(real))
    gradient, losses = step(iter(tf.data.Dataset.from_tensors(batch)))
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
    distiller = create_distiller(images, config, keras.layers.Identity())
    gradient = gradient_of(distiller, groups_of(distiller, real), 0)[0].numpy()
    norm = np.linalg.norm(gradient)

    def loss_at(step):
        moved = images + step * gradient / norm
        distiller.synthetic.stored.assign(moved.reshape(-1, *SHAPE[2:]))
        return gradient_of(distiller, groups_of(distiller, real), 0)[1]["loss"].numpy()

    assert (loss_at(0.01) - loss_at(-0.01)) / 0.02 == pytest.approx(norm, rel=0.02)


def test_steps_are_sgd_with_momentum(images, real):
    config = settings(distillation__learning_rate=3.0, distillation__momentum=0.5)
    distiller = create_distiller(images, config, keras.layers.Identity())
    expected, velocity = images.astype(np.float64), np.zeros_like(images)
    for iteration in range(3):
        gradient, _ = gradient_of(distiller, groups_of(distiller, real), iteration)
        velocity = 0.5 * velocity + gradient.numpy()
        expected = expected - 3.0 * velocity
        distiller.train_step(groups_of(distiller, real))
    np.testing.assert_allclose(images_of(distiller), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("ipc", "rate"), [(1, 1.0), (50, 1.0), (51, 10.0)])
def test_the_learning_rate_follows_ipc(ipc, rate):
    images = np.zeros([2, ipc, 8, 8, 1], np.float32)
    distiller = create_distiller(
        images, settings(distillation__ipc=ipc), keras.layers.Identity()
    )
    assert float(distiller.optimizers["images"].learning_rate) == rate


def test_every_iteration_draws_another_network_without_retracing(
    compiled, images, real
):
    distiller = create_distiller(images, settings(), keras.layers.Identity())
    traces = []

    @tf.function
    def step(batches, iteration):
        traces.append(iteration)
        return distiller.method.gradients(distiller.synthetic, batches, iteration)[1][
            "loss"
        ]

    batch = ClassBatch(tf.range(CLASSES), tf.constant(real))
    dataset = tf.data.Dataset.from_tensors(batch).repeat()
    if distiller.method.groups > 1:
        size = distiller.method.classes_per_group
        dataset = dataset.unbatch().batch(size, drop_remainder=True)
    batches = iter(dataset)
    losses = [float(step(batches, tf.constant(i, tf.int64))) for i in range(4)]
    assert len(traces) == 1
    assert all(a != b for a, b in itertools.combinations(losses, 2))


def test_classes_do_not_influence_each_other_under_instance_norm(images, real, rng):
    distiller = create_distiller(images, settings(), keras.layers.Identity())
    gradient = gradient_of(distiller, groups_of(distiller, real), 0)[0].numpy()
    changed = real.copy()
    changed[1] = rng.integers(0, 256, real[1].shape)
    other = gradient_of(distiller, groups_of(distiller, changed), 0)[0].numpy()
    np.testing.assert_allclose(other[[0, 2]], gradient[[0, 2]], atol=1e-6)
    assert np.abs(other[1] - gradient[1]).max() > 1e-3


def test_only_the_drawn_classes_move(images, real):
    """They move as if there were no others; the others keep value and momentum."""
    plain = {"augmentation__operations": ()}
    some, every = (
        create_distiller(images, settings(**plain, **drawn), keras.layers.Identity())
        for drawn in ({"distillation__classes_per_step": 2}, {})
    )
    (momentum,) = some.optimizers["images"].momentums
    expected, velocity = images.astype(np.float64), np.zeros_like(images)
    moved = set()
    for iteration in range(4):
        classes = drawn_classes(0, iteration, CLASSES, 2)
        moved.add(tuple(classes))
        every.synthetic.stored.assign(some.synthetic.stored)
        gradient = gradient_of(every, groups_of(every, real), iteration)[0].numpy()
        velocity[classes] = 0.5 * velocity[classes] - gradient[classes]
        expected[classes] += velocity[classes]
        some.train_step(groups_of(some, real[classes], classes))
        np.testing.assert_allclose(images_of(some), expected, rtol=1e-4, atol=1e-5)
        found = momentum.numpy().reshape(SHAPE)
        np.testing.assert_allclose(found, velocity, rtol=1e-4, atol=1e-5)
    assert len(moved) > 1, "other classes at another time"
