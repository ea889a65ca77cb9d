"""What DANCE and NCFM share: pairs of a pool, calibration, the range of pixels."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf import networks
from dam_tf.augmentation import dsa
from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.config.settings import replace, resolve
from dam_tf.data.preprocessing.preprocessing import Preprocessing, fit_to_data
from dam_tf.data.sampling import ClassBatch
from dam_tf.methods.pool_matching import interpolated
from dam_tf.networks.trajectories import Experts
from dam_tf.runs.distiller import create_distiller
from dam_tf.synthetic.formation import decode
from tests.methods.pools import config_of
from tests.tiny_data import make_data

pytestmark = pytest.mark.usefixtures("eagerly")
BOTH = pytest.mark.parametrize("name", ["dance", "ncfm"])


@pytest.fixture(scope="module")
def preprocessing():
    return fit_to_data(config_of("dance", "").dataset, make_data())


def some_images(seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=[3, 2, 8, 8, 1]).astype(np.float32)


def some_pixels(classes, seed=2):
    rng = np.random.default_rng(seed)
    return tf.constant(rng.integers(0, 256, (len(classes), 4, 8, 8, 1)), tf.uint8)


def found_gradient(config, preprocessing, classes, iteration):
    """What the method says, for real images of `some_pixels`."""
    distiller = create_distiller(some_images(), config, preprocessing)
    method, synthetic = distiller.method, distiller.synthetic
    assert method.groups == 1
    batches = iter([ClassBatch(tf.constant(classes), some_pixels(classes))])
    found, logs = method.gradients(synthetic, batches, tf.constant(iteration, tf.int64))
    return tf.convert_to_tensor(found["images"]).numpy(), logs


def network_of(config, weights, statistics=()):
    config = resolve(config, (8, 8, 1))
    network = networks.create("convnet", (8, 8, 1), 3, config.network)
    for variable, value in zip(network.trainable_variables, weights, strict=True):
        variable.assign(value)
    own = network.non_trainable_variables
    for variable, value in zip(own, statistics or own, strict=True):
        variable.assign(value)
    embed = keras.Model(network.input, network.get_layer("logits").input)
    return network, embed


def expected_gradient(config, preprocessing, classes, iteration):
    """DANCE, of Keras' own model and whole batches, class by class."""
    experts = Experts(config.method.pool)
    row = tf.random.stateless_uniform(
        [], tensor_seed(0, Purpose.POOL_PAIR, iteration), 0, len(experts), tf.int32
    )
    share = tf.random.stateless_uniform(
        [], tensor_seed(0, Purpose.POOL_SHARE, iteration)
    )
    before, _ = experts.network(int(row), 0)
    after, statistics = experts.network(int(row), experts.epochs)
    mixed = [share * b + (1 - share) * a for b, a in zip(before, after, strict=True)]
    _, embed = network_of(config, mixed)
    trained, _ = network_of(config, after, statistics)
    purposes = Purpose.AUGMENTATION, Purpose.CALIBRATION_AUGMENTATION
    rows = [
        dsa.draw_together(
            tensor_seed(0, purpose, iteration),
            len(classes),
            (8, 8),
            config.augmentation,
        )
        for purpose in purposes
    ]
    stored = tf.Variable(some_images())
    with tf.GradientTape() as tape:
        losses = {"matching": [], "calibration": []}
        real, synthetic = [], []
        for place, label in enumerate(classes):
            images = decode(stored[int(label)], config.distillation.formation)
            many = tf.fill([len(images)], place)
            pixels = tf.cast(some_pixels(classes)[place], tf.float32) / 255
            seen = preprocessing(pixels)
            real.append(dsa.apply(seen, dsa.take(rows[0], tf.fill([4], place))))
            synthetic.append(dsa.apply(images, dsa.take(rows[0], many)))
            varied = dsa.apply(images, dsa.take(rows[1], many))
            logits = trained(varied, training=False)
            right = tf.nn.log_softmax(logits)[:, int(label)]
            losses["calibration"].append(-tf.reduce_mean(right))
        # In training mode batch norm takes the statistics of all classes together.
        sides = [embed(tf.concat(side, 0), training=True) for side in (real, synthetic)]
        for one, other in zip(
            *(tf.split(side, len(classes)) for side in sides), strict=True
        ):
            gap = tf.reduce_mean(one, 0) - tf.reduce_mean(other, 0)
            losses["matching"].append(tf.reduce_sum(gap * gap))
        sums = {name: tf.add_n(values) for name, values in losses.items()}
        loss = sums["matching"] + config.method.calibration * sums["calibration"]
    gradient = tape.gradient(loss, stored)
    return np.reshape(gradient, [-1, 8, 8, 1]), {"loss": loss, **sums}


