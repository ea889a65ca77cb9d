"""Augmentation against PyTorch, SciPy, NumPy and the distributions of DSA."""

import collections
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

RECORDED = np.load(pathlib.Path(__file__).parents[1] / "fixtures" / "augmentation.npz")
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


def drawn(config, count=ROWS, image_size=(32, 32), seed=(3, 4), **options):
    parameters = dsa.draw(seed, count, image_size, config, **options)
    return dsa.Parameters(*(values.numpy() for values in parameters))


def kind_of_each(parameters):
    """Names what each row does, as far as its numbers tell."""
    warp = parameters.warp
    kinds = np.full(len(warp), "unchanged", dtype="U9")
    kinds[parameters.brightness != 0] = "color"
    kinds[parameters.hole[:, 2] > 0] = "cutout"
    kinds[(warp[:, :, 2] != 0).any(axis=1)] = "crop"
    kinds[(warp[:, 0, 0] != 1) & (warp[:, 0, 1] == 0)] = "scale"
    kinds[warp[:, 0, 0] == -1] = "flip"
    kinds[warp[:, 0, 1] != 0] = "rotate"
    return kinds


def assert_uniform(values, low, high):
    assert low <= values.min() and values.max() <= high
    test = scipy.stats.kstest(values, "uniform", args=(low, high - low))
    assert test.pvalue > 1e-3


def assert_frequencies(values, probabilities):
    """Chi-square test; values without a probability must not occur."""
    found = collections.Counter(map(str, values))
    assert found.keys() <= probabilities.keys()
    counts = [found[value] for value in probabilities]
    expected = np.array(list(probabilities.values())) * len(values)
    assert scipy.stats.chisquare(counts, expected).pvalue > 1e-3


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


