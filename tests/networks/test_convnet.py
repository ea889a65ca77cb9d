"""ConvNet against features recorded from PyTorch, and its size worked out by hand."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from dam_tf import networks
from dam_tf.base.errors import UserError
from dam_tf.config.sections import NetworkConfig
from dam_tf.networks.architectures.convnet import default_depth

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures"
RECORDED = np.load(FIXTURES / "networks.npz", allow_pickle=False)

# As in NETWORKS of the recording script.
CASES = {
    "instance": NetworkConfig(width=8, depth=3),
    "batch": NetworkConfig(width=8, depth=2, norm="batch"),
    "layer": NetworkConfig(width=8, depth=2, norm="layer", activation="leaky_relu"),
    "group": NetworkConfig(width=8, depth=2, norm="group", activation="swish"),
    "none": NetworkConfig(width=8, depth=2, norm="none", activation="sigmoid"),
    "grey": NetworkConfig(width=8, depth=3),
    "max": NetworkConfig(width=8, depth=2, pooling="max"),
    "unpooled": NetworkConfig(width=8, depth=2, norm="batch", pooling="none"),
}


class Recorded:
    """One case of the fixture, in TensorFlow's order of axes."""

    def __init__(self, case):
        self._case = case

    def __getitem__(self, name):
        array = RECORDED[f"{self._case}/{name}"]
        return array.astype(np.float32) if array.dtype == np.float16 else array

    def __contains__(self, name):
        return f"{self._case}/{name}" in RECORDED

    def images(self, name):
        return self[name].transpose(0, 2, 3, 1)

    def flattened(self, matrix):
        """Reorders the last axis, flattened [c, h, w], to flattened [h, w, c]."""
        maps = matrix.reshape(len(matrix), *self["embedding_shape"])
        return maps.transpose(0, 2, 3, 1).reshape(len(matrix), -1)


def set_weights(network, recorded, depth):
    for block in range(depth):
        conv = network.get_layer(f"conv_{block + 1}")
        conv.kernel.assign(recorded[f"convs/{block}/weight"].transpose(2, 3, 1, 0))
        conv.bias.assign(recorded[f"convs/{block}/bias"])
        if f"norms/{block}/weight" in recorded:
            norm = network.get_layer(f"norm_{block + 1}")
            for variable, name in ((norm.gamma, "weight"), (norm.beta, "bias")):
                value = recorded[f"norms/{block}/{name}"]
                if value.ndim == 3:
                    value = value.transpose(1, 2, 0)
                variable.assign(value)
    logits = network.get_layer("logits")
    logits.kernel.assign(recorded.flattened(recorded["classifier/weight"]).T)
    logits.bias.assign(recorded["classifier/bias"])


@pytest.mark.parametrize("case", CASES)
def test_equals_pytorch(case):
    recorded, config = Recorded(case), CASES[case]
    images = tf.constant(recorded.images("images"))
    network = networks.create("convnet", images.shape[1:], 5, config)
    set_weights(network, recorded, config.depth)
    extractor = networks.registry.feature_extractor(network)
    with tf.GradientTape() as tape:
        tape.watch(images)
        features = extractor(images, training=True)
        logits = network(images, training=True)
        total = tf.reduce_sum(logits * recorded["direction"])
    for index, tap in enumerate(features["taps"], start=1):
        expected = recorded.images(f"tap_{index}")
        np.testing.assert_allclose(tap[:, ::3, ::3], expected, atol=1e-4)
    assert len(features["taps"]) == config.depth
    expected = recorded.flattened(recorded["embedding"])
    np.testing.assert_allclose(features["embedding"], expected, atol=1e-4)
    np.testing.assert_allclose(logits, recorded["logits"], atol=1e-4)
    gradient = tape.gradient(total, images)[:, ::3, ::3]
    np.testing.assert_allclose(gradient, recorded.images("gradient"), atol=1e-4)


@pytest.mark.parametrize(
    ("parameters", "shape", "classes", "config"),
    [
        # 3*9*128+128, twice 128*9*128+128, 3*2*128, (4*4*128)*10+10.
        (320_010, (32, 32, 3), 10, NetworkConfig()),
        # One channel: 9*128+128 first; 28x28 becomes 32x32, so the rest stays.
        (317_706, (28, 28, 1), 10, NetworkConfig()),
        # Grey images of another size are not padded: (2*2*128)*10+10.
        (302_346, (16, 16, 1), 10, NetworkConfig()),
        # One more block above 32x32: 3*147584, 4*2*128, (4*4*128)*200+200.
        (857_160, (64, 64, 3), 200, NetworkConfig()),
        # And five above 64x64.
        (615_690, (128, 128, 3), 10, NetworkConfig()),
        # 896 + 2*32 + (16*16*32)*10+10.
        (82_890, (32, 32, 3), 10, NetworkConfig(depth=1, width=32)),
        # 1792 + 36928 + 2*4*64, of which half are moving, + (8*8*64)*10+10.
        (80_202, (32, 32, 3), 10, NetworkConfig(depth=2, width=64, norm="batch")),
        # 7168 + 2*590080 + (4*4*256)*10+10.
        (1_228_298, (32, 32, 3), 10, NetworkConfig(width=256, norm="none")),
        # 1792 + 2*36928 + 3*2*64 + (4*4*64)*10+10: groups share no weights.
        (86_282, (32, 32, 3), 10, NetworkConfig(width=64, norm="group")),
        # 896 + 9248 + 2*(32*32*32 + 16*16*32): a weight for each element; + 20490.
        (112_554, (32, 32, 3), 10, NetworkConfig(depth=2, width=32, norm="layer")),
        # 320 + (8*8*32)*2+2.
        (
            4_418,
            (8, 8, 1),
            2,
            NetworkConfig(depth=1, width=32, norm="none", pooling="none"),
        ),
        # 896 + 3*9248 + 4*2*32 + (2*2*32)*10+10.
        (30_186, (32, 32, 3), 10, NetworkConfig(depth=4, width=32)),
        # 3584 + 4*147584 + 5*2*128 + (1*1*128)*100+100.
        (608_100, (32, 32, 3), 100, NetworkConfig(depth=5)),
        # 7168 + 5*590080 + 6*2*256 + (1*1*256)*10+10; six halvings need 64x64.
        (2_963_210, (64, 64, 3), 10, NetworkConfig(depth=6, width=256)),
        # 7 pools to 3 and then to 1: 896 + 9248 + 2*2*32 + (1*1*32)*3+3.
        (10_371, (7, 7, 3), 3, NetworkConfig(depth=2, width=32, pooling="max")),
    ],
)
def test_parameter_counts(parameters, shape, classes, config):
    network = networks.create("convnet", shape, classes, config)
    assert network.count_params() == parameters


