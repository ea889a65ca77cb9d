"""What is true of every method that matches features, and of each one alone."""

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.augmentation import dsa
from dam_tf.base.errors import UserError
from dam_tf.config import methods as settings_of
from dam_tf.config.settings import read_config, resolve
from dam_tf.methods.feature_matching import FeatureMatching
from dam_tf.methods.group_gradient import GroupGradient
from dam_tf.methods.method import Task
from dam_tf.methods.registry import METHODS, create
from dam_tf.synthetic.synthetic_set import SyntheticSet
from tests.methods.features import CLASSES, REAL, class_means, gap, losses
from tests.tiny_data import made_method

FEATURE_MATCHING = [
    name for name, kind in METHODS.items() if issubclass(kind, FeatureMatching)
]


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
        config = read_config(overrides={**settings, "distillation.batch_real": 2})
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
        usual = objective.settings.by_data("digits", ipc, (8, 8, 1))
        rate = usual["distillation.learning_rate"]
        optimizer = tf.keras.optimizers.SGD(rate, 0.5)

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


@pytest.mark.parametrize("name", FEATURE_MATCHING)
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
        assert set(found) == set(objective.log_names) - {"calibration"}
        assert all(value.shape == () for value in found.values())

    def test_is_least_where_both_are_the_same(self, name, real, synthetic):
        objective = made_method(name)
        assert float(losses(objective, real, real)["loss"]) == pytest.approx(
            0, abs=1e-3
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