class TestDraw:
    def test_follows_the_seed(self):
        first, again, other = (
            drawn(CONFIG, 50, seed=s) for s in ([0, 1],) * 2 + ([0, 2],)
        )
        for name in first._fields:
            np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
            assert (getattr(first, name) != getattr(other, name)).any()

    def test_each_operation_equally_often(self):
        sixth = 1 / 6
        probabilities = dict.fromkeys(("color", "cutout", "scale", "rotate"), sixth)
        probabilities["flip"] = sixth / 2
        probabilities["crop"] = sixth * 80 / 81
        probabilities["unchanged"] = sixth / 2 + sixth / 81
        assert_frequencies(kind_of_each(drawn(CONFIG)), probabilities)

    def test_each_of_a_choice_equally_often(self):
        kinds = kind_of_each(drawn(only("rotate", "color", "scale")))
        third = dict.fromkeys(("rotate", "color", "scale"), 1 / 3)
        assert_frequencies(kinds, third)

    def test_one_operation_at_a_time(self):
        parameters = drawn(CONFIG)
        warp_changed = (parameters.warp != np.eye(2, 3)).any(axis=(1, 2))
        color_changed = (
            (parameters.brightness != 0)
            | (parameters.saturation != 1)
            | (parameters.contrast != 1)
        )
        changed = np.stack([warp_changed, color_changed, parameters.hole[:, 2] > 0])
        assert changed.any(axis=1).all()
        assert changed.sum(axis=0).max() == 1

    def test_shared_operation(self):
        """One operation for all rows, and strengths of each row's own."""

        @tf.function
        def draw(seed):
            return dsa.draw(seed, 12, (32, 32), CONFIG, shared_operation=True)

        found = []
        for number in range(300):
            parameters = draw(tf.constant([7, number]))
            kinds = kind_of_each(dsa.Parameters(*(v.numpy() for v in parameters)))
            kinds = set(kinds) - {"unchanged"}
            assert len(kinds) <= 1
            found += kinds or {"flip"}  # 12 unflipped rows are rare: 300 / 6 / 4096
        assert_frequencies(found, dict.fromkeys(OPERATIONS, 1 / 6))
        rotated = drawn(only("rotate"), 100, shared_operation=True).warp
        assert len(np.unique(rotated[:, 0, 1])) == 100

    def test_no_operations_is_the_identity(self):
        parameters = drawn(only(), 5)
        images = some_images(5, 10, 10)
        np.testing.assert_array_equal(
            dsa.apply(images, dsa.Parameters(*parameters)), images
        )

    def test_without_flip_nothing_is_mirrored(self):
        config = only(*(name for name in OPERATIONS if name != "flip"))
        for shared in (False, True):
            warp = drawn(config, shared_operation=shared).warp
            assert (np.linalg.det(warp[:, :, :2]) > 0.5).all()

    @pytest.mark.parametrize("size", [(32, 32), (28, 28), (12, 20), (7, 9)])
    def test_crop_shifts_by_whole_pixels(self, size):
        height, width = size
        warp = drawn(only("crop"), image_size=size).warp
        np.testing.assert_array_equal(
            warp[:, :, :2], np.broadcast_to(np.eye(2), (ROWS, 2, 2))
        )
        right, down = warp[:, 0, 2] * width / 2, warp[:, 1, 2] * height / 2
        for shifts, side in ((down, height), (right, width)):
            np.testing.assert_allclose(shifts, np.round(shifts), atol=1e-4)
            limit = int(side * 0.125 + 0.5)
            every = range(-limit, limit + 1)
            assert set(np.round(shifts).astype(int)) == set(every)
            names = np.round(shifts).astype(int).astype(str)
            share = 1 / len(every)
            assert_frequencies(names, {str(shift): share for shift in every})
        assert abs(np.corrcoef(right, down)[0, 1]) < 0.05

    @pytest.mark.parametrize(
        ("size", "lengths", "tops", "lefts"),
        [
            # Side 32: a hole of 16 around a centre in 0..32.
            ((32, 32), (16, 16), (-8, 24), (-8, 24)),
            # Odd holes, 5 of 9 and 3 of 6: centres in 0..8 and 0..5.
            ((9, 6), (5, 3), (-2, 6), (-1, 4)),
        ],
    )
    def test_cutout_holes(self, size, lengths, tops, lefts):
        hole = drawn(only("cutout"), image_size=size).hole
        np.testing.assert_array_equal(hole[:, 2:], np.tile(lengths, (ROWS, 1)))
        for starts, (low, high) in ((hole[:, 0], tops), (hole[:, 1], lefts)):
            share = 1 / (high - low + 1)
            every = {str(start): share for start in range(low, high + 1)}
            assert_frequencies(starts.astype(str), every)
            assert starts.min() == low and starts.max() == high
        assert abs(np.corrcoef(hole[:, 0], hole[:, 1])[0, 1]) < 0.05

    def test_rotations(self):
        warp = drawn(only("rotate")).warp
        degrees = np.degrees(np.arctan2(warp[:, 1, 0], warp[:, 0, 0]))
        assert_uniform(degrees, -15, 15)
        turn = warp[:, :, :2]
        identity = np.broadcast_to(np.eye(2), turn.shape)
        np.testing.assert_allclose(turn @ turn.mT, identity, atol=1e-6)
        np.testing.assert_allclose(np.linalg.det(turn), 1, atol=1e-6)
        assert not warp[:, :, 2].any()

    def test_scales_of_x_and_y_are_independent(self):
        warp = drawn(only("scale")).warp
        x, y = warp[:, 0, 0], warp[:, 1, 1]
        for scale in (x, y):
            assert_uniform(scale, np.float32(1 / 1.2), np.float32(1.2))
        assert abs(np.corrcoef(x, y)[0, 1]) < 0.05
        assert not warp[:, 0, 1:].any() and not warp[:, 1, [0, 2]].any()

    def test_flips_half(self):
        flipped = drawn(only("flip")).warp[:, 0, 0] == -1
        assert scipy.stats.binomtest(int(flipped.sum()), ROWS, 0.5).pvalue > 1e-3
        certain = dataclasses.replace(only("flip"), flip=1.0)
        assert (drawn(certain).warp[:, 0, 0] == -1).all()

    def test_colors(self):
        parameters = drawn(only("color"))
        assert_uniform(parameters.brightness, -0.5, 0.5)
        assert_uniform(parameters.saturation, 0, 2)
        assert_uniform(parameters.contrast, 0.5, 1.5)
        correlation = np.corrcoef(np.stack(parameters[1:4]))
        assert np.abs(correlation - np.eye(3)).max() < 0.05

    def test_strengths_do_not_depend_on_what_is_drawn(self):
        parameters = drawn(CONFIG)
        kinds = kind_of_each(parameters)
        scaled = parameters.warp[kinds == "scale"]
        rotated = parameters.warp[kinds == "rotate"]
        assert_uniform(parameters.brightness[kinds == "color"], -0.5, 0.5)
        assert_uniform(scaled[:, 0, 0], np.float32(1 / 1.2), np.float32(1.2))
        assert_uniform(np.degrees(np.arcsin(rotated[:, 1, 0])), -15, 15)
        tops = parameters.hole[kinds == "cutout", 0].astype(str)
        assert_frequencies(tops, {str(top): 1 / 33 for top in range(-8, 25)})

    def test_strengths_come_from_the_config(self):
        config = AugmentationConfig(
            brightness=0.2, saturation=0.5, contrast=1.0, crop=0.25, cutout=0.25,
            scale=2.0, rotate=90.0,
        )  # fmt: skip

        def of(name, size=(32, 32)):
            return drawn(dataclasses.replace(config, operations=(name,)), 2000, size)

        color = of("color")
        assert_uniform(color.brightness, -0.1, 0.1)
        assert_uniform(color.saturation, 0, 0.5)
        assert_uniform(color.contrast, 1, 2)
        assert np.abs(of("crop").warp[:, 0, 2]).max() * 16 == 8
        assert (of("cutout").hole[:, 2:] == 8).all()
        assert_uniform(of("scale").warp[:, 0, 0], 0.5, 2)
        assert_uniform(np.arcsin(of("rotate").warp[:, 1, 0]), -np.pi / 2, np.pi / 2)


class TestSiamese:
    def test_images_of_a_class_share_one_transform(self):
        classes, image = 6, some_images(1, 16, 16)[0]
        parameters = dsa.draw([5, 6], classes, (16, 16), CONFIG)
        owners = np.array([0, 0, 3, 1, 5, 5, 5, 2, 4, 0])
        output = dsa.apply(
            np.stack([image] * len(owners)), dsa.take(parameters, owners)
        ).numpy()
        by_class = dsa.apply(np.stack([image] * classes), parameters).numpy()
        np.testing.assert_array_equal(output, by_class[owners])
        assert len(np.unique(by_class.reshape(classes, -1), axis=0)) > 1

    def test_images_of_a_batch_do_not_mix(self):
        images = some_images(8, 12, 12)
        parameters = dsa.draw([5, 7], 8, (12, 12), CONFIG)
        together = dsa.apply(images, parameters).numpy()
        for row in range(8):
            alone = dsa.apply(images[row : row + 1], dsa.take(parameters, [row]))
            np.testing.assert_allclose(together[row], alone[0], atol=1e-6)
