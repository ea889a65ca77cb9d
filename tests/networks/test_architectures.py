"""Each architecture against PyTorch, its size worked out by hand, and what it refuses.

ConvNet and ViT have tests of their own beside these.
"""

import math
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf import networks
from dam_tf.base.errors import UserError
from dam_tf.config.sections import NetworkConfig

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures"
RECORDED = np.load(FIXTURES / "architectures.npz", allow_pickle=False)

# As in CASES of the recording script.
CASES = {
    "alexnet": ("alexnet", NetworkConfig(width=8)),
    "alexnet_grey": ("alexnet", NetworkConfig(width=8, norm="batch")),
    "vgg11": ("vgg11", NetworkConfig(width=4)),
    "vgg11_grey": (
        "vgg11",
        NetworkConfig(width=4, norm="batch", activation="leaky_relu"),
    ),
    "resnet18": ("resnet18", NetworkConfig(width=4)),
    "resnet18_odd": (
        "resnet18",
        NetworkConfig(width=4, norm="batch", activation="swish"),
    ),
    "resnet18_ap": ("resnet18_ap", NetworkConfig(width=4)),
    "resnet18_ap_odd": ("resnet18_ap", NetworkConfig(width=4, norm="batch")),
    "lenet": ("lenet", NetworkConfig(width=32)),
    "lenet_grey": ("lenet", NetworkConfig(width=32, activation="swish")),
    "mlp": ("mlp", NetworkConfig(width=8)),
}
TAPS = {"alexnet": 5, "vgg11": 8, "resnet18": 4, "resnet18_ap": 4, "lenet": 2, "mlp": 2}


class Recorded:
    """One case of the fixture, in TensorFlow's order of axes."""

    def __init__(self, case):
        self._case = case
        shapes = [tuple(side for side in shape if side) for shape in self["shapes"]]
        edges = np.cumsum([math.prod(shape) for shape in shapes])
        weights = np.split(self["weights"], edges[:-1])
        self.weights = {
            str(name): values.reshape(shape)
            for name, values, shape in zip(self["names"], weights, shapes, strict=True)
        }

    def __getitem__(self, name):
        array = RECORDED[f"{self._case}/{name}"]
        return array.astype(np.float32) if array.dtype == np.float16 else array

    def images(self, name):
        return self[name].transpose(0, 2, 3, 1)

    def flattened(self, matrix, reader):
        """Reorders the last axis, if `reader` reads a flattened map, to [h, w, c]."""
        if f"{self._case}/map/{reader}" not in RECORDED:
            return matrix
        maps = matrix.reshape(len(matrix), *self[f"map/{reader}"])
        return maps.transpose(0, 2, 3, 1).reshape(len(matrix), -1)


def set_weights(network, recorded):
    """Sets every weight, by its layer's name."""
    unused = dict(recorded.weights)
    for variable in network.trainable_variables:
        layer, kind = variable.path.split("/")
        name = {"kernel": "weight", "gamma": "weight"}.get(kind, "bias")
        value = unused.pop(f"{layer}.{name}")
        if value.ndim == 4:
            value = value.transpose(2, 3, 1, 0)
        elif value.ndim == 2:
            value = recorded.flattened(value, layer).T
        variable.assign(value)
    assert not unused


def thinned(found):
    """Returns what the fixture keeps of a map: of larger ones every third place."""
    return found[:, ::3, ::3] if found.shape[1] > 4 else found


