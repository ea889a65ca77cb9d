"""FRePo against its formulas, and the pool of networks that it regresses through."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.data.sampling import ClassBatch
from dam_tf.methods import chunks
from dam_tf.runs.distiller import create_distiller
from tests.methods.kernels import centred
from tests.tiny_data import tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")

CLASSES, IPC, BATCH, SIDE = 3, 2, 5, 4
OWNERS, LABELS = (np.repeat(np.arange(CLASSES), count) for count in (IPC, BATCH))
SMALL = {"width": 4, "depth": 2, "networks": 3}


@pytest.fixture
def real(rng):
    return rng.integers(0, 256, (CLASSES, BATCH, SIDE, SIDE, 3)).astype(np.uint8)


def made(rng, channels=3, **settings):
    values = {f"method__{k}": v for k, v in {**SMALL, **settings}.items()}
    config = tiny_config(method__name="frepo", distillation__batch_real=BATCH, **values)
    images = rng.standard_normal((CLASSES, IPC, SIDE, SIDE, channels))
    images = images.astype(np.float32)
    return create_distiller(images, config, keras.layers.Identity())


def gradients_of(distiller, real, iteration=0):
    batch = ClassBatch(tf.range(CLASSES), tf.constant(real))
    gradients, logs = distiller.method.gradients(
        distiller.synthetic, iter([batch]), tf.constant(iteration, tf.int64)
    )
    return {n: g.numpy() for n, g in gradients.items()}, logs


def plain_loss(method, state, images, targets, real, flip):
    """Error and margin in one piece: nothing in chunks, all of it differentiated."""
    weights, statistics = state

    def features(some):
        found, _ = method._network.apply(weights, statistics, some, training=False)
        return tf.cast(found.embedding, tf.float64)

    labels = tf.cast(targets, tf.float64)
    if flip:
        images = tf.concat([images, images[:, :, ::-1]], axis=0)
        labels = tf.concat([labels, labels], axis=0)
    support = features(images)
    kernel = support @ tf.transpose(support)
    ridge = 1e-6 * tf.linalg.trace(kernel) / len(images)
    kernel += ridge * tf.eye(len(images), dtype=tf.float64)
    pixels = tf.reshape(tf.cast(real, tf.float32), [-1, *real.shape[2:]]) / 255
    answers = features(pixels) @ tf.transpose(support) @ tf.linalg.solve(kernel, labels)
    gaps = answers - centred(LABELS, CLASSES)
    error = tf.reduce_mean(tf.reduce_sum(gaps**2, axis=1)) / 2
    ordered = tf.sort(tf.cast(targets, tf.float64), axis=1)
    margin = -tf.reduce_mean(
        tf.minimum(ordered[:, -1] - ordered[:, -2], tf.constant(1 / 3, tf.float64))
    )
    return error, margin


@pytest.mark.parametrize("flip", ["on", "off"])
def test_loss_and_gradients_are_those_of_the_plain_formula(
    rng, real, flip, monkeypatch
):
    monkeypatch.setattr(chunks, "PIXELS_AT_ONCE", 4 * SIDE * SIDE)
    distiller = made(rng, flip=flip)
    method, synthetic = distiller.method, distiller.synthetic
    expected = centred(OWNERS, CLASSES) / np.sqrt(CLASSES / 10)
    np.testing.assert_allclose(synthetic.targets(), expected, rtol=1e-6)
    # Labels whose margins are below and above 1 / classes.
    labels = synthetic.variables_by_name["labels"]
    labels.assign(0.3 * rng.standard_normal(labels.shape))

    images, targets = synthetic.images(), synthetic.targets()
    state = method._pool.state(method._pool.slot(tf.constant(5)))
    with tf.GradientTape() as tape:
        tape.watch([images, targets])
        error, margin = plain_loss(method, state, images, targets, real, flip == "on")
        loss = error + margin
    gradients, logs = gradients_of(distiller, real, iteration=5)
    found = [logs[name] for name in ("error", "margin", "loss")]
    np.testing.assert_allclose(found, [error, margin, loss], rtol=1e-4)
    expected = tape.gradient(loss, [images, targets])
    for name, one in zip(("images", "labels"), expected, strict=True):
        scale = np.abs(one).max()
        np.testing.assert_allclose(gradients[name], one, atol=1e-4 * scale)


def test_the_slope_of_labels_is_that_of_numpy(rng, real):
    """With features as given, by differences of the formula in NumPy's float64."""
    distiller = made(rng, flip="off")
    method, synthetic = distiller.method, distiller.synthetic
    state = method._pool.state(method._pool.slot(tf.constant(0)))
    pixels = real.reshape(-1, *real.shape[2:]) / np.float32(255)
    support, others = (
        method._embed(state, some).numpy().astype(np.float64)
        for some in (synthetic.images(), pixels)
    )
    kernel = support @ support.T
    kernel += 1e-6 * np.trace(kernel) / len(kernel) * np.eye(len(kernel))

    def loss(targets):
        answers = others @ support.T @ np.linalg.solve(kernel, targets)
        error = ((answers - centred(LABELS, CLASSES)) ** 2).sum(axis=1).mean() / 2
        ordered = np.sort(targets, axis=1)
        return error - np.minimum(ordered[:, -1] - ordered[:, -2], 1 / 3).mean()

    labels = synthetic.variables_by_name["labels"]
    labels.assign(0.2 * rng.standard_normal(labels.shape))
    targets = synthetic.targets().numpy().astype(np.float64)
    gradients, logs = gradients_of(distiller, real)
    assert float(logs["loss"]) == pytest.approx(loss(targets), rel=1e-4)
    for place in [(0, 0), (3, 2), (5, 1)]:
        step = np.zeros_like(targets)
        step[place] = 1e-6
        slope = (loss(targets + step) - loss(targets - step)) / 2e-6
        assert gradients["labels"][place] == pytest.approx(slope, rel=1e-3, abs=1e-5)


