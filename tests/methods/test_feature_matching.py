"""Objectives against NumPy, and their losses and gradients against PyTorch."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.augmentation import dsa
from dam_tf.base.errors import UserError
from dam_tf.config import methods as settings_of
from dam_tf.config.settings import default_learning_rate, make_config, resolve
from dam_tf.methods.group_gradient import GroupGradient
from dam_tf.methods.method import Task
from dam_tf.methods.registry import METHODS, create
from dam_tf.synthetic.synthetic_set import SyntheticSet
from tests.tiny_data import made_method

RECORDED = np.load(pathlib.Path(__file__).parents[1] / "fixtures" / "matching.npz")
RECORDED_CASES = sorted({key.split("/")[1] for key in RECORDED if "/sam" in key})

CLASSES, REAL, SYNTHETIC = 3, 5, 2
SHAPES = [(8, 8, 4), (4, 4, 6), (2, 2, 5)]


def some_features(per_class, seed):
    """Returns taps and embedding of `CLASSES * per_class` images, classes in order."""
    generator = np.random.default_rng(seed)
    count = CLASSES * per_class
    taps = [np.maximum(generator.normal(size=(count, *s)), 0) for s in SHAPES]
    embedding = generator.normal(size=(count, 12))
    images = generator.normal(size=(count, 8, 8, 3))
    return {
        "taps": [tf.constant(tap, tf.float32) for tap in taps],
        "embedding": tf.constant(embedding, tf.float32),
        "images": tf.constant(images, tf.float32),
    }


def losses(objective, real, synthetic, means=False):
    def by_class(vectors):
        return [tf.reshape(v, [CLASSES, -1, v.shape[-1]]) for v in vectors]

    real = by_class(objective.vectors(real))
    if means:
        real = [tf.reduce_mean(vectors, axis=1, keepdims=True) for vectors in real]
    return objective.losses(real, by_class(objective.vectors(synthetic)))


def class_means(vectors):
    """Of NumPy vectors, one an image, classes in order."""
    vectors = np.asarray(vectors, np.float64)
    return vectors.reshape(CLASSES, -1, vectors.shape[-1]).mean(axis=1)


def attention(tap, power, normalization):
    maps = (np.abs(np.asarray(tap, np.float64)) ** power).sum(-1).reshape(len(tap), -1)
    if normalization == "none":
        return maps
    order = {"l1": 1, "l2": 2}[normalization]
    return maps / np.linalg.norm(maps, order, axis=1, keepdims=True)


def gap(real, synthetic, loss):
    if loss == "mse":
        return ((real - synthetic) ** 2).sum()
    if loss == "mae":
        return np.abs(real - synthetic).sum()
    norms = np.linalg.norm(real, axis=1) * np.linalg.norm(synthetic, axis=1)
    return (1 - (real * synthetic).sum(axis=1) / norms).sum()


@pytest.fixture
def real():
    return some_features(REAL, 1)


@pytest.fixture
def synthetic():
    return some_features(SYNTHETIC, 2)


class TestDataDAM:
    @pytest.mark.parametrize("loss", ["mse", "mae", "cosine"])
    @pytest.mark.parametrize(
        ("power", "normalization"), [(4.0, "l2"), (1.0, "l2"), (2.0, "l1"), (1, "none")]
    )
    @pytest.mark.parametrize("layers", [None, (3,), (1, 3)])
    def test_equals_numpy(self, real, synthetic, loss, power, normalization, layers):
        method = made_method(
            loss=loss, power=power, normalization=normalization, layers=layers
        )
        found = losses(method, real, synthetic)
        sam = 0
        for layer in layers or (1, 2):
            means = [
                class_means(attention(f["taps"][layer - 1], power, normalization))
                for f in (real, synthetic)
            ]
            sam += gap(*means, loss)
        mmd = gap(*(class_means(f["embedding"]) for f in (real, synthetic)), "mse")
        np.testing.assert_allclose(found["sam"], sam, rtol=1e-4)
        np.testing.assert_allclose(found["mmd"], mmd, rtol=1e-4)
        expected = 100 * (sam + 0.01 * mmd)
        np.testing.assert_allclose(found["loss"], expected, rtol=1e-4)

    @pytest.mark.parametrize(
        ("task_balance", "image_size", "expected"),
        [
            (None, 28, 0.01),
            (None, 32, 0.01),
            (None, 33, 0.02),
            (None, 64, 0.02),
            (0.5, 32, 0.5),
            (0.5, 64, 0.5),
            (0.0, 32, 0.0),
        ],
    )
    def test_task_balance(self, real, synthetic, task_balance, image_size, expected):
        method = made_method(size=image_size, task_balance=task_balance, scale=7.0)
        found = losses(method, real, synthetic)
        sam, mmd = float(found["sam"]), float(found["mmd"])
        assert float(found["loss"]) == pytest.approx(7 * (sam + expected * mmd))
        assert mmd > 0

    @pytest.mark.parametrize(
        ("blocks", "layers"), [(1, (1,)), (2, (1,)), (3, (1, 2)), (5, (1, 2, 3, 4))]
    )
    def test_default_layers_are_all_but_the_last(self, blocks, layers):
        assert made_method(blocks=blocks).layers == layers

    @pytest.mark.parametrize("layers", [(0,), (4,), (1, 4), (-1,)])
    def test_layers_out_of_range(self, layers):
        with pytest.raises(
            UserError, match=rf"block {layers[-1]}, but the network has blocks 1 to 3"
        ):
            made_method(layers=layers)

    @pytest.mark.parametrize(("image_size", "balance"), [(32, 0.01), (64, 0.02)])
    def test_no_layers_leave_lambda_times_mmd(
        self, real, synthetic, image_size, balance
    ):
        """Table 5, MMD alone; up to 32x32, where 100 * 0.01 = 1, this is DM."""
        objective = made_method(size=image_size, layers=())
        found = losses(objective, real, synthetic, means=True)
        mmd = gap(*(class_means(f["embedding"]) for f in (real, synthetic)), "mse")
        assert found["sam"] == 0
        np.testing.assert_allclose(found["loss"], 100 * balance * mmd, rtol=1e-4)
        dm = made_method("dm")
        share = found["loss"] / losses(dm, real, synthetic)["loss"]
        np.testing.assert_allclose(share, 100 * balance, rtol=1e-5)

    def test_without_mmd_its_gradient_is_gone(self, real, synthetic):
        """Table 5, SAM alone: lambda 0, the embedding takes no part."""
        objective = made_method(task_balance=0.0)
        with tf.GradientTape() as tape:
            tape.watch(synthetic)
            loss = losses(objective, real, synthetic)["loss"]
        gradient = tape.gradient(loss, synthetic)
        assert not np.any(gradient["embedding"])
        assert np.any(gradient["taps"][0]) and np.any(gradient["taps"][1])

    @pytest.mark.parametrize("case", RECORDED_CASES)
    def test_equals_pytorch(self, case):
        power, normalization, loss = case.split("_")
        objective = made_method(
            power=float(power),
            normalization=normalization,
            loss=loss,
            layers=(1, 2),
            task_balance=1.0,
            scale=1.0,
        )
        names = ("tap_1", "tap_2", "embedding")

        def features(kind):
            arrays = [RECORDED[f"loss/{kind}/{name}"] for name in names]
            # [classes, n, c, h, w] to [classes * n, h, w, c].
            return [
                tf.constant(
                    np.moveaxis(a, 2, -1).reshape(-1, *np.moveaxis(a, 2, -1).shape[2:]),
                    tf.float32,
                )
                for a in arrays
            ]

        def by_class(arrays):
            *taps, embedding = arrays
            vectors = objective.vectors({"taps": taps, "embedding": embedding})
            return [tf.reshape(v, [2, -1, v.shape[-1]]) for v in vectors]

        real, synthetic = features("real"), features("synthetic")
        with tf.GradientTape() as tape:
            tape.watch(synthetic)
            found = objective.losses(by_class(real), by_class(synthetic))
        for name in ("sam", "mmd"):
            expected = RECORDED[f"loss/{case}/{name}"]
            np.testing.assert_allclose(found[name], expected, rtol=1e-4)
        gradients = tape.gradient(found["loss"], synthetic)
        for name, gradient in zip(names, gradients, strict=True):
            expected = np.moveaxis(RECORDED[f"loss/{case}/gradient/{name}"], 2, -1)
            np.testing.assert_allclose(
                gradient, expected.reshape(gradient.shape), rtol=1e-4, atol=1e-5
            )

    def test_cosine_of_maps_with_small_norms(self):
        """As those of many positions that sum to one."""
        generator = np.random.default_rng(0)
        real, synthetic = (
            {
                "taps": [
                    tf.constant(generator.random((CLASSES, 64, 64, 1)), tf.float32)
                ],
                "embedding": tf.zeros([CLASSES, 2]),
            }
            for _ in range(2)
        )
        method = made_method(blocks=1, loss="cosine", power=1.0, normalization="l1")
        found = losses(method, real, synthetic)
        means = (
            class_means(attention(f["taps"][0], 1, "l1")) for f in (real, synthetic)
        )
        np.testing.assert_allclose(found["sam"], gap(*means, "cosine"), rtol=1e-4)

    @pytest.mark.parametrize("loss", ["mse", "mae", "cosine"])
    def test_dead_features_stay_finite(self, real, loss):
        """As when a random network maps every image of a class to zero."""
        objective = made_method(loss=loss)
        dead = [tf.zeros_like(tap[: CLASSES * SYNTHETIC]) for tap in real["taps"]]
        embedding = tf.zeros([CLASSES * SYNTHETIC, 12])
        with tf.GradientTape() as tape:
            tape.watch(dead)
            features = {"taps": dead, "embedding": embedding}
            value = losses(objective, real, features)["loss"]
        assert np.isfinite(value)
        for gradient in tape.gradient(value, dead[:2]):
            assert np.isfinite(gradient).all()


class TestDistributionMatching:
    def test_equals_numpy(self, real, synthetic):
        found = losses(made_method("dm"), real, synthetic)
        expected = gap(*(class_means(f["embedding"]) for f in (real, synthetic)), "mse")
        np.testing.assert_allclose(found["loss"], expected, rtol=1e-4)
        np.testing.assert_allclose(found["mmd"], expected, rtol=1e-4)

    def test_leaves_taps_alone(self, real, synthetic):
        objective = made_method("dm")
        assert len(objective.vectors(real)) == 1


class TestFeatureMaps:
    def test_equals_numpy(self, real, synthetic):
        objective = made_method("feature_map")
        expected = sum(
            gap(*(class_means(tf.reshape(t, [len(t), -1])) for t in taps), "mse")
            for taps in zip(real["taps"], synthetic["taps"], strict=True)
        )
        found = losses(objective, real, synthetic)["loss"]
        np.testing.assert_allclose(found, 0.01 * expected, rtol=1e-4)


class TestPixelMMD:
    def test_equals_numpy(self, real, synthetic):
        objective = made_method("pixel_mmd")
        found = losses(objective, real, synthetic)
        images = (np.reshape(f["images"], [-1, 8 * 8 * 3]) for f in (real, synthetic))
        expected = gap(*map(class_means, images), "mse")
        np.testing.assert_allclose(found["mmd"], expected, rtol=1e-4)
        np.testing.assert_allclose(found["loss"], 0.1 * expected, rtol=1e-4)

    def test_looks_at_nothing_else(self, real):
        objective = made_method("pixel_mmd")
        (vectors,) = objective.vectors({"images": real["images"]})
        assert vectors.shape == (CLASSES * REAL, 8 * 8 * 3)

    @pytest.mark.parametrize("name", ["pixel_mmd", "dm"])
    def test_costs_no_forward_pass(self, name):
        """XLA leaves the network out, as nothing depends on it."""
        settings = {"method.name": name, "network.width": 4, "network.depth": 1}
        config = make_config(overrides={**settings, "distillation.batch_real": 2})
        task = Task(resolve(config, (8, 8, 1)), (8, 8, 1), ("cat", "dog"))
        method, synthetic = (
            create(config.method),
            SyntheticSet(np.zeros([2, 1, 8, 8, 1])),
        )
        method.check(task)
        layer = tf.keras.layers.Identity()
        gradient = GroupGradient(method, task, synthetic, 2, layer)
        arguments = (
            tf.zeros([2, 2, 8, 8, 1], tf.uint8),
            tf.zeros([2, 1, 8, 8, 1]),
            dsa.identity(2),
            gradient.network.init(tf.constant([0, 0])),
        )
        compiled = gradient._compute.experimental_get_compiler_ir(*arguments)
        assert ("convolution" in compiled("optimized_hlo")) == (name == "dm")

    @pytest.mark.parametrize("kernel", ["linear", "rbf"])
    @pytest.mark.parametrize("ipc", [1, 10, 60])
    def test_descent_at_the_default_rate_settles(self, kernel, ipc):
        """Whatever ipc: to the real mean; and rbf about as fast as linear."""
        generator = np.random.default_rng(0)
        real = tf.constant(generator.normal(0.5, 1, (2, 40, 192)), tf.float32)
        images = tf.Variable(generator.normal(0, 1, (2, ipc, 192)), dtype=tf.float32)
        objective = made_method("pixel_mmd", kernel=kernel)
        optimizer = tf.keras.optimizers.SGD(default_learning_rate(ipc), 0.5)

        @tf.function
        def step():
            with tf.GradientTape() as tape:
                loss = objective.losses([real], [images])["loss"]
            optimizer.apply(tape.gradient(loss, [images]), [images])

        def distance():
            gap = tf.reduce_mean(images, axis=1) - tf.reduce_mean(real, axis=1)
            return float(tf.reduce_max(tf.norm(gap, axis=-1)))

        first = distance()
        for _ in range(300):
            step()
        assert distance() < 0.3 * first


@pytest.mark.parametrize("name", METHODS)
class TestEveryObjective:
    def test_means_suffice_where_it_says_so(self, name, real, synthetic):
        objective = made_method(name)
        assert objective.means_suffice
        whole = losses(objective, real, synthetic)
        means = losses(objective, real, synthetic, means=True)
        for key in whole:
            np.testing.assert_allclose(means[key], whole[key], rtol=1e-5)

    @pytest.mark.parametrize("kernel", ["linear", "rbf"])
    def test_says_where_means_do_not_suffice(self, name, kernel, real, synthetic):
        has_kernel = hasattr(METHODS[name].Settings, "kernel")
        objective = made_method(name, **({"kernel": kernel} if has_kernel else {}))
        whole = float(losses(objective, real, synthetic)["loss"])
        means = float(losses(objective, real, synthetic, means=True)["loss"])
        assert objective.means_suffice == (abs(means / whole - 1) < 1e-4)

    def test_names_its_losses(self, name, real, synthetic):
        objective = made_method(name)
        found = losses(objective, real, synthetic)
        assert set(found) == set(objective.log_names)
        assert all(value.shape == () for value in found.values())

    def test_is_least_where_both_are_the_same(self, name, real, synthetic):
        objective = made_method(name)
        assert float(losses(objective, real, real)["loss"]) == pytest.approx(
            0, abs=1e-4
        )
        assert float(losses(objective, real, synthetic)["loss"]) > 1e-2


def test_every_method_has_its_settings():
    assert {name: kind.Settings for name, kind in METHODS.items()} == (
        settings_of.METHODS
    )


def test_settings_are_given_as_to_a_layer():
    method = METHODS["datadam"](power=2, layers=[1])
    assert method.settings == settings_of.DataDAMSettings(power=2.0, layers=(1,))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"powr": 2}, r"unknown setting 'method.powr' \(did you mean 'method.power'"),
        ({"power": -1}, "method.power must be at least 0"),
        ({"kernel": "cubic"}, "value of method.kernel 'cubic'.*linear, rbf"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        METHODS["datadam"](**settings)
