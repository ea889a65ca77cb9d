"""Augmentation against PyTorch, SciPy, NumPy, and its gradients."""

import dataclasses
import itertools
import pathlib

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import tensorflow as tf

from dam_tf.augmentation import dsa
from dam_tf.config.sections import OPERATIONS, AugmentationConfig

RECORDED = np.load(
    pathlib.Path(__file__).parents[1] / "fixtures" / "augmentation.npz",
    allow_pickle=False,
)
RECORDED_OPERATIONS = (*OPERATIONS, "everything")
SIZES = [(32, 32), (28, 28), (13, 7), (21, 41)]
CONFIG = AugmentationConfig()
ROWS = 6000


def only(*operations: str) -> AugmentationConfig:
    return dataclasses.replace(CONFIG, operations=operations)


def some_images(count, height, width, channels=3):
    shape = (count, height, width, channels)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def with_fields(count, **fields):
    changed = {name: tf.constant(values) for name, values in fields.items()}
    return dsa.identity(count)._replace(**changed)


def warp_of(count, rows):
    return with_fields(count, warp=np.tile(np.float32([rows]), (count, 1, 1)))


def value_and_gradient(images, parameters, direction):
    images = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(images)
        output = dsa.apply(images, parameters)
        value = tf.reduce_sum(output * direction)
    return output.numpy(), tape.gradient(value, images).numpy()


