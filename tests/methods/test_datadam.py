"""DataDAM against NumPy, and its losses and gradients against PyTorch."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.base.errors import UserError
from tests.methods.features import (
    CLASSES,
    SYNTHETIC,
    attention,
    class_means,
    gap,
    losses,
)
from tests.tiny_data import made_method

RECORDED = np.load(
    pathlib.Path(__file__).parents[1] / "fixtures" / "matching.npz", allow_pickle=False
)
RECORDED_CASES = sorted({key.split("/")[1] for key in RECORDED if "/sam" in key})


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
