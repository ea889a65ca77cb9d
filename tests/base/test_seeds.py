"""The streams of random numbers, as recorded, and which classes an iteration draws."""

import itertools

import numpy as np
import pytest

from dam_tf.base.errors import UserError
from dam_tf.base.seeds import Purpose, drawn_classes, numpy_generator, tensor_seed
from dam_tf.config.settings import read_config

# By purpose: its number, `tensor_seed(5, purpose, 3, 4)`, and three numbers below
# 1,000 of `numpy_generator(5, purpose, 3, 4)`. The first twelve were recorded by commit
# f15378d. Another value would change runs: a resumed run, or one that is repeated,
# would no longer be the old one.
STREAMS = {
    "INITIAL_IMAGES": (1, (858393535, 4), (684, 515, 778)),
    "REAL_BATCH": (2, (1636750706, 4), (122, 110, 45)),
    "NETWORK": (3, (2050966343, 4), (227, 370, 793)),
    "AUGMENTATION": (4, (1561619097, 4), (835, 779, 880)),
    "EVALUATION_NETWORK": (5, (-1004649671, 4), (478, 375, 945)),
    "EVALUATION_AUGMENTATION": (6, (-746770160, 4), (193, 100, 133)),
    "EVALUATION_ORDER": (7, (1240515513, 4), (387, 251, 844)),
    "SELECTION": (8, (1718317322, 4), (673, 211, 486)),
    "CLASS_ORDER": (9, (-1174322524, 4), (962, 318, 68)),
    "CONTINUAL_STEP": (10, (1729025412, 4), (705, 580, 456)),
    "ARCHITECTURE_SEARCH": (11, (1350968852, 4), (399, 743, 782)),
    "STEP_CLASSES": (12, (1217876855, 4), (370, 120, 302)),
    "SELECTION_NETWORK": (13, (1810597451, 4), (825, 587, 545)),
    "POOL_NETWORK": (14, (1612052677, 4), (525, 785, 451)),
    "EMBEDDING_NETWORK": (15, (-880498277, 4), (205, 842, 159)),
    "SET_ORDER": (20, (-839853566, 4), (479, 289, 996)),
    "SET_AUGMENTATION": (21, (-656550419, 4), (699, 835, 614)),
    "STATISTICS_BATCH": (22, (-18778942, 4), (776, 111, 76)),
    "PROBE_BATCH": (23, (-1805129151, 4), (135, 954, 651)),
    "EXPERT_NETWORK": (24, (-1050679338, 4), (690, 263, 324)),
    "EXPERT_FOLLOWED": (25, (-856853107, 4), (610, 418, 836)),
    "STUDENT_BATCH": (26, (-1719302543, 4), (136, 758, 559)),
    "STUDENT_AUGMENTATION": (27, (-1912887807, 4), (319, 954, 851)),
    "POOL_SLOT": (28, (1092253794, 4), (677, 720, 632)),
    "POOL_MEMBER": (29, (-169600997, 4), (634, 823, 167)),
    "POOL_BATCH": (30, (-1759690953, 4), (563, 587, 529)),
    "FIXED_NETWORK": (32, (-646717281, 4), (421, 516, 13)),
    "INNER_BATCH": (33, (-666953881, 4), (575, 524, 971)),
    "RECIPE_BATCH": (34, (-396901161, 4), (345, 478, 710)),
    "CUTMIX": (35, (1295670684, 4), (310, 754, 476)),
    "GENERATOR_WEIGHTS": (36, (1273369814, 4), (306, 845, 304)),
    "GENERATOR_NOISE": (37, (-1997470821, 4), (350, 964, 218)),
    "GENERATOR_AUGMENTATION": (38, (-1387108707, 4), (558, 813, 208)),
    "GENERATED_IMAGES": (39, (1453492534, 4), (867, 360, 495)),
    "POOL_PAIR": (48, (-1104509231, 4), (582, 954, 908)),
    "POOL_SHARE": (49, (-282034216, 4), (171, 678, 609)),
    "CALIBRATION_AUGMENTATION": (50, (1395517489, 4), (209, 789, 676)),
    "FREQUENCIES": (51, (1902848784, 4), (258, 886, 361)),
    "SAMPLER_WEIGHTS": (52, (2061095717, 4), (400, 350, 807)),
    "SAMPLER_NOISE": (53, (399779917, 4), (133, 291, 987)),
    "MEASURED_NETWORK": (56, (1745978142, 4), (438, 529, 578)),
    "MEASURED_BATCH": (57, (1077304876, 4), (914, 277, 649)),
}


@pytest.mark.parametrize("name", [purpose.name for purpose in Purpose])
def test_a_stream_is_as_recorded(name):
    number, seed, drawn = STREAMS[name]
    purpose = Purpose[name]
    assert int(purpose) == number
    assert tuple(tensor_seed(5, purpose, 3, 4).numpy()) == seed
    found = numpy_generator(5, purpose, 3, 4).integers(0, 1000, 3)
    assert tuple(found) == drawn


def test_without_counters_and_with_one_more_it_is_as_recorded():
    assert tensor_seed(2**31 - 1, Purpose.NETWORK).numpy().tolist() == [2**31 - 1, 3]
    assert tensor_seed(5, Purpose.NETWORK, 3).numpy().tolist() == [-604791477, 3]


def test_seeds_that_would_share_networks_are_refused():
    """Beyond 31 bits a seed's networks would be those of another."""
    largest = read_config(overrides={"distillation.seed": 2**31 - 1})
    assert largest.distillation.seed == 2**31 - 1
    with pytest.raises(UserError, match="seed must be less than 2147483648"):
        read_config(overrides={"distillation.seed": 2**31})


def test_drawn_classes_are_as_recorded():
    assert drawn_classes(5, 3, 10, 4).tolist() == [0, 2, 3, 8]


def test_drawn_classes_differ_by_iteration_and_seed_and_all_have_their_turn():
    draws = [drawn_classes(1, iteration, 5, 2) for iteration in range(200)]
    assert all(a < b for a, b in draws)
    counts = np.bincount(np.concatenate(draws), minlength=5)
    assert np.abs(counts - 80).max() < 30, "within four deviations of 200 * 2 / 5"
    assert set(map(tuple, draws)) == set(itertools.combinations(range(5), 2))
    again = [drawn_classes(1, iteration, 5, 2) for iteration in (3, 150)]
    np.testing.assert_array_equal(again, [draws[3], draws[150]])
    others = [drawn_classes(2, iteration, 5, 2) for iteration in range(200)]
    assert np.any(np.array(others) != draws)


def test_all_are_drawn_in_order():
    np.testing.assert_array_equal(drawn_classes(3, 9, 4, 4), range(4))
