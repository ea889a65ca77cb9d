"""How many images each class has: dealt out by hand, read, and refused."""

import fractions

import numpy as np
import pytest

from dam_tf.base.errors import UserError
from dam_tf.config.image_counts import image_counts, proportional
from dam_tf.config.sections import DistillationConfig
from dam_tf.config.settings import Config, read_config, replace
from tests.tiny_data import tiny_config


@pytest.mark.parametrize(
    ("total", "real", "expected"),
    [
        # Shares 3.5, 2.1, 1.05, 0.35 of 7: the last has one, and 6 are shared by the
        # others as 3.16, 1.89, 0.95; of these the last has one, and 5 are 3.125, 1.875.
        (7, (100, 60, 30, 10), (3, 2, 1, 1)),
        (10, (100, 60, 30, 10), (5, 3, 1, 1)),
        (6, (10, 10, 10), (2, 2, 2)),
        (5, (10, 10, 10), (2, 2, 1)),  # equal rests: the first classes
        (3, (1000, 1, 1), (1, 1, 1)),
        (12, (70, 29, 1), (8, 3, 1)),
    ],
)
def test_shares_by_hand(total, real, expected):
    assert proportional(total, real) == expected
    assert proportional(total, np.array(real)) == expected


def test_shares_of_a_long_tail_are_within_one_of_their_quota():
    """Hamilton's method: whole parts or one more, by the exact fractions."""
    real = [int(5000 * 0.01 ** (k / 99)) for k in range(100)]
    found = proportional(1000, real)
    assert sum(found) == 1000 and min(found) == 1
    assert list(found) == sorted(found, reverse=True)
    others = [k for k in range(100) if found[k] > 1]
    left = 1000 - sum(1 for n in found if n == 1)
    size = sum(real[k] for k in others)
    for k in others:
        quota = fractions.Fraction(left * real[k], size)
        assert abs(found[k] - quota) < 1


def test_what_settings_say():
    assert image_counts(DistillationConfig(ipc=2), 3) == (2, 2, 2)
    listed = read_config(overrides={"distillation.images_per_class": " 5, 3,1"})
    assert listed.distillation.images_per_class == "5,3,1"
    assert listed.distillation.ipc == 3
    assert image_counts(listed.distillation, 3) == (5, 3, 1)
    same = replace(listed, distillation__ipc=3, distillation__seed=1)
    assert same.distillation.images_per_class == "5,3,1"
    equal = read_config(overrides={"distillation.images_per_class": "equal"})
    assert equal == read_config()  # so that fingerprints are those of older runs
    half = DistillationConfig(images_per_class="2,1")
    assert half.ipc == 2  # 1.5, rounded up
    shared = replace(Config(), distillation__images_per_class="proportional")
    shared = replace(shared, distillation__ipc=4).distillation
    assert image_counts(shared, 2, [30, 10]) == (6, 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images_per_class": "many"}, "must be equal, proportional or a whole number"),
        ({"images_per_class": "5,0,1"}, "not '5,0,1'"),
        ({"images_per_class": "5,,1"}, "not '5,,1'"),
        ({"images_per_class": "5,-3,1"}, "not '5,-3,1'"),
        ({"images_per_class": "5,1.5"}, "not '5,1.5'"),
        (
            {"images_per_class": "5,3,1", "ipc": 10},
            r"ipc 10 is not the mean of .* 5,3,1, which is 3; leave ipc out",
        ),
    ],
)
def test_what_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        tiny_config(
            **{f"distillation__{k}": v for k, v in ({"ipc": 1} | settings).items()}
        )


def test_a_list_is_of_all_classes():
    settings = DistillationConfig(images_per_class="5,3,1")
    with pytest.raises(UserError, match="5,3,1 has 3 numbers, and there are 4 classes"):
        image_counts(settings, 4)