@pytest.mark.parametrize("kind", ["avg", "max"])
@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("side", [6, 7])
def test_pooling_halves_whatever_its_size(kind, size, side):
    """The windows overlap, and at the border hold fewer pixels."""
    config = NetworkConfig(width=2, depth=1, pooling=kind, pooling_size=size)
    network = networks.create("convnet", (side, side, 3), 2, config)
    x = np.random.default_rng(0).normal(size=(1, side, side, 2)).astype(np.float32)
    pooled = network.get_layer("pool_1")(x).numpy()
    halved = side // 2 if size == 2 else -(-side // 2)
    assert pooled.shape == (1, halved, halved, 2)
    # TensorFlow's rule: what is missing is split, the odd pixel at the end.
    missing = max((halved - 1) * 2 + size - side, 0)
    reduce = {"avg": np.mean, "max": np.max}[kind]
    for row, column in np.ndindex(halved, halved):
        top, left = (2 * place - missing // 2 for place in (row, column))
        window = x[0, max(top, 0) : top + size, max(left, 0) : left + size]
        expected = reduce(window, axis=(0, 1))
        np.testing.assert_allclose(pooled[0, row, column], expected, atol=1e-6)


def test_default_depth():
    depths = {4: 1, 7: 1, 8: 2, 15: 2, 16: 3, 28: 3, 32: 3}
    depths |= {33: 4, 64: 4, 65: 5, 128: 5, 224: 5}
    assert {side: default_depth((side, 300, 3)) for side in depths} == depths
    assert {side: default_depth((300, side, 1)) for side in depths} == depths


def test_taps_lie_before_pooling():
    network = networks.create("convnet", (32, 24, 3), 4, NetworkConfig(width=6))
    features = networks.registry.feature_extractor(network)(tf.zeros([2, 32, 24, 3]))
    shapes = [tuple(tap.shape) for tap in features["taps"]]
    assert shapes == [(2, 32, 24, 6), (2, 16, 12, 6), (2, 8, 6, 6)]
    assert features["embedding"].shape == (2, 4 * 3 * 6)
    assert network(tf.zeros([2, 32, 24, 3])).shape == (2, 4)


def test_more_than_nine_taps_are_in_order():
    config = NetworkConfig(width=2, depth=11, pooling="none", norm="none")
    network = networks.create("convnet", (3, 3, 1), 2, config)
    taps = networks.registry.feature_extractor(network).output["taps"]
    names = [tap._keras_history.operation.name for tap in taps]
    assert names == [f"tap_{block}" for block in range(1, 12)]


def test_features_share_the_weights():
    network = networks.create("convnet", (8, 8, 1), 2, NetworkConfig(width=4))
    extractor = networks.registry.feature_extractor(network)
    network.get_layer("conv_1").bias.assign_add(tf.ones([4]))
    network.get_layer("norm_1").gamma.assign(tf.zeros([4]))
    network.get_layer("norm_1").beta.assign(tf.fill([4], 3.0))
    tap = extractor(tf.zeros([1, 8, 8, 1]))["taps"][0]
    np.testing.assert_array_equal(tap, np.full([1, 8, 8, 4], 3.0))


def test_unknown_network_names_the_nearest():
    with pytest.raises(UserError, match=r"'convnt' \(did you mean 'convnet'\?\)"):
        networks.create("convnt", (32, 32, 3), 10)


@pytest.mark.parametrize(
    ("shape", "depth", "block"),
    [((8, 8, 3), 4, 4), ((32, 2, 3), 2, 2), ((16, 128, 1), 9, 5), ((128, 9, 3), 5, 4)],
)
def test_too_deep(shape, depth, block):
    """What is proposed works; a block more does not."""
    message = (
        f"^network.depth {depth} is too deep for images of {shape[0]}x{shape[1]}: "
        f"block {block} has nothing to pool; give --set=network.depth={block - 1} or "
        r"larger images \(--image_size\)$"
    )
    networks.create("convnet", shape, 2, NetworkConfig(width=4, depth=block - 1))
    with pytest.raises(UserError, match=message):
        networks.create("convnet", shape, 2, NetworkConfig(width=4, depth=depth))
