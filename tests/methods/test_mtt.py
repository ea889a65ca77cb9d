"""MTT and TESLA: losses and gradients against float64 formulas and plain autodiff."""

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.augmentation import dsa
from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.methods import unrolled
from dam_tf.networks.functional import FunctionalNetwork
from tests.methods.followed import (
    CLASSES,
    IPC,
    PIXELS,
    built,
    distance,
    gradient_of,
    gradients,
    slopes,
    some_images,
    some_states,
    student,
)

pytestmark = pytest.mark.usefixtures("eagerly")

HARD = np.repeat(np.eye(CLASSES), IPC, axis=0)
BOTH = pytest.mark.parametrize("name", ["mtt", "tesla"])


@pytest.fixture(params=[None, 4], ids=["all", "four at a time"])
def batch(request):
    return request.param


def assert_close(found, expected, tolerance=1e-4):
    scale = np.abs(expected).max()
    assert scale > 1e-4
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


@BOTH
def test_loss_is_the_share_of_the_way(monkeypatch, name, batch):
    images, states = some_images(), some_states()
    method, synthetic = built(monkeypatch, name, images, batch=batch)
    rows = method._rows(6, tf.constant(5)).numpy()
    flat = images.reshape(-1, PIXELS)
    _, logs = gradients(method, synthetic, *states, iteration=5)
    expected = distance(*states, flat, HARD, 0.3, rows)
    np.testing.assert_allclose(logs["loss"], expected, rtol=1e-5)
    assert logs["step_size"] == np.float32(0.3) and set(logs) == {"loss", "step_size"}


def test_gradient_is_that_of_the_whole_unrolled_training(monkeypatch, batch):
    """Finite differences of the float64 formula, of all images and the step size."""
    images, states = some_images(), some_states()
    method, synthetic = built(monkeypatch, "mtt", images, batch=batch)
    rows = method._rows(6, tf.constant(0)).numpy()
    found, _ = gradients(method, synthetic, *states)
    flat = images.reshape(-1, PIXELS)
    expected = slopes(lambda x: distance(*states, x, HARD, 0.3, rows), flat)
    assert_close(found["images"].reshape(-1, PIXELS), expected)
    expected = slopes(lambda a: distance(*states, flat, HARD, a, rows), 0.3)
    assert_close(found["step_size"], expected)


def test_gradient_of_tesla_takes_later_weights_as_constants(monkeypatch, batch):
    """The sum over steps of v . d g_i / d x, whole, not half as in its code."""
    images, (start, target) = some_images(), some_states()
    method, synthetic = built(monkeypatch, "tesla", images, batch=batch)
    rows = method._rows(6, tf.constant(0)).numpy()
    found, _ = gradients(method, synthetic, start, target)
    flat = images.reshape(-1, PIXELS)
    states = student(start, flat, HARD, 0.3, rows)
    vector = 2 * (states[-1] - target) / np.sum((start - target) ** 2)

    def linear(x):
        steps = zip(states, rows, strict=False)
        of_steps = [gradient_of(theta, x[some], HARD[some]) for theta, some in steps]
        return -0.3 * vector @ np.sum(of_steps, axis=0)

    assert_close(found["images"].reshape(-1, PIXELS), slopes(linear, flat))
    assert_close(found["step_size"], vector @ (states[-1] - start) / 0.3)


def test_tesla_is_mtt_for_one_step_and_not_beyond(monkeypatch):
    images, states = some_images(), some_states()
    for steps in (1, 2):
        one, other = (
            gradients(*built(monkeypatch, name, images, steps=steps), *states)
            for name in ("mtt", "tesla")
        )
        assert one[1] == other[1]
        gap = np.abs(one[0]["images"] - other[0]["images"]).max()
        gap /= np.abs(one[0]["images"]).max()
        assert gap < 1e-6 if steps == 1 else gap > 0.01


@BOTH
def test_without_a_step_size_the_student_stays(monkeypatch, name):
    images, states = some_images(), some_states()
    method, synthetic = built(monkeypatch, name, images, step_size=0.0)
    found, logs = gradients(method, synthetic, *states)
    assert logs["loss"] == 1 and not np.any(found["images"])


@BOTH
@pytest.mark.parametrize("sign", [1, -1])
def test_step_size_grows_where_the_expert_went_the_same_way(monkeypatch, name, sign):
    images, (start, _) = some_images(), some_states()
    slope = gradient_of(start, images.reshape(-1, PIXELS), HARD)
    method, synthetic = built(monkeypatch, name, images, step_size=1e-3)
    found, _ = gradients(method, synthetic, start, start - sign * slope)
    assert np.sign(found["step_size"]) == -sign  # it moves against its gradient


