"""Each architecture against PyTorch, its maps, and what it refuses.

ConvNet and ViT have tests of their own beside these; sizes are in
`test_parameter_counts.py`.
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