class TestApply:
    @pytest.mark.parametrize("size", ["32x32", "12x20"])
    @pytest.mark.parametrize("operation", RECORDED_OPERATIONS)
    def test_equals_pytorch(self, size, operation):
        def channels_last(name):
            return RECORDED[f"{size}/{name}"].transpose(0, 2, 3, 1)

        prefix = f"{size}/{operation}/parameters/"
        fields = {
            name.removeprefix(prefix): RECORDED[name]
            for name in RECORDED.files
            if name.startswith(prefix)
        }
        images = channels_last("images").astype(np.float32)
        direction = channels_last("direction").astype(np.float32)
        output, gradient = value_and_gradient(
            images, with_fields(len(images), **fields), direction
        )
        step = 3 if size == "32x32" else 1  # as recorded
        output, gradient = output[:, ::step, ::step], gradient[:, ::step, ::step]
        expected = channels_last(f"{operation}/output")
        np.testing.assert_allclose(output, expected, atol=1e-4)
        expected = channels_last(f"{operation}/gradient")
        np.testing.assert_allclose(gradient, expected, atol=1e-4)

    @pytest.mark.parametrize(
        ("function", "size"),
        [(dsa.apply, size) for size in SIZES]
        # Compiling takes longer; the sizes that are no powers of two say more.
        + [(dsa.compiled_apply, size) for size in [(28, 28), (21, 41)]],
    )
    class TestIsExact:
        def test_identity(self, function, size):
            images = some_images(2, *size)
            output = function(tf.constant(images), dsa.identity(2))
            np.testing.assert_array_equal(output, images)

        def test_flip(self, function, size):
            images = some_images(2, *size)
            output = function(tf.constant(images), warp_of(2, [[-1, 0, 0], [0, 1, 0]]))
            np.testing.assert_array_equal(output, images[:, :, ::-1])

        def test_every_whole_shift(self, function, size):
            height, width = size
            limits = [int(side * CONFIG.crop + 0.5) for side in size]
            shifts = list(itertools.product(*(range(-n, n + 1) for n in limits)))
            images = some_images(len(shifts), *size, channels=1)
            warps = [
                [[1, 0, 2 * right / width], [0, 1, 2 * down / height]]
                for down, right in shifts
            ]
            parameters = with_fields(len(shifts), warp=np.float32(warps))
            output = function(tf.constant(images), parameters).numpy()
            for image, shifted, (down, right) in zip(
                images, output, shifts, strict=True
            ):
                padded = np.pad(image, [(height,) * 2, (width,) * 2, (0, 0)])
                expected = np.roll(padded, (-down, -right), (0, 1))
                expected = expected[height:-height, width:-width]
                np.testing.assert_array_equal(shifted, expected)

        def test_drawn_crop(self, function, size):
            """What `draw` computed from sizes and shares is as exact as literals."""
            images = some_images(2, *size)
            for number in range(10):
                parameters = dsa.draw([0, number], 2, size, only("crop"))
                output = function(tf.constant(images), parameters).numpy()
                assert np.isin(output, [*images.ravel(), 0.0]).all()

    @pytest.mark.parametrize("size", [(16, 16), (13, 7), (8, 21)])
    def test_any_affine_warp_equals_scipy(self, size):
        height, width = size
        generator = np.random.default_rng(1)
        warp = np.float32(np.eye(2, 3) + generator.normal(size=(6, 2, 3)) * 0.3)
        images = some_images(6, *size)
        output = dsa.apply(images, with_fields(6, warp=warp)).numpy()
        y, x = np.meshgrid(
            (2 * np.arange(height) + 1) / height - 1,
            (2 * np.arange(width) + 1) / width - 1,
            indexing="ij",
        )
        for index, matrix in enumerate(warp.astype(np.float64)):
            source_x, source_y = np.einsum("ij,jhw->ihw", matrix, [x, y, x * 0 + 1])
            places = [
                ((source_y + 1) * height - 1) / 2,
                ((source_x + 1) * width - 1) / 2,
            ]
            for channel in range(3):
                expected = scipy.ndimage.map_coordinates(
                    images[index, :, :, channel], places, order=1, mode="grid-constant"
                )
                np.testing.assert_allclose(
                    output[index, :, :, channel], expected, atol=1e-4
                )

    def test_quarter_turn(self):
        images = some_images(2, 9, 9)
        output = dsa.apply(images, warp_of(2, [[0, -1, 0], [1, 0, 0]]))
        np.testing.assert_allclose(output, np.rot90(images, 1, axes=(1, 2)), atol=1e-6)

    def test_colors_in_order(self):
        images = some_images(3, 5, 4)
        b, s, c = (
            np.float32([0.3, -0.2, 0]),
            np.float32([2, 0, 0.5]),
            np.float32([0.5, 1.3, 0.9]),
        )
        parameters = with_fields(3, brightness=b, saturation=s, contrast=c)
        expected = images.astype(np.float64) + b.reshape(3, 1, 1, 1)
        grey = expected.mean(axis=3, keepdims=True)
        expected = grey + (expected - grey) * s.reshape(3, 1, 1, 1)
        mean = expected.mean(axis=(1, 2, 3), keepdims=True)
        expected = mean + (expected - mean) * c.reshape(3, 1, 1, 1)
        output = dsa.apply(images, parameters)
        np.testing.assert_allclose(output, expected, atol=1e-5)

    def test_saturation_leaves_grey_images(self):
        images = some_images(2, 6, 6, channels=1)
        output = dsa.apply(images, with_fields(2, saturation=[1.7, 0.0]))
        np.testing.assert_allclose(output, images, atol=1e-6)

    def test_holes_reach_over_the_border(self):
        images = np.ones([5, 6, 5, 2], np.float32)
        holes = [[-2, -1, 4, 3], [4, 3, 4, 4], [1, 1, 2, 3], [0, 0, 6, 5], [6, 5, 4, 4]]
        output = dsa.apply(images, with_fields(5, hole=holes)).numpy()
        expected = images.copy()
        expected[0, :2, :2] = 0
        expected[1, 4:, 3:] = 0
        expected[2, 1:3, 1:4] = 0
        expected[3] = 0
        np.testing.assert_array_equal(output, expected)

    def test_color_comes_before_the_hole_and_after_the_warp(self):
        images = np.ones([1, 8, 8, 3], np.float32)
        parameters = with_fields(
            1,
            warp=np.float32([[[1, 0, 0.5], [0, 1, 0]]]),  # two pixels from the right
            brightness=[0.25],
            hole=[[0, 0, 2, 2]],
        )
        output = dsa.apply(images, parameters).numpy()
        expected = np.full([1, 8, 8, 3], 1.25, np.float32)
        expected[:, :, 6:] = 0.25
        expected[:, :2, :2] = 0
        np.testing.assert_allclose(output, expected, atol=1e-6)