def plainly(method, synthetic, network, start, target):
    """The same by one tape over all steps, with a network of several layers."""
    images, rate = synthetic.images(), synthetic.scalar("step_size")
    rows = method._rows(len(images), tf.constant(0))
    shapes = [w.shape for w in network.init(tf.constant([0, 0]))]
    sizes = [int(np.prod(shape)) for shape in shapes]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([images, rate])
        theta = tf.constant(start)
        for step, some in enumerate(rows):
            batch = tf.gather(images, some)
            drawn = dsa.draw(
                tensor_seed(0, Purpose.STUDENT_AUGMENTATION, 0, step),
                len(some),
                (8, 8),
                method._augmentation,
                shared_operation=True,
            )
            batch = dsa.apply(batch, drawn)
            with tf.GradientTape() as inner:
                inner.watch(theta)
                parts = zip(tf.split(theta, sizes), shapes, strict=True)
                weights = [tf.reshape(values, shape) for values, shape in parts]
                logits = network.apply(weights, [], batch)[0].logits
                labels = tf.gather(synthetic.owners, some)
                loss = tf.reduce_mean(
                    tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
                )
            theta -= rate * inner.gradient(loss, theta)
        way = tf.reduce_sum((start - target) ** 2)
        loss = tf.reduce_sum((theta - target) ** 2) / way
    of_images = tf.convert_to_tensor(tape.gradient(loss, images))
    return loss, of_images, tape.gradient(loss, rate)


@pytest.mark.parametrize("at_once", [99, 2], ids=["all at once", "two at once"])
def test_of_a_network_with_augmentation(monkeypatch, at_once):
    """Against one tape; a batch of five passes whole, or as two, two and one."""
    monkeypatch.setattr(unrolled, "_PIXELS", at_once * 64)
    images = some_images(side=8).astype(np.float32)
    settings = {"linear": False, "augmented": True, "steps": 4, "batch": 5}
    method, synthetic = built(monkeypatch, "mtt", images, **settings)
    network = method._step.network
    assert isinstance(network, FunctionalNetwork)
    seeds = tf.constant([1, 2]), tf.constant([3, 4])
    start, target = (
        np.concatenate([w.numpy().ravel() for w in network.init(s)]) for s in seeds
    )
    target = start + 0.1 * (target - start)
    found, logs = gradients(method, synthetic, start, target)
    loss, of_images, of_rate = plainly(method, synthetic, network, start, target)
    np.testing.assert_allclose(logs["loss"], loss, rtol=1e-5)
    assert_close(found["images"], of_images.numpy(), 1e-3)
    assert_close(found["step_size"], of_rate.numpy(), 1e-3)


def test_labels_of_the_expert(monkeypatch):
    """They are what the expert's later weights say of the images, and are kept."""
    images, (start, target) = some_images(), some_states()
    method, synthetic = built(monkeypatch, "mtt", images, labels="expert")
    np.testing.assert_allclose(synthetic.labels(), HARD, atol=1e-6)
    flat = images.reshape(-1, PIXELS)
    logits = flat @ target[:-CLASSES].reshape(PIXELS, CLASSES) + target[-CLASSES:]
    soft = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    rows = method._rows(6, tf.constant(0)).numpy()
    found, logs = gradients(method, synthetic, start, target)
    np.testing.assert_allclose(synthetic.labels(), soft, rtol=1e-4)
    expected = distance(start, target, flat, soft, 0.3, rows)
    np.testing.assert_allclose(logs["loss"], expected, rtol=1e-5)
    assert set(found) == {"images", "step_size"}


def test_steps_go_through_orders_of_all_images(monkeypatch):
    """Of six images four at a time, two wait for another order."""
    method, _ = built(monkeypatch, "mtt", some_images(), batch=2, steps=7)
    first, second = (method._rows(6, tf.constant(k)).numpy() for k in (0, 1))
    assert first.shape == (7, 2) and np.any(first != second)
    for pass_ in (first[:3], first[3:6]):
        assert sorted(pass_.ravel()) == [0, 1, 2, 3, 4, 5]
    method, _ = built(monkeypatch, "mtt", some_images(), batch=4, steps=300)
    rows = method._rows(6, tf.constant(0)).numpy()
    assert all(len(set(some)) == 4 for some in rows)
    counts = np.bincount(rows.ravel(), minlength=6)
    assert np.all(np.abs(counts - 200) < 50)