@pytest.mark.parametrize(
    ("changes", "classes"),
    [
        ({}, [0, 1, 2]),
        ({"distillation__formation": "factor:2"}, [0, 1, 2]),
        ({"distillation__classes_per_step": 2, "method__calibration": 0.3}, [0, 2]),
        ({"network__norm": "batch"}, [0, 1, 2]),
    ],
)
def test_an_iteration_of_dance_is_the_formula(changes, classes, pool, preprocessing):
    folder = pool(changes.get("network__norm"))
    config = config_of("dance", folder, method__clamp="off", **changes)
    config = resolve(config, (8, 8, 1))
    for iteration in (0, 5):
        arguments = config, preprocessing, classes, iteration
        found, logs = found_gradient(*arguments)
        expected, losses = expected_gradient(*arguments)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
        assert np.abs(expected).max() > 1e-3
        for name, value in losses.items():
            np.testing.assert_allclose(logs[name], value, rtol=1e-4)


def test_a_share_of_1_is_the_first_network_and_0_the_trained_one(pool):
    experts = Experts(pool())
    before, after = (experts.network(1, epoch)[0] for epoch in (0, experts.epochs))
    for share, expected in ((1.0, before), (0.0, after)):
        found = interpolated(before, after, tf.constant(share))
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)
    assert any(np.any(a != b) for a, b in zip(before, after, strict=True))


@BOTH
def test_pairs_shares_and_augmentation_are_drawn_anew(name, pool, preprocessing):
    """Each iteration has another loss, and the same one the same."""
    config = resolve(config_of(name, pool()), (8, 8, 1))
    losses = [
        float(found_gradient(config, preprocessing, [0, 1, 2], iteration)[1]["loss"])
        for iteration in (0, 1, 2, 3, 0)
    ]
    assert len(set(losses)) == 4 and losses[0] == losses[-1]


@BOTH
def test_without_calibration_only_features_count(name, pool, preprocessing):
    config = resolve(config_of(name, pool(), method__calibration=0.0), (8, 8, 1))
    arguments = config, preprocessing, [0, 1, 2], 4
    alone, logs = found_gradient(*arguments)
    assert logs["loss"] == logs["matching"] and logs["calibration"] == 0
    config = replace(config, method__calibration=2.0)
    both, logs = found_gradient(config, *arguments[1:])
    expected = logs["matching"] + 2 * logs["calibration"]
    np.testing.assert_allclose(logs["loss"], expected, rtol=1e-6)
    assert np.abs(both - alone).max() > 1e-4


@BOTH
@pytest.mark.parametrize("clamp", ["on", "off"])
def test_images_stay_within_the_range_of_pixels(name, clamp, pool, preprocessing):
    """From the first on, and so do their averages."""
    config = config_of(name, pool(), method__clamp=clamp, distillation__ema_decay=0.5)
    config = replace(config, distillation__learning_rate=100.0)
    distiller = create_distiller(some_images(), config, preprocessing)
    batch = ClassBatch(tf.constant([0, 1, 2]), some_pixels([0, 1, 2]))
    for _ in range(3):
        stored = distiller.synthetic.stored
        for values in (stored, distiller.averages["images"]):
            pixels = preprocessing.inverse(values).numpy()
            assert (np.abs(pixels - 0.5).max() < 0.50001) == (clamp == "on")
        before = stored.numpy()
        distiller.train_step(iter([batch]))
        assert np.abs(stored.numpy() - before).max() > 0.1


def test_what_lies_within_the_range_is_left_alone(pool):
    """To the last bit, and of whitened images, too, what can be."""
    config = config_of("dance", pool())
    preprocessing = Preprocessing("standardize")
    preprocessing.adapt(make_data().train.images)
    method = create_distiller(some_images(), config, preprocessing).method
    images = preprocessing(tf.constant(np.random.default_rng(3).random([4, 8, 8, 1])))
    np.testing.assert_array_equal(method._within_pixels(images), images)
    pushed = images + np.float32(9) * np.eye(8, dtype=np.float32)[..., None]
    found = preprocessing.inverse(method._within_pixels(pushed)).numpy()
    expected = np.clip(preprocessing.inverse(pushed), 0, 1)
    np.testing.assert_allclose(found, expected, atol=1e-5)