class TestGradient:
    """The adjoint of the very matrix that the forward pass is."""

    SIZE = (6, 5)

    def matrix(self, parameters, channels=1):
        """Returns the transform of one row as a matrix, column by column."""
        pixels = self.SIZE[0] * self.SIZE[1] * channels
        basis = np.eye(pixels, dtype=np.float32)
        basis = basis.reshape(pixels, *self.SIZE, channels)
        rows = dsa.take(parameters, [0] * pixels)
        return dsa.apply(basis, rows).numpy().reshape(pixels, pixels).T

    @pytest.fixture(params=["scale", "rotate", "zoom out", "shear", "cutout", "color"])
    def parameters(self, request):
        sheared = [[0.7, 0.4, 0.3], [-0.2, 1.3, -0.1]]
        return {
            "scale": warp_of(1, [[0.85, 0, 0], [0, 1.2, 0]]),
            "rotate": warp_of(1, [[0.966, -0.259, 0], [0.259, 0.966, 0]]),
            "zoom out": warp_of(1, [[2, 0, 0], [0, 2, 0]]),
            "shear": warp_of(1, sheared),
            "cutout": with_fields(1, hole=[[-1, 2, 3, 2]]),
            # Without brightness, which makes it affine, color is linear too.
            "color": with_fields(1, saturation=[1.7], contrast=[0.6]),
        }[request.param]

    def test_is_the_transpose(self, parameters):
        images, direction = some_images(2, *self.SIZE)
        _, gradient = value_and_gradient(images[None], parameters, direction[None])
        expected = self.matrix(parameters, 3).T.astype(np.float64) @ direction.ravel()
        np.testing.assert_allclose(gradient.ravel(), expected, atol=1e-5)

    def test_adjoint_identity(self, parameters):
        images, direction = some_images(2, 32, 32).astype(np.float64)
        output, gradient = value_and_gradient(
            np.float32(images[None]), parameters, np.float32(direction[None])
        )
        left, right = np.vdot(output, direction), np.vdot(images, gradient)
        scale = np.linalg.norm(output) * np.linalg.norm(direction)
        assert abs(left - right) < 1e-6 * scale

    def test_second_order(self, parameters):
        """d/dx <d/dx sum(Ax)^3, v> = 6 A'(Ax * Av)."""
        images, vector = some_images(2, *self.SIZE)[..., :1]
        x = tf.constant(images[None])
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                total = tf.reduce_sum(dsa.apply(x, parameters) ** 3)
            first = tf.reduce_sum(inner.gradient(total, x) * vector[None])
        matrix = self.matrix(parameters).astype(np.float64)
        expected = (
            6 * matrix.T @ ((matrix @ images.ravel()) * (matrix @ vector.ravel()))
        )
        second = outer.gradient(first, x).numpy().ravel()
        np.testing.assert_allclose(second, expected, rtol=1e-4, atol=1e-3)

    def test_of_color_equals_finite_differences(self):
        parameters = with_fields(1, brightness=[0.4], saturation=[1.9], contrast=[0.55])
        images, direction = some_images(2, 4, 3)
        _, gradient = value_and_gradient(images[None], parameters, direction[None])
        # The transform is affine, so a large step costs no accuracy.
        steps = np.eye(images.size, dtype=np.float32).reshape(-1, *images.shape)
        rows = dsa.take(parameters, [0] * len(steps))
        ahead = dsa.apply(images + steps, rows).numpy()
        behind = dsa.apply(images - steps, rows).numpy()
        expected = ((ahead - behind) / 2 * direction).sum(axis=(1, 2, 3))
        np.testing.assert_allclose(gradient.ravel(), expected, atol=1e-5)
