"""DD and LD: their gradients against plain autodiff and formulas, and what they keep."""

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.config.settings import resolve
from dam_tf.data.preprocessing.preprocessing import fit_preprocessing
from dam_tf.data.sampling import ClassBatch
from dam_tf.methods import DD, LD, Task
from dam_tf.methods.dd import RATES
from tests.tiny_data import NAMES, make_data, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")

SHAPE, CLASSES = (8, 8, 1), len(NAMES)
RNG = np.random.default_rng(0)
REAL = ClassBatch(
    tf.range(CLASSES), tf.constant(RNG.integers(0, 256, (3, 7, *SHAPE)), tf.uint8)
)


def made(kind, network="convnet", norm=None, ipc=2, **settings):
    """A method as a run has it, its set, and preprocessing."""
    method = kind(**settings)
    config = tiny_config(
        method__name=method.settings.name,
        distillation__ipc=ipc,
        network__name=network,
        **{"network__norm": norm} if norm else {},
    )
    config = resolve(config, SHAPE)
    config = dataclass_with(config, method=method.settings)
    task = Task(config, SHAPE, NAMES)
    method.check(task)
    images = np.random.default_rng(1).standard_normal((CLASSES, ipc, *SHAPE))
    synthetic = method.start(task, images.astype(np.float32))
    preprocessing = fit_preprocessing("standardize", make_data().train.images)
    method.build(task, synthetic, preprocessing)
    return method, synthetic, preprocessing


def dataclass_with(config, **changes):
    import dataclasses

    return dataclasses.replace(config, **changes)


def real_loss(step, preprocessing, state):
    """The mean cross-entropy of all real images at once."""
    images = tf.cast(tf.reshape(REAL.images, [-1, *SHAPE]), tf.float32) / 255
    labels = np.repeat(np.arange(CLASSES), REAL.images.shape[1])
    weights, statistics = step.weights(state), step.statistics(state)
    outputs, _ = step.network.apply(
        weights, statistics, preprocessing(images), training=False
    )
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, outputs.logits)
    return tf.reduce_mean(losses)


def trained(step, state, images, labels, rate):
    """A step of SGD whose gradient stays on the tape around it."""
    weights, statistics = step.weights(state), step.statistics(state)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        outputs, statistics = step.network.apply(weights, statistics, images)
        powers = tf.exp(outputs.logits)
        shares = powers / tf.reduce_sum(powers, axis=1, keepdims=True)
        loss = -tf.reduce_sum(labels * tf.math.log(shares)) / len(labels)
    gradient = tape.gradient(loss, weights)
    moved = [w - rate * g for w, g in zip(weights, gradient, strict=True)]
    return [*moved, *statistics]


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize(
    "settings",
    [
        {"epochs": 2},
        {"epochs": 2, "per_step": 2, "networks": 2},
        {"start": "fixed", "epochs": 1, "step_size": 0.5},
    ],
)
def test_dd_is_the_derivative_of_all_its_steps(norm, settings):
    method, synthetic, preprocessing = made(DD, norm=norm, **settings)
    step, iteration = method._step, tf.constant(4, tf.int64)
    found, logs = method.gradients(synthetic, iter([REAL]), iteration)
    count, per_step = settings.get("networks", 1), settings.get("per_step", 1)
    stored, raw = (synthetic.variables_by_name[x].value for x in ("images", RATES))
    assert np.allclose(tf.nn.softplus(raw), settings.get("step_size", 0.02))
    by_class = tf.reshape(stored, [CLASSES, -1, per_step, *SHAPE])
    with tf.GradientTape() as tape:
        tape.watch([stored, raw])
        losses = []
        for number in range(count):
            seed = tensor_seed(0, Purpose.NETWORK, iteration, number)
            if settings.get("start") == "fixed":
                seed = tensor_seed(0, Purpose.FIXED_NETWORK)
            state = step.first(seed)
            for t, rate in enumerate(tf.unstack(tf.nn.softplus(raw))):
                by_class = tf.reshape(stored, [CLASSES, -1, per_step, *SHAPE])
                images = by_class[:, t % by_class.shape[1]]
                images = tf.reshape(images, [-1, *SHAPE])
                labels = np.repeat(np.eye(CLASSES, dtype=np.float32), per_step, 0)
                state = trained(step, state, images, labels, rate)
            losses.append(real_loss(step, preprocessing, state))
        loss = tf.add_n(losses) / count
    of_images, of_rates = tape.gradient(loss, [stored, raw])
    np.testing.assert_allclose(logs["loss"], loss, rtol=1e-5)
    scale = np.abs(of_images).max()
    np.testing.assert_allclose(found["images"], of_images, rtol=1e-3, atol=1e-4 * scale)
    np.testing.assert_allclose(found[RATES], of_rates, rtol=1e-3, atol=1e-6)
    assert np.abs(of_images).min(axis=(1, 2, 3)).all(), "each image is used"


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_ld_through_a_step(norm):
    method, synthetic, preprocessing = made(
        LD, norm=norm, variant="second_order", batch=4, step_size=0.5
    )
    iteration = tf.constant(4, tf.int64)
    found, logs = method.gradients(synthetic, iter([REAL]), iteration)
    labels, step = synthetic.labels(), method._step
    rows, images, _ = method._inner(synthetic, iteration)
    assert len(set(rows.numpy())) == 4
    with tf.GradientTape() as tape:
        tape.watch(labels)
        state = method._network.state()
        state = trained(step, state, images, tf.gather(labels, rows), 0.5)
        loss = real_loss(step, preprocessing, state)
    expected = tf.convert_to_tensor(tape.gradient(loss, labels))
    np.testing.assert_allclose(logs["loss"], loss, rtol=1e-5)
    scale = np.abs(expected).max()
    assert scale > 1e-5
    np.testing.assert_allclose(found["labels"], expected, rtol=1e-3, atol=1e-4 * scale)
    assert set(found) == {"labels"}