@pytest.mark.parametrize("case", CASES)
def test_equals_pytorch(case):
    recorded, (name, config) = Recorded(case), CASES[case]
    images = tf.constant(recorded.images("images"))
    network = networks.create(name, images.shape[1:], 5, config)
    set_weights(network, recorded)
    features_and_logits = keras.Model(
        network.inputs[0],
        (networks.registry.feature_extractor(network).output, network.outputs[0]),
    )
    with tf.GradientTape() as tape:
        tape.watch(images)
        features, logits = features_and_logits(images, training=True)
        total = tf.reduce_sum(logits * recorded["direction"])
    assert len(features["taps"]) == TAPS[name]
    for index, tap in enumerate(features["taps"], start=1):
        expected = recorded.images(f"tap_{index}")
        np.testing.assert_allclose(thinned(tap), expected, atol=1e-4)
    expected = recorded.flattened(recorded["embedding"], "logits")
    np.testing.assert_allclose(features["embedding"], expected, atol=1e-4)
    np.testing.assert_allclose(logits, recorded["logits"], atol=1e-4)
    gradient, expected = tape.gradient(total, images), recorded.images("gradient")
    tolerance = 1e-4 * min(1, np.abs(expected).max())
    np.testing.assert_allclose(thinned(gradient), expected, atol=tolerance)


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


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("alexnet", [(32, 24, 8), (16, 12, 12), (8, 6, 16), (8, 6, 12), (8, 6, 12)]),
        ("resnet18", [(32, 24, 4), (16, 12, 8), (8, 6, 16), (4, 3, 32)]),
        ("resnet18_ap", [(32, 24, 4), (16, 12, 8), (8, 6, 16), (4, 3, 32)]),
        ("lenet", [(28, 20, 1), (10, 6, 1)]),
        ("mlp", [(1, 1, 8), (1, 1, 8)]),
        # Patches of 3x3: 32 is padded to 33.
        ("vit", 6 * [(11, 8, 8)]),
    ],
)
def test_taps(name, shapes):
    network = networks.create(name, (32, 24, 3), 4, NetworkConfig(width=8))
    features = networks.registry.feature_extractor(network).output
    assert [tap.shape[1:] for tap in features["taps"]] == shapes
    assert len(features["embedding"].shape) == 2
    assert network.get_layer("logits").output.shape == (None, 4)


@pytest.mark.parametrize(
    ("name", "shape", "place"),
    [
        ("alexnet", (7, 9, 3), "block 5 has nothing to pool"),
        ("vgg11", (31, 32, 3), "block 8 has nothing to pool"),
        ("lenet", (15, 32, 3), "block 2 has nothing to pool"),
        ("lenet", (9, 32, 3), "block 2 has nothing to convolve"),
        ("lenet", (4, 4, 1), "block 1 has nothing to convolve"),
        ("resnet18", (8, 9, 3), "stage 4 leaves a single row or column"),
        ("resnet18_ap", (32, 15, 3), "stage 4 leaves a single row or column"),
        ("resnet18_ap", (2, 2, 1), "stage 2 leaves a single row or column"),
    ],
)
def test_images_too_small(name, shape, place):
    message = f"^{name} is too deep for images of {shape[0]}x{shape[1]}: {place}; .*$"
    with pytest.raises(UserError, match=message):
        networks.create(name, shape, 2, NetworkConfig(width=8))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("alexnet", (8, 8, 3)),
        ("lenet", (16, 16, 3)),
        ("resnet18", (9, 9, 3)),
        ("resnet18_ap", (16, 16, 3)),
        ("mlp", (1, 1, 1)),
        ("vit", (1, 1, 1)),
    ],
)
def test_smallest_images(name, shape):
    network = networks.create(name, shape, 2, NetworkConfig(width=8, depth=2))
    assert np.isfinite(network(tf.ones([1, *shape]))).all()


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("mlp", {"pooling": "avg"}, "mlp has no pooling"),
        ("vit", {"pooling": "max"}, "vit has no pooling"),
        ("resnet18", {"pooling": "avg"}, "'avg' cannot .* resnet18_ap pools"),
        ("resnet18_ap", {"pooling": "none"}, "resnet18, which strides"),
        ("mlp", {"norm": "instance"}, "no positions .* none, batch, layer, group"),
        ("vit", {"norm": "batch"}, "no network.norm 'batch'.* choose layer"),
        ("vit", {"norm": "none"}, "no network.norm 'none'"),
        ("mlp", {"norm": "group", "width": 6}, "do not divide the 6 channels of mlp"),
        (
            "lenet",
            {"norm": "group", "width": 128},
            "4 groups, .* the 6 channels of block 1",
        ),
        ("resnet18", {"norm": "group", "width": 4}, "the 2 channels of resnet18"),
        ("convnet", {"norm": "group", "width": 10}, "the 10 channels of block 1"),
    ],
)
def test_choices_refused(name, config, message):
    with pytest.raises(UserError, match=message):
        networks.create(name, (16, 16, 3), 2, NetworkConfig(**{"width": 8, **config}))
