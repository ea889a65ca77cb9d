"""KIP against its formula in NumPy's float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.data.sampling import ClassBatch
from dam_tf.methods.kernel_regression import ridge_weights
from dam_tf.runs.distiller import create_distiller
from tests.methods.kernels import centred, numpy_answers
from tests.tiny_data import tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")

CLASSES, IPC, BATCH, SIDE = 3, 2, 4, 4


@pytest.fixture
def images(rng):
    shape = CLASSES, IPC, SIDE, SIDE, 1
    return rng.standard_normal(shape).astype(np.float32)


@pytest.fixture
def real(rng):
    return rng.integers(0, 256, (CLASSES, BATCH, SIDE, SIDE, 1)).astype(np.uint8)


def made(images, **settings):
    values = {f"method__{name}": value for name, value in settings.items()}
    config = tiny_config(method__name="kip", distillation__batch_real=BATCH, **values)
    return create_distiller(images, config, keras.layers.Identity())


def found_of(distiller, real):
    batch = ClassBatch(tf.range(CLASSES), tf.constant(real))
    gradients, logs = distiller.method.gradients(
        distiller.synthetic, iter([batch]), tf.constant(0, tf.int64)
    )
    return {name: value.numpy() for name, value in gradients.items()}, logs


def expected_answers(images, targets, real, conv=False, depth=1, kernel="ntk"):
    pixels = real.reshape(-1, *real.shape[2:]) / np.float32(255)
    images = images.reshape(-1, *images.shape[2:])
    network = {"conv": conv, "depth": depth, "kernel": kernel}
    return numpy_answers(images, targets, pixels, 1e-6, **network)


def expected_loss(images, targets, real, **network):
    answers = expected_answers(images, targets, real, **network)
    wanted = centred(np.repeat(np.arange(CLASSES), BATCH), CLASSES)
    return np.mean((answers - wanted) ** 2) / 2


@pytest.mark.parametrize(
    ("settings", "network"),
    [
        ({}, {}),
        ({"depth": 2, "kernel": "nngp"}, {"depth": 2, "kernel": "nngp"}),
        ({"depth": 2, "kernel_network": "conv"}, {"depth": 2, "conv": True}),
    ],
)
def test_loss_and_gradients_are_those_of_numpy(images, real, settings, network):
    distiller = made(images, labels="learned", **settings)
    targets = distiller.synthetic.targets().numpy().astype(np.float64)
    owners = np.repeat(np.arange(CLASSES), IPC)
    np.testing.assert_allclose(targets, centred(owners, CLASSES), rtol=1e-6)
    gradients, logs = found_of(distiller, real)
    loss = expected_loss(images, targets, real, **network)
    np.testing.assert_allclose(logs["loss"], loss, rtol=1e-5)
    answers = expected_answers(images, targets, real, **network).argmax(axis=1)
    right = answers == np.repeat(np.arange(CLASSES), BATCH)
    np.testing.assert_allclose(logs["accuracy"], right.mean(), rtol=1e-6)

    images, step = images.astype(np.float64), 1e-6
    for place in [(0, 0, 1, 2, 0), (2, 1, 3, 0, 0)]:
        change = np.zeros(images.shape)
        change[place] = step
        ends = [
            expected_loss(images + sign * change, targets, real, **network)
            for sign in (1, -1)
        ]
        found = gradients["images"].reshape(images.shape)[place]
        assert found == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4)
    change = np.zeros(targets.shape)
    change[4, 1] = step
    ends = [
        expected_loss(images, targets + sign * change, real, **network)
        for sign in (1, -1)
    ]
    slope = (ends[0] - ends[1]) / (2 * step)
    assert gradients["labels"][4, 1] == pytest.approx(slope, rel=1e-4)


def test_fixed_labels_are_those_of_the_classes(images, real):
    learned, fixed = made(images, labels="learned"), made(images)
    assert set(fixed.synthetic.variables_by_name) == {"images"}
    (gradients, logs), (own, own_logs) = (found_of(d, real) for d in (learned, fixed))
    np.testing.assert_allclose(own["images"], gradients["images"], rtol=1e-6)
    assert float(logs["loss"]) == pytest.approx(float(own_logs["loss"]))


def test_a_regression_answers_its_own_images_with_their_labels(rng):
    """With hardly any regularisation; with much of it, with hardly anything."""
    factor = rng.standard_normal((6, 9))
    kernel, targets = tf.constant(factor @ factor.T), tf.constant(rng.random((6, 3)))
    exact = kernel @ ridge_weights(kernel, targets, 1e-12)
    np.testing.assert_allclose(exact, targets, atol=1e-8)
    shrunk = kernel @ ridge_weights(kernel, targets, 1e6)
    assert np.abs(shrunk).max() < 1e-4


def test_images_of_the_real_batch_are_answered_rightly(real):
    """Where synthetic and real images are the same, the loss is nearly 0."""
    images = real / np.float32(255)
    distiller = made(images)
    _, logs = found_of(distiller, real)
    assert float(logs["loss"]) < 1e-8 and float(logs["accuracy"]) == 1


def test_a_kernel_that_is_not_finite_is_told_by_the_loss(images, real):
    images[0, 0, 0, 0, 0] = np.inf
    _, logs = found_of(made(images), real)
    assert np.isnan(logs["loss"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"distillation__classes_per_step": 2},
            r"classes_per_step 2 is not for .*'kip'",
        ),
        ({"distillation__precision": "bfloat16"}, r"'bfloat16' is not for .*float64"),
        ({"distillation__batch_real": 10**9}, r"--batch_real \(at most \d+ fits\)"),
    ],
)
def test_what_it_cannot_do_is_refused(images, settings, message):
    config = tiny_config(method__name="kip", **settings)
    with pytest.raises(UserError, match=message):
        create_distiller(images, config, keras.layers.Identity())
