"""The spaces: what is in them, and what becomes a network's settings."""

import pytest

from dam_tf.base.errors import UserError
from dam_tf.config.sections import NetworkConfig
from dam_tf.config.settings import Config, read_config
from dam_tf.studies.search.search import sample
from dam_tf.studies.search.spaces import convnet_grid, nasbench201_space


def test_the_grid_of_the_paper():
    grid = convnet_grid()
    assert len(grid) == len({one.name for one in grid}) == 4 * 4 * 3 * 5 * 3 == 720
    configs = [one.config(Config()).network for one in grid]
    assert len(set(configs)) == 720
    assert NetworkConfig(depth=3, norm="instance", pooling="avg") in configs
    assert NetworkConfig(depth=4, width=256, norm="group", pooling="max") in configs
    assert {c.activation for c in configs} == {"sigmoid", "relu", "leaky_relu"}


def test_a_part_of_the_grid():
    grid = convnet_grid([1, 2, 1], [16], ["relu"], ["none", "batch"], ["avg"])
    assert [one.name for one in grid] == [
        "depth=1 width=16 activation=relu norm=none pooling=avg",
        "depth=1 width=16 activation=relu norm=batch pooling=avg",
        "depth=2 width=16 activation=relu norm=none pooling=avg",
        "depth=2 width=16 activation=relu norm=batch pooling=avg",
    ]


def test_an_architecture_keeps_nothing_of_another_network():
    base = read_config(
        overrides={
            "network.name": "vgg11",
            "network.norm": "batch",
            "network.width": 7,
            "network.pooling_size": 3,
            "network.initializer": "he_normal",
            "evaluation.epochs": 3,
        }
    )
    config = nasbench201_space(cells=2)[-1].config(base)
    assert config.network == NetworkConfig(
        name="nasbench201",
        depth=2,
        cell=nasbench201_space()[-1].name,
        pooling_size=3,
        initializer="he_normal",
    )
    assert config.evaluation.epochs == 3


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"norms": ["bacth"]}, "did you mean 'batch'"),
        ({"depths": [0]}, "network.depth must be at least 1"),
        ({"poolings": ["mean"]}, "network.pooling"),
    ],
)
def test_what_is_no_setting_is_refused(axes, message):
    with pytest.raises(UserError, match=message):
        convnet_grid(**axes)


def test_a_sample_is_decided_by_the_seed_and_can_grow():
    space = nasbench201_space()
    few, more, other = (
        [one.name for one in sample(space, count, seed)]
        for count, seed in [(20, 3), (100, 3), (20, 4)]
    )
    assert few == [one.name for one in sample(space, 20, 3)]
    assert len(set(few)) == 20 and set(few) < set(more) and set(few) != set(other)
    order = [one.name for one in space]
    assert few == sorted(few, key=order.index)
    assert sample(space[:5], 9, 0) == sample(space[:5], None, 0) == space[:5]
