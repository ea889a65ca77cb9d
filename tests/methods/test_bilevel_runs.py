"""Runs of methods that train a network on the way: stopped, shared, on any network."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf.data.real_data import Split
from dam_tf.data.sampling import ClassBatch
from dam_tf.methods.bilevel import Bilevel
from dam_tf.methods.registry import METHODS
from dam_tf.runs.distiller import create_distiller
from dam_tf.runs.run import distill
from tests.replicas import two_replicas
from tests.runs.comparing import (
    StopAt,
    assert_nearly_same_run,
    assert_same_run,
    final_state,
)
from tests.tiny_data import make_data, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")

NAMES = [name for name, method in METHODS.items() if issubclass(method, Bilevel)]


def slow_but(*names):
    """All methods; those that share the code of `names` with them are slow tests."""
    return [
        name if name in names else pytest.param(name, marks=pytest.mark.slow)
        for name in NAMES
    ]


# Settings under which an iteration in the middle depends on what the network became.
IN_THE_MIDDLE = {
    "dc": {"outer_loop": 3, "inner_loop": 1},
    "dsa": {"outer_loop": 3, "inner_loop": 1},
    "cafe": {"window": 3, "most_steps": 5, "most_epochs": 1, "probe": 3},
    "cafe_dsa": {"window": 3, "most_steps": 5, "most_epochs": 1, "probe": 3},
}


def config_of(name, **overrides):
    settings = {f"method__{key}": v for key, v in IN_THE_MIDDLE[name].items()}
    tiny = {"network__depth": 1, "network__width": 4, "distillation__iterations": 4}
    tiny |= {"distillation__ipc": 1, "distillation__log_every": 1}
    return tiny_config(method__name=name, **{**settings, **tiny, **overrides})


@pytest.mark.parametrize("name", slow_but("cafe"))
def test_a_run_that_was_stopped_goes_on_where_it_was(name, tmp_path):
    """In the middle of the iterations that share a network, under batch norm."""
    data, whole, parts = make_data((6, 7)), tmp_path / "whole", tmp_path / "parts"
    config = config_of(name, network__norm="batch")
    distill(config, whole, data=data)
    distill(config, parts, data=data, callbacks=[StopAt(2)])
    middle = final_state(parts)
    assert middle["iteration"] == 2
    kept = [values for key, values in middle.items() if "/network/" in key]
    assert len(kept) == 8 and all(np.abs(values).max() > 0 for values in kept)
    if name.startswith("cafe"):  # the latest two of three accuracies come from before
        assert middle["method/steps"] == 2 and middle["method/recent"].shape == (3,)
    distill(config, parts, data=data, resume=True)
    assert_same_run(whole, parts)
    assert np.abs(final_state(whole)["images"] - middle["images"]).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name in NAMES if METHODS[name].shares == "classes"]
)
def test_two_replicas_are_as_one(name, tmp_path, compiled):
    strategy, data = two_replicas(), make_data()
    average = {"distillation__ema_decay": 0.5, "distillation__iterations": 3}
    config = config_of(name, network__norm="layer", **average)
    distill(config, tmp_path / "one", data=data)
    distill(config, tmp_path / "two", data=data, strategy=strategy)
    assert_nearly_same_run(tmp_path / "one", tmp_path / "two")
    state = final_state(tmp_path / "two")
    assert np.abs(state["images/momentum"]).max() > 1e-3
    assert np.abs(state["method/network/conv_1/kernel"]).max() > 0


@pytest.mark.parametrize("name", slow_but("dc"))
@pytest.mark.parametrize(
    "network",
    ["mlp", "vit", "nasbench201", pytest.param("resnet18_ap", marks=pytest.mark.slow)],
)
def test_other_networks(name, network):
    """Without spatial maps, of attention, with batch norm, of residual blocks."""
    shape = (16, 20, 3)
    depth = None if network == "resnet18_ap" else 1
    config = tiny_config(network__name=network, method__name=name, network__depth=depth)
    generator = np.random.default_rng(0)
    images = generator.standard_normal((2, 2, *shape)).astype(np.float32)
    real = generator.integers(0, 256, (2, 4, *shape)).astype(np.uint8)
    distiller = create_distiller(images, config, keras.layers.Identity())
    data = make_data((6, 7), channels=3, size=20)
    train = Split(data.train.images[:, :16], data.train.labels, data.train.offsets)
    distiller.method.inputs(dataclasses.replace(data, train=train), 0, 1)
    batches = (
        ClassBatch(tf.constant([k]), tf.constant(real[k : k + 1])) for k in range(2)
    )
    gradients, losses = distiller.method.gradients(
        distiller.synthetic, batches, tf.constant(0, tf.int64)
    )
    gradient = tf.convert_to_tensor(gradients["images"]).numpy()
    assert all(np.isfinite(loss) for loss in losses.values())
    assert np.isfinite(gradient).all()
    assert (np.abs(gradient).max(axis=(1, 2, 3)) > 1e-6).all()