def test_a_regression_answers_its_own_images_rightly(rng, real):
    distiller = made(rng, labels="fixed", width=64)
    flat = real.reshape(-1, *real.shape[2:]) / np.float32(255)
    distiller.synthetic.stored.assign(flat[np.arange(0, 15, BATCH)].repeat(IPC, axis=0))
    own = real[:, :1].repeat(BATCH, axis=1)
    gradients, logs = gradients_of(distiller, own)
    scale = np.sqrt(10 / CLASSES)  # of the labels, which targets do not have
    expected = (scale - 1) ** 2 * (centred([0], CLASSES) ** 2).sum() / 2
    assert float(logs["loss"]) == pytest.approx(expected, rel=1e-3)
    assert set(gradients) == {"images"} and float(logs["margin"]) == 0


@pytest.mark.parametrize(
    ("channels", "flip", "expected"),
    [(3, None, True), (1, None, False), (1, "on", True), (3, "off", False)],
)
def test_colour_images_are_mirrored_unless_something_else_is_said(
    rng, channels, flip, expected
):
    assert made(rng, channels, flip=flip).method._flip == expected


class TestOptimizer:
    def test_it_moves_by_a_share_of_the_norm(self, rng, real):
        """The first step of LAMB is as long as its rate times what it moves."""
        distiller = made(rng)
        before = distiller.synthetic.images(), distiller.synthetic.targets()
        gradients, _ = gradients_of(distiller, real)
        distiller._apply(gradients)
        after = distiller.synthetic.images(), distiller.synthetic.targets()
        for one, other in zip(before, after, strict=True):
            length = np.linalg.norm(one - other) / np.linalg.norm(one)
            assert length == pytest.approx(3e-4, rel=1e-3)

    def test_its_rate_falls_to_a_tenth_along_a_cosine(self, rng):
        optimizer = made(rng, decay_over=10).optimizers["labels"]
        rates = []
        for iteration in (0, 5, 10, 20):
            optimizer.iterations.assign(iteration)
            rates.append(float(optimizer.learning_rate))
        np.testing.assert_allclose(rates, 3e-4 * np.array([1, 0.55, 0.1, 0.1]))


