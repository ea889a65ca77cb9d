"""Networks without weights, and what networks take, against sums by hand."""

import keras
import pytest

from dam_tf import networks
from dam_tf.base.errors import UserError
from dam_tf.base.machine import process_bytes
from dam_tf.config.sections import NetworkConfig
from dam_tf.networks.memory import (
    halves,
    memory_of,
    network_memory,
    sizes_below,
    sketch,
)
from dam_tf.networks.registry import ARCHITECTURES, tap_names


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_a_sketch_is_the_network_without_values(name):
    config = NetworkConfig(name, width=8)
    drawn, real = (make((32, 48, 3), 4) for make in makers(name, config))
    assert [layer.name for layer in drawn.layers] == [one.name for one in real.layers]
    for ours, theirs in zip(drawn.variables, real.variables, strict=True):
        assert (ours.path, ours.shape) == (theirs.path, theirs.shape)
    assert tap_names(drawn) == tap_names(real)
    assert memory_of(drawn) == memory_of(real)


def makers(name, config):
    yield lambda shape, classes: sketch(shape, classes, config)
    yield lambda shape, classes: networks.create(name, shape, classes, config)


def test_a_sketch_takes_no_memory_then_or_later():
    """The mlp's weights of such images take 9 GB; Keras must not make them late."""
    before = process_bytes("VmHWM")
    network = network_memory((2000, 3000, 3), 2, NetworkConfig("mlp"))
    assert network.weights == pytest.approx(4 * 128 * 18_000_000, rel=0.01)
    with keras.StatelessScope():  # when it is left, Keras makes what is still to make
        pass
    assert process_bytes("VmHWM") - before < 200_000_000


def test_maps_of_a_convnet_by_hand():
    """Two blocks at 8x8: convolution, norm, activation of 4 maps each; pooling."""
    found = network_memory((8, 8, 3), 2, NetworkConfig(width=4, depth=2))
    block = 3 * 4  # maps of a block, before pooling
    values = 8 * 8 * (3 + block + 4 / 4) + 4 * 4 * (block + 4 / 4) + 2 * 2 * 4 + 2
    assert found.maps == 4 * values
    assert found.pass_through == 4 * 8 * 8 * (4 + 4)
    weights = 9 * 3 * 4 + 4 + 9 * 4 * 4 + 4 + 2 * 2 * 4 + 16 * 2 + 2
    assert found.weights == 4 * weights


def test_what_a_network_refuses_its_sketch_refuses():
    with pytest.raises(UserError, match="vgg11 is too deep"):
        network_memory((8, 8, 1), 2, NetworkConfig("vgg11"))


def test_choices_come_from_large_to_small():
    assert sizes_below((2000, 3000, 3))[0] == 1024 and sizes_below((8, 99, 1)) == []
    assert halves(256) == [128, 64, 32, 16, 8, 4, 2, 1] and halves(1) == []
