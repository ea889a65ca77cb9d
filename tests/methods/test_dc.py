"""DC and DSA: one gradient written out plainly, and the loops around it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf.augmentation import dsa
from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.config.methods import METHODS
from dam_tf.data.sampling import ClassBatch
from dam_tf.methods import bilevel
from dam_tf.methods.dc import loops
from dam_tf.runs.distiller import create_distiller
from tests.methods.plain_bilevel import Plain, rows_of_torch
from tests.tiny_data import make_data, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")

CLASSES, IPC, BATCH, SIZE = 3, 2, 5, 8
SHAPE = (SIZE, SIZE, 1)
RATE = 0.05


def settings(method="dc", **overrides):
    rate = {"method__network_learning_rate": RATE, "network__activation": "swish"}
    batch = {"distillation__batch_real": BATCH, "network__depth": 2}
    return tiny_config(method__name=method, **rate, **batch, **overrides)


def distiller_of(config, images):
    return create_distiller(images, config, keras.layers.Identity())


@pytest.fixture
def images(rng):
    return rng.standard_normal((CLASSES, IPC, *SHAPE)).astype(np.float32)


@pytest.fixture
def real(rng):
    shape = (CLASSES, BATCH, *SHAPE)
    return rng.integers(0, 256, shape).astype(np.uint8)


def batches_of(real):
    return iter(
        ClassBatch(tf.constant([k]), tf.constant(real[k : k + 1]))
        for k in range(CLASSES)
    )


def plain_distance(config, images, real, iteration):
    """The sum over classes, of first gradients of whole batches alone."""
    network = Plain(config, SHAPE, CLASSES, iteration)
    parameters = dsa.identity(CLASSES)
    if config.method.name == "dsa":
        seed = tensor_seed(0, Purpose.AUGMENTATION, iteration)
        parameters = dsa.draw(seed, CLASSES, SHAPE[:2], config.augmentation)
    total = 0.0
    for k in range(CLASSES):
        pair = []
        for some in (real[k].astype(np.float32) / 255, images[k]):
            rows = np.full(len(some), k)
            some = dsa.apply(tf.constant(some), dsa.take(parameters, rows))
            pair.append(network.gradient(some, rows))
        for one, other in zip(*pair, strict=True):
            if len(one.shape) > 1:
                one, other = rows_of_torch(one), rows_of_torch(other)
                norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
                total += np.sum(1 - np.sum(one * other, axis=1) / (norms + 1e-6))
    return total


@pytest.mark.parametrize(
    ("method", "norm"), [("dc", "instance"), ("dsa", "instance"), ("dc", "none")]
)
def test_gradient_is_the_slope_of_the_plain_distance(
    images, real, method, norm, monkeypatch
):
    """Along itself; real images pass two at a time, the last of them alone."""
    monkeypatch.setattr("dam_tf.methods.chunks.PIXELS_AT_ONCE", 2 * SIZE * SIZE)
    config = settings(method, network__norm=norm, method__outer_loop=7)
    distiller = distiller_of(config, images)
    gradients, losses = distiller.method.gradients(
        distiller.synthetic, batches_of(real), tf.constant(7, tf.int64)
    )
    gradient = tf.convert_to_tensor(gradients["images"]).numpy().reshape(images.shape)
    found = plain_distance(config, images, real, 7)
    assert float(losses["loss"]) == pytest.approx(found, rel=1e-4)
    norm = np.linalg.norm(gradient)
    ahead, behind = (
        plain_distance(config, images + step * gradient / norm, real, 7)
        for step in (0.02, -0.02)
    )
    assert (ahead - behind) / 0.04 == pytest.approx(norm, rel=0.01)


def test_real_gradients_of_half_precision_are_nearly_the_same(images, real):
    found = []
    for precision in ("float32", "bfloat16"):
        config = settings(method__outer_loop=1, distillation__precision=precision)
        distiller = distiller_of(config, images)
        gradients, _ = distiller.method.gradients(
            distiller.synthetic, batches_of(real), tf.constant(0, tf.int64)
        )
        found.append(tf.convert_to_tensor(gradients["images"]).numpy())
    gap = np.abs(found[0] - found[1]).max() / np.abs(found[0]).max()
    assert 1e-5 < gap < 0.1


class TestLoops:
    def test_published_ones(self):
        table = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20)}
        table |= {40: (40, 15), 50: (50, 10), 100: (100, 2)}
        assert {ipc: loops(ipc) for ipc in table} == table

    def test_others_lie_between_their_neighbours(self):
        assert loops(5) == (5, 23) and loops(45) == (45, 13) and loops(500) == (100, 2)

    @pytest.mark.parametrize("norm", ["instance", "batch"])
    def test_a_network_serves_its_iterations_and_is_trained_in_between(
        self, images, norm
    ):
        """On images that stay where they are."""
        loop = {"method__outer_loop": 3, "method__inner_loop": 2}
        still = {"distillation__learning_rate": 0.0, "network__norm": norm}
        data, config = make_data(), settings(**loop, **still)
        distiller = distiller_of(config, images)
        batches = iter(distiller.method.inputs(data, 0, 5))
        flat = images.reshape(-1, *SHAPE)
        labels = np.repeat(np.arange(CLASSES), IPC)
        for iteration in range(5):
            distiller.train_step(batches)
            if iteration % 3 == 0:
                expected = Plain(config, SHAPE, CLASSES, iteration)
            if iteration % 3 < 2:  # of the last nobody asks what it becomes
                expected.train(flat, labels, 2, RATE)
                theta, _ = distiller.method.read_network()
                for one, other in zip(theta, expected.theta, strict=True):
                    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)

    def test_one_image_a_class_needs_no_state(self, images):
        config = settings(distillation__ipc=1)
        assert distiller_of(config, images[:, :1]).method.variables == {}


def test_statistics_are_those_of_16_real_images_of_each_class(images):
    """0.9 of what they were, and 0.1 of what passes in training mode."""
    config, data = settings(network__norm="batch", method__outer_loop=2), make_data()
    method = distiller_of(config, images).method
    method.inputs(data, 0, 1)
    iteration = tf.constant(4, tf.int64)
    state = method.drawn_network(iteration)
    _, found = method.settled(state, iteration)
    some = [
        method._batches.images_of(k, 16, Purpose.STATISTICS_BATCH, iteration)
        for k in range(CLASSES)
    ]
    assert all(len(one) == 16 for one in some)
    network = Plain(config, SHAPE, CLASSES, 4)
    images = tf.cast(tf.concat(some, 0), tf.float32) / 255
    convolved = keras.ops.nn.conv(images, network.theta[0], padding="same")
    mean = np.mean(convolved + network.theta[1], axis=(0, 1, 2))
    np.testing.assert_allclose(found[0], 0.1 * mean, rtol=1e-4, atol=1e-6)


class TestTraining:
    """Of the network, on the synthetic set."""

    def test_an_epoch_has_each_image_once(self, images, monkeypatch):
        """With a rate so small that the order of the batches does not matter."""
        batch = {"method__network_batch": 3, "method__outer_loop": 2}
        config = settings(**{**batch, "network__norm": "none"})
        distiller = distiller_of(config, images)
        method = distiller.method
        method.settings = METHODS["dc"](network_learning_rate=1e-3, network_batch=3)
        before = method.drawn_network(tf.constant(0))
        orders = []
        step = method._step
        monkeypatch.setattr(
            method, "_step", lambda *values: orders.append(values[2]) or step(*values)
        )
        after, _ = method.trained(before, distiller.synthetic, 2, tf.constant(5))
        plain = Plain(config, SHAPE, CLASSES, 0)
        flat = images.reshape(-1, *SHAPE)
        expected = plain.gradient(flat, np.repeat(np.arange(CLASSES), IPC))
        for one, other, slope in zip(after, before[0], expected, strict=True):
            moved = (other - one).numpy() / 1e-3 / 4
            np.testing.assert_allclose(moved, slope, rtol=0.05, atol=3e-3)
        epochs = [np.concatenate(orders[:2]), np.concatenate(orders[2:])]
        for epoch in epochs:  # the same images, in another order
            sums = sorted(epoch.sum(axis=(1, 2, 3)))
            np.testing.assert_allclose(sums, sorted(flat.sum(axis=(1, 2, 3))))
        assert np.abs(epochs[0] - epochs[1]).max() > 0.1

    @pytest.mark.parametrize(("method", "varied"), [("dc", False), ("dsa", True)])
    def test_each_image_is_varied_its_own_way_by_dsa(self, method, varied, monkeypatch):
        shown = []
        monkeypatch.setattr(
            bilevel.dsa, "apply", lambda images, p: shown.append(p) or images
        )
        same = np.ones((CLASSES, IPC, *SHAPE), np.float32)
        config = settings(method, method__outer_loop=2)
        distiller = distiller_of(config, same)
        state = distiller.method.drawn_network(tf.constant(0))
        distiller.method.trained(state, distiller.synthetic, 8, tf.constant(0))
        assert len(shown) == (8 if varied else 0)
        operations = set()
        for parameters in shown:
            kinds = [
                np.abs(values - same_as).reshape(len(values), -1).max(axis=1) > 0
                for values, same_as in zip(
                    parameters, dsa.identity(CLASSES * IPC), strict=True
                )
            ]
            changed = np.flatnonzero([kind.any() for kind in kinds])
            operations.add(tuple(changed))
            if 0 in changed and len(changed) == 1:  # a warp
                assert len(np.unique(parameters.warp, axis=0)) > 1
        assert varied == (len(operations) > 1)
