"""Continual learning: what may be asked for, and how classes arrive."""

import itertools
import json

import numpy as np
import pytest

from dam_tf.base.errors import UserError
from dam_tf.studies.continual.settings import ContinualConfig, split_classes
from dam_tf.studies.continual.study import class_order
from tests.studies.five_classes import config


@pytest.mark.parametrize(
    ("classes", "steps", "sizes"),
    [(100, 5, [20] * 5), (10, 3, [4, 3, 3]), (11, 4, [3, 3, 3, 2]), (3, 3, [1] * 3)],
)
def test_classes_are_split_evenly_and_stay_in_order(classes, steps, sizes):
    order = np.random.default_rng(0).permutation(classes).tolist()
    parts = split_classes(order, steps)
    assert [len(part) for part in parts] == sizes
    assert list(itertools.chain(*parts)) == order


def test_orders_are_functions_of_the_seed():
    orders = [tuple(class_order(seed, k, 50)) for seed in (0, 1) for k in range(3)]
    assert len(set(orders)) == 6
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert class_order(1, 2, 50) == list(orders[-1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"memories": ()}, "memory must name one or more, each once, not nothing"),
        ({"memories": ("dm", "dm")}, "each once, not dm,dm"),
        ({"steps": (5, 5)}, "each once, not 5,5"),
        ({"steps": (5, 0)}, "steps must be at least 1, not 0"),
        ({"orders": 0}, "orders must be at least 1, not 0"),
        ({"statistics": "frist_step"}, r"\(did you mean 'first_step'\?\)"),
    ],
)
def test_a_study_that_is_none(changes, message):
    with pytest.raises(UserError, match=message):
        ContinualConfig(**changes)


def test_settings_are_json_and_free_of_what_does_not_matter():
    one = ContinualConfig().settings(config())
    assert json.loads(json.dumps(one)) == one
    assert one == ContinualConfig(("dm",), (3,), 1).settings(
        config(
            dataset__data_dir="elsewhere",
            distillation__checkpoint_every=9,
            selection__method="random",
        )
    )
    assert one != ContinualConfig(statistics="all").settings(config())
    assert one != ContinualConfig().settings(config(distillation__seed=1))