class TestPool:
    def test_ages_are_spread_and_networks_differ(self, rng):
        pool = made(rng, networks=10).method._pool
        assert pool.variables["ages"].numpy().tolist() == list(range(0, 100, 10))
        kernels = pool.variables["network/conv_1/kernel"].numpy()
        assert len(np.unique(kernels[:, 0, 0, 0, 0])) == 10

    def test_every_network_ages_alone_and_is_drawn_anew(self, rng):
        """For twenty iterations against the same bookkeeping in Python."""
        distiller = made(rng, networks=2, max_age=3)
        method, synthetic = distiller.method, distiller.synthetic
        pool = method._pool
        ages, steps, slots = [0, 1], [0, 0], []
        drawn = list(pool.variables["network/conv_2/kernel"].numpy())
        for iteration in map(tf.constant, range(20)):
            slot = int(pool.slot(iteration))
            slots.append(slot)
            before = [v.numpy() for v in pool.variables.values()]
            method.update(synthetic, None, iteration)
            after = [v.numpy() for v in pool.variables.values()]
            if ages[slot] > 3:
                ages[slot], steps[slot] = 0, 0
                for name, value in zip(pool.variables, after, strict=True):
                    if name.startswith(("mean/", "square/")):
                        assert not value[slot].any()
                    if name == "network/conv_2/kernel":
                        bound = 1 / np.sqrt(9 * 4)
                        assert 0.9 * bound < np.abs(value[slot]).max() <= bound
                        drawn.append(value[slot])
            else:
                ages[slot], steps[slot] = ages[slot] + 1, steps[slot] + 1
            assert pool.variables["ages"].numpy().tolist() == ages
            assert pool.variables["steps"].numpy().tolist() == steps
            other = 1 - slot
            for one, two in zip(before, after, strict=True):
                np.testing.assert_array_equal(one[other], two[other])
        assert len(drawn) >= 4 and 4 < sum(slots) < 16
        assert len({values.tobytes() for values in drawn}) == len(drawn), "all fresh"

    def test_a_network_is_never_drawn_twice(self, rng):
        pool = made(rng, networks=2).method._pool
        found = [pool._fresh(number)[0][0].numpy() for number in range(5)]
        assert len({values.tobytes() for values in found}) == 5

    def test_a_step_is_one_of_adam_down_the_squared_error(self, rng):
        """Whose first step is the rate times the sign of the gradient."""
        distiller = made(rng, network_learning_rate=1e-2, norm="none")
        method, synthetic = distiller.method, distiller.synthetic
        slot = method._pool.slot(tf.constant(0))
        weights, statistics = method._pool.state(slot)
        with tf.GradientTape() as tape:
            tape.watch(weights)
            outputs, _ = method._network.apply(weights, statistics, synthetic.images())
            gaps = outputs.logits - synthetic.targets()
            loss = tf.reduce_sum(gaps**2) / (2 * CLASSES * IPC)
        gradients = tape.gradient(loss, weights)
        method.update(synthetic, None, tf.constant(0))
        after, _ = method._pool.state(slot)
        for one, other, slope in zip(weights, after, gradients, strict=True):
            clear = np.abs(slope) > 1e-5
            assert clear.any()
            moved = (other - one).numpy()[clear]
            np.testing.assert_allclose(moved, -1e-2 * np.sign(slope)[clear], rtol=1e-2)

    def test_statistics_of_batch_norm_follow_its_images(self, rng):
        """Nine tenths of a batch's, as FRePo has it."""
        distiller = made(rng)
        method, synthetic = distiller.method, distiller.synthetic
        slot = method._pool.slot(tf.constant(0))
        weights, statistics = method._pool.state(slot)
        outputs, _ = method._network.apply(weights, statistics, synthetic.images())
        pooled = tf.nn.avg_pool2d(outputs.taps[0], 2, 2, "VALID").numpy()
        method.update(synthetic, None, tf.constant(0))
        mean, variance = method._pool.state(slot)[1]
        np.testing.assert_allclose(mean, 0.9 * pooled.mean(axis=(0, 1, 2)), rtol=1e-4)
        expected = 0.1 + 0.9 * pooled.var(axis=(0, 1, 2))
        np.testing.assert_allclose(variance, expected, rtol=1e-3)

    def test_of_many_images_a_step_sees_some(self, rng, monkeypatch):
        method = (distiller := made(rng, network_batch=4)).method
        seen = []
        monkeypatch.setattr(
            method._pool, "train_or_replace", lambda *given: seen.append(given[2:])
        )
        for iteration in range(3):
            method.update(distiller.synthetic, None, tf.constant(iteration))
        everything = distiller.synthetic.images().numpy()
        rows = []
        for images, targets in seen:
            same = (everything == images.numpy()[:, None]).all(axis=(2, 3, 4))
            places = [np.flatnonzero(flags) for flags in same]
            rows.append(np.concatenate(places))
            expected = distiller.synthetic.targets().numpy()[rows[-1]]
            np.testing.assert_array_equal(targets, expected)
        assert all(len(set(some)) == 4 for some in rows)
        assert len({tuple(some) for some in rows}) == 3


def test_it_regresses_on_the_network_of_the_run_if_asked(rng):
    method = made(rng, features="network").method
    assert "norm_1/gamma" in method._network.weight_names
    assert method._network.weight_names[0] == "conv_1/kernel"
    assert method._pool.variables["network/conv_1/kernel"].shape == (3, 3, 3, 3, 8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method__depth": 3}, "frepo of 3 blocks is too deep for images of 4x4"),
        ({"distillation__precision": "bfloat16"}, "'bfloat16' is not for .*'frepo'"),
        ({"method__width": 10**7}, r"--set=method\.width \(at most \d+ fits\)"),
    ],
)
def test_what_it_cannot_do_is_refused(settings, message):
    values = {"method__depth": 2, **settings}
    config = tiny_config(method__name="frepo", **values)
    images = np.zeros([CLASSES, IPC, SIDE, SIDE, 3], np.float32)
    with pytest.raises(UserError, match=message):
        create_distiller(images, config, keras.layers.Identity())
