"""The size of each architecture, worked out by hand."""

import pytest

from dam_tf import networks
from dam_tf.config.sections import NetworkConfig


def conv(inputs, outputs, size, bias=True):
    return inputs * size**2 * outputs + outputs * bias


def dense(inputs, outputs):
    return inputs * outputs + outputs


def residual_stage(inputs, outputs):
    """Two blocks of two 3x3 convolutions and norms, the first with a shortcut."""
    convs = inputs * 9 * outputs + 3 * (outputs * 9 * outputs) + inputs * outputs
    return convs + 5 * (2 * outputs)


RESNET_STAGES = (
    # Stage 1 keeps its 64 channels, and so has no shortcut to convolve.
    (4 * (64 * 9 * 64) + 4 * (2 * 64))
    + residual_stage(64, 128)
    + residual_stage(128, 256)
    + residual_stage(256, 512)
)
# Layers after the first up to the embedding; what reads the images is added below.
ALEXNET = conv(128, 192, 5) + conv(192, 256, 3) + conv(256, 192, 3) + conv(192, 192, 3)
VGG11 = (
    conv(64, 128, 3)
    + conv(128, 256, 3)
    + conv(256, 256, 3)
    + conv(256, 512, 3)
    + 3 * conv(512, 512, 3)
    + 2 * (64 + 128 + 2 * 256 + 4 * 512)  # scales and shifts of the norms
)
RESNET = 2 * 64 + RESNET_STAGES
LENET = conv(6, 16, 5) + dense(5 * 5 * 16, 120) + dense(120, 84)
VIT_BLOCK = 2 * (2 * 128) + 4 * dense(128, 128) + dense(128, 512) + dense(512, 128)
VIT = 6 * VIT_BLOCK + 2 * 128
FREPO = conv(128, 256, 3) + conv(256, 512, 3)
COLOR, GREY = (32, 32, 3), (28, 28, 1)
# Parameters up to the embedding, and the length of that.
PARAMETERS = {
    ("alexnet", COLOR): (conv(3, 128, 5) + ALEXNET, 4 * 4 * 192),
    ("alexnet", GREY): (conv(1, 128, 5) + ALEXNET, 4 * 4 * 192),
    ("vgg11", COLOR): (conv(3, 64, 3) + VGG11, 512),
    ("vgg11", GREY): (conv(1, 64, 3) + VGG11, 512),
    ("resnet18", COLOR): (conv(3, 64, 3, bias=False) + RESNET, 512),
    ("resnet18", GREY): (conv(1, 64, 3, bias=False) + RESNET, 512),
    ("resnet18_ap", COLOR): (conv(3, 64, 3, bias=False) + RESNET, 4 * 4 * 512),
    # Not padded: 28, 14, 7, 3.
    ("resnet18_ap", GREY): (conv(1, 64, 3, bias=False) + RESNET, 3 * 3 * 512),
    ("lenet", COLOR): (conv(3, 6, 5) + LENET, 84),
    ("lenet", GREY): (conv(1, 6, 5) + LENET, 84),
    ("frepo", COLOR): (conv(3, 128, 3) + FREPO, 4 * 4 * 512),
    ("frepo", GREY): (conv(1, 128, 3) + FREPO, 4 * 4 * 512),
    ("mlp", COLOR): (dense(32 * 32 * 3, 128) + dense(128, 128), 128),
    ("mlp", GREY): (dense(28 * 28, 128) + dense(128, 128), 128),
    # Patches of 4x4, and of 3x3.
    ("vit", COLOR): (conv(3, 128, 4) + VIT, 128),
    ("vit", GREY): (conv(1, 128, 3) + VIT, 128),
}


@pytest.mark.parametrize(("name", "shape"), PARAMETERS)
def test_parameter_counts(name, shape):
    """For 10 classes and for 100, which only the classifier sees."""
    parameters, embedding = PARAMETERS[name, shape]
    for classes in (10, 100):
        network = networks.create(name, shape, classes)
        assert network.count_params() == parameters + dense(embedding, classes)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("alexnet", 1_872_202),
        ("vgg11", 9_231_114),
        ("resnet18", 11_173_962),
        ("resnet18_ap", 11_250_762),
        ("lenet", 62_006),
        ("mlp", 411_146),
    ],
)
def test_parameter_counts_of_the_dc_dsa_dm_code(name, parameters):
    assert networks.create(name, COLOR, 10).count_params() == parameters


@pytest.mark.parametrize(
    ("name", "config", "shape", "parameters"),
    [
        # 4, 8, 16 and 32 kernels; no norm, so no scales and shifts.
        (
            "vgg11",
            NetworkConfig(width=8, norm="none"),
            (32, 32, 3),
            conv(3, 4, 3)
            + conv(4, 8, 3)
            + conv(8, 16, 3)
            + conv(16, 16, 3)
            + conv(16, 32, 3)
            + 3 * conv(32, 32, 3)
            + dense(32, 100),
        ),
        # Half of batch norm's numbers are moving averages.
        (
            "lenet",
            NetworkConfig(width=256, norm="batch"),
            (16, 16, 3),
            conv(3, 12, 5)
            + conv(12, 32, 5)
            + 4 * (12 + 32)
            + dense(32, 240)
            + dense(240, 168)
            + dense(168, 100),
        ),
        # 0.4 kernels are one, and 1.
        (
            "lenet",
            NetworkConfig(width=8),
            (16, 16, 3),
            conv(3, 1, 5) + conv(1, 1, 5) + dense(1, 8) + dense(8, 5) + dense(5, 100),
        ),
        # Three layers, with a weight of layer norm for each unit.
        (
            "mlp",
            NetworkConfig(width=16, depth=3, norm="layer"),
            (8, 8, 1),
            dense(64, 16) + 2 * dense(16, 16) + 3 * 2 * 16 + dense(16, 100),
        ),
        # Unpooled: 16x16 places of 12 channels.
        (
            "alexnet",
            NetworkConfig(width=8, pooling="none"),
            (16, 16, 3),
            conv(3, 8, 5)
            + conv(8, 12, 5)
            + conv(12, 16, 3)
            + conv(16, 12, 3)
            + conv(12, 12, 3)
            + dense(16 * 16 * 12, 100),
        ),
        # 4, 8 and 16 kernels; the first block has no norm, the others' have 4 vectors.
        (
            "frepo",
            NetworkConfig(width=4, norm="batch"),
            (32, 32, 3),
            conv(3, 4, 3)
            + (4 * 4 + conv(4, 8, 3))
            + (4 * 8 + conv(8, 16, 3))
            + dense(4 * 4 * 16, 100),
        ),
        # 3x3 pooling rounds up: 25, 13, 7, 4. Stages of 4, 8, 16 and 32.
        (
            "resnet18_ap",
            NetworkConfig(width=8, pooling="max", pooling_size=3),
            (25, 25, 3),
            (conv(3, 4, 3, bias=False) + 2 * 4)
            + (4 * (4 * 9 * 4) + 4 * (2 * 4))
            + residual_stage(4, 8)
            + residual_stage(8, 16)
            + residual_stage(16, 32)
            + dense(4 * 4 * 32, 100),
        ),
    ],
)
def test_parameter_counts_of_choices(name, config, shape, parameters):
    """With 100 classes."""
    assert networks.create(name, shape, 100, config).count_params() == parameters
