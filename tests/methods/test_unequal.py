"""Classes of different numbers of images, in every method that works class by class.

Its gradient is that of an equal set, class by class; the losses of DataDAM and DM are
written out in NumPy; and where classes are bound together, finite differences tell.
"""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf.augmentation import dsa
from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.data.preprocessing.preprocessing import fit_to_data
from dam_tf.data.sampling import ClassBatch
from dam_tf.runs.distiller import create_distiller
from tests.methods.pools import config_of as pool_config
from tests.tiny_data import make_data, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")

COUNTS, CLASSES = (3, 1, 2), 3
INDEPENDENT = ("datadam", "dm", "feature_map", "pixel_mmd", "dc", "dance", "ncfm")
QUICK = {("datadam", "raw"), ("dm", "factor:2")}


@pytest.fixture
def images(rng):
    """Three of each class, of which a set takes the first."""
    return rng.standard_normal((CLASSES, 3, 8, 8, 1)).astype(np.float32)


@pytest.fixture
def real(rng):
    return rng.integers(0, 256, (CLASSES, 4, 8, 8, 1)).astype(np.uint8)


def some_of(images, counts=COUNTS):
    return [one[:count] for one, count in zip(images, counts, strict=True)]


def found_gradient(config, images, real):
    """The gradient by class, the losses, and the method."""
    layer = keras.layers.Identity()
    if config.method.name in ("dance", "ncfm"):  # which keep within pixels
        layer = fit_to_data(config.dataset, make_data())
    distiller = create_distiller(images, config, layer)
    method, size = distiller.method, distiller.method.classes_per_group
    batches = iter(
        ClassBatch(tf.range(k, k + size), tf.constant(real[k : k + size]))
        for k in range(0, CLASSES, size)
    )
    gradients, losses = method.gradients(
        distiller.synthetic, batches, tf.constant(0, tf.int64)
    )
    whole = tf.convert_to_tensor(gradients["images"]).numpy()
    by_class = np.split(whole, np.cumsum([len(one) for one in images])[:-1])
    return by_class, {k: float(v) for k, v in losses.items()}, method


def config_of(name, pool=None, **changes):
    if name in ("dance", "ncfm"):
        return pool_config(name, pool(), **changes)
    if name in ("dm", "pixel_mmd"):
        changes = {"method__kernel": "rbf", **changes}
    return tiny_config(method__name=name, **changes)


@pytest.mark.parametrize(
    ("name", "formation"),
    [
        pytest.param(*case, marks=[pytest.mark.slow] * (case not in QUICK))
        for case in itertools.product(INDEPENDENT, ("raw", "factor:2"))
    ],
)
def test_each_class_has_the_gradient_of_an_equal_set(
    name, formation, images, real, pool
):
    changes = {"distillation__formation": formation}
    config = config_of(name, pool, **changes)
    found, losses, method = found_gradient(config, some_of(images), real)
    assert method.groups == CLASSES and np.isfinite(losses["loss"])
    for k, count in enumerate(COUNTS):
        equal, _, _ = found_gradient(config, images[:, :count], real)
        scale = np.abs(equal[k]).max()
        np.testing.assert_allclose(found[k], equal[k], rtol=1e-3, atol=1e-4 * scale)


def attention(maps, power):
    vectors = (np.abs(maps) ** power).sum(-1).reshape(len(maps), -1)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def by_formula(name, features, real_features):
    """DataDAM's and DM's loss, equations 2 to 4, of features in float64."""
    loss, real_rows = 0.0, np.repeat(np.arange(CLASSES), 4)
    rows = np.repeat(np.arange(CLASSES), COUNTS)
    for k in range(CLASSES):
        own, other = rows == k, real_rows == k
        gap = real_features[1][other].mean(0) - features[1][own].mean(0)
        if name == "dm":
            loss += (gap**2).sum()
            continue
        loss += 100 * 0.01 * (gap**2).sum()
        maps = zip(real_features[0][:-1], features[0][:-1], strict=True)
        for theirs, ours in maps:
            sam = attention(theirs[other], 4).mean(0) - attention(ours[own], 4).mean(0)
            loss += 100 * (sam**2).sum()
    return loss


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("name", ["datadam", "dm"])
def test_losses_by_numpy(name, norm, images, real):
    """Under batch norm the statistics are those of all images, each counted once."""
    config = tiny_config(
        method__name=name,
        network__norm=norm,
        network__depth=2,
        augmentation__operations=(),
    )
    some = some_of(images)
    _, losses, method = found_gradient(config, some, real)
    (network,) = (one.network for one in method._gradients.values())
    theta = network.init(tensor_seed(0, Purpose.NETWORK, 0))

    def features(images):
        outputs, _ = network.apply(theta, network.statistics, images, training=True)
        taps = [np.float64(tap) for tap in outputs.taps]
        return taps, np.float64(outputs.embedding)

    of_real = features(tf.constant(real.reshape(-1, 8, 8, 1), tf.float32) / 255)
    expected = by_formula(name, features(np.concatenate(some)), of_real)
    assert losses["loss"] == pytest.approx(expected, rel=1e-4)
    assert method.groups == (1 if norm == "batch" else CLASSES)


@pytest.mark.parametrize(("name", "norm"), [("cafe", "instance"), ("datadam", "batch")])
def test_the_gradient_is_the_slope_of_the_loss(name, norm, images, real, rng):
    """Where what one class has changes what another is compared with."""
    smooth = {"network__activation": "swish", "augmentation__operations": ()}
    if name == "cafe":  # so that what binds the classes weighs most
        smooth["method__discrimination"] = 1.0
    config = tiny_config(method__name=name, network__norm=norm, **smooth)
    some = some_of(images)
    found, _, _ = found_gradient(config, some, real)
    way = [rng.standard_normal(one.shape).astype(np.float32) for one in some]
    ends = [
        found_gradient(
            config,
            [one + step * d for one, d in zip(some, way, strict=True)],
            real,
        )[1]["loss"]
        for step in (0.01, -0.01)
    ]
    slope = sum((g * d).sum() for g, d in zip(found, way, strict=True))
    assert slope == pytest.approx((ends[0] - ends[1]) / 0.02, rel=0.02)


def test_calibration_of_all_classes_at_once_is_their_sum(images, real, pool):
    """As under batch norm, where all images come together."""
    config = pool_config("dance", pool())
    some = some_of(images)
    _, _, method = found_gradient(config, some, real)
    drawn = method._pairs.draw_network(tf.constant([0, 1]))
    count = len(method._network.weight_names)
    parameters = method._augmentation_for(0, tf.constant(0))
    weights, statistics = drawn[count : 2 * count], drawn[2 * count :]

    def of(stored, classes):
        rows = dsa.take(parameters, classes)
        return method._calibration(stored, classes, rows, weights, statistics)

    together, loss = of(tf.constant(np.concatenate(some)), tf.range(CLASSES))
    apart = [of(tf.constant(one[None]), tf.constant([k])) for k, one in enumerate(some)]
    assert float(loss) == pytest.approx(sum(float(one) for _, one in apart), rel=1e-5)
    np.testing.assert_allclose(
        together, np.concatenate([one[0] for one, _ in apart]), atol=1e-6
    )
