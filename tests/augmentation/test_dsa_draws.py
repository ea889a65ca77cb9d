"""What the augmentation draws, against the distributions of DSA."""

import collections
import dataclasses

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import tensorflow as tf

from dam_tf.augmentation import dsa
from dam_tf.config.sections import OPERATIONS, AugmentationConfig

CONFIG = AugmentationConfig()
ROWS = 6000


def only(*operations: str) -> AugmentationConfig:
    return dataclasses.replace(CONFIG, operations=operations)


def some_images(count, height, width, channels=3):
    shape = (count, height, width, channels)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


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


def test_color_crop_and_cutout_together_are_drawn_as_each_alone():
    """All in each row, independent of each other; others are left out."""
    found = dsa.draw_together((3, 4), ROWS, (32, 32), CONFIG)
    fields = {
        "color": [lambda p: p.brightness, lambda p: p.saturation, lambda p: p.contrast],
        "crop": [lambda p: p.warp[:, 0, 2], lambda p: p.warp[:, 1, 2]],
        "cutout": [lambda p: p.hole[:, 0], lambda p: p.hole[:, 1]],
    }
    columns = []
    for name, values in fields.items():
        alone = drawn(only(name), seed=(5, 6))
        for value in values:
            columns.append(np.asarray(value(found), np.float64))
            test = scipy.stats.ks_2samp(columns[-1], np.asarray(value(alone)))
            assert test.pvalue > 1e-3, name
    others = np.corrcoef(columns) - np.eye(len(columns))
    assert np.abs(others).max() < 5 / np.sqrt(ROWS)
    np.testing.assert_array_equal(
        found.warp[:, :, :2], dsa.identity(ROWS).warp[..., :2]
    )
    left_out = dsa.draw_together((3, 4), 2, (32, 32), only("flip", "crop"))
    expected = dsa.identity(2)._replace(warp=left_out.warp)
    for one, other in zip(left_out, expected, strict=True):
        np.testing.assert_array_equal(one, other)
