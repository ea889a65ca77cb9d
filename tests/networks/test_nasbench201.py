"""Networks of NAS-Bench-201: sizes worked out by hand, and a NumPy forward pass."""

import keras
import numpy as np
import pytest
import scipy.signal
import tensorflow as tf

from dam_tf import networks
from dam_tf.base.errors import UserError
from dam_tf.config.cells import (
    EDGES,
    RESIDUAL_CELL,
    cell_text,
    parse_cell,
)
from dam_tf.config.sections import NetworkConfig

EVERY_OPERATION = (
    "|nor_conv_3x3~0|+|avg_pool_3x3~0|skip_connect~1|"
    "+|nor_conv_1x1~0|none~1|nor_conv_3x3~2|"
)


def create(cell, shape=(8, 8, 3), depth=1, width=16, **settings):
    config = NetworkConfig(cell=cell, depth=depth, width=width, **settings)
    return networks.create("nasbench201", shape, 4, config)


def draw(network, seed):
    """Random weights, scales and shifts of norms and statistics included."""
    generator = np.random.default_rng(seed)
    for variable in network.variables:
        values = generator.normal(size=variable.shape) * 0.5
        variable.assign(np.abs(values) + 0.5 if "variance" in variable.path else values)


def values(network):
    return {variable.path: variable.numpy() for variable in network.variables}


class Oracle:
    """The forward pass at test time, in NumPy, from the paper's section 2."""

    def __init__(self, weights, operations):
        self.weights, self.operations = weights, operations

    def convolve(self, x, name, stride=1):
        kernel = self.weights[f"{name}/kernel"]
        side = len(kernel) // 2
        x = np.pad(x, [(0, 0), (side, side), (side, side), (0, 0)])
        planes = [
            sum(
                scipy.signal.correlate(x[..., i], kernel[None, :, :, i, o], "valid")
                for i in range(kernel.shape[2])
            )
            for o in range(kernel.shape[3])
        ]
        return np.stack(planes, axis=-1)[:, ::stride, ::stride]

    def norm(self, x, name):
        w = {key: self.weights[f"{name}/{key}"] for key in ("gamma", "beta")}
        mean, variance = (
            self.weights[f"{name}/moving_{key}"] for key in ("mean", "variance")
        )
        return (x - mean) / np.sqrt(variance + 1e-5) * w["gamma"] + w["beta"]

    def relu_conv_norm(self, x, name, stride=1):
        x = self.convolve(np.maximum(x, 0), f"{name}_conv", stride)
        return self.norm(x, f"{name}_norm")

    def average(self, x):
        """Over 3x3 places, of which those outside do not count."""
        total, count = np.zeros_like(x), np.zeros_like(x)
        height, width = x.shape[1:3]
        padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
        ones = np.pad(np.ones_like(x), [(0, 0), (1, 1), (1, 1), (0, 0)])
        for row in range(3):
            for column in range(3):
                there = np.s_[:, row : row + height, column : column + width]
                total, count = total + padded[there], count + ones[there]
        return total / count

    def operation(self, kind, x, name):
        return {
            "none": lambda: 0 * x,
            "skip_connect": lambda: x,
            "avg_pool_3x3": lambda: self.average(x),
            "nor_conv_1x1": lambda: self.relu_conv_norm(x, name),
            "nor_conv_3x3": lambda: self.relu_conv_norm(x, name),
        }[kind]()

    def cell(self, x, name):
        nodes = [x, 0, 0, 0]
        for (start, end), kind in zip(EDGES, self.operations, strict=True):
            edge = f"{name}_edge_{start}_{end}"
            nodes[end] = nodes[end] + self.operation(kind, nodes[start], edge)
        return nodes[3]

    def halve(self, x, name):
        means = x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]
        shortcut = self.convolve(means / 4, f"{name}_shortcut")
        x = self.relu_conv_norm(x, f"{name}_1", stride=2)
        return self.relu_conv_norm(x, f"{name}_2") + shortcut

    def __call__(self, x, depth):
        x = self.norm(self.convolve(x, "stem"), "stem_norm")
        for stage in (1, 2, 3):
            if stage > 1:
                x = self.halve(x, f"stage_{stage}_halving")
            for number in range(1, depth + 1):
                x = self.cell(x, f"stage_{stage}_cell_{number}")
        x = np.maximum(self.norm(x, "norm"), 0).mean(axis=(1, 2))
        return x @ self.weights["logits/kernel"] + self.weights["logits/bias"]


@pytest.mark.parametrize(("cell", "depth"), [(EVERY_OPERATION, 2), (RESIDUAL_CELL, 1)])
def test_forward_pass(cell, depth, rng):
    network = create(cell, depth=depth)
    draw(network, 1)
    images = rng.normal(size=(2, 8, 8, 3)).astype(np.float32)
    oracle = Oracle(values(network), parse_cell(cell))
    expected = oracle(images.astype(np.float64), depth)
    scale = np.abs(expected).max()
    assert scale > 0.1
    np.testing.assert_allclose(network(images), expected, atol=1e-4 * scale)


# The stem has 3 x 16 x 9 weights and a norm's 2 x 16. A residual block to c
# channels has 9 c/2 c + 9 c c + c/2 c and two norms' 2 c each. The last norm has
# 2 x 64 and the classifier 64 x 10 + 10.
_SKELETON = (432 + 32) + (14_336 + 128) + (57_344 + 256) + 128 + 650


@pytest.mark.parametrize(
    ("operation", "depth", "count"),
    [
        ("none", 1, _SKELETON),
        ("skip_connect", 2, _SKELETON),
        ("avg_pool_3x3", 1, _SKELETON),
        # For c = 16, 32 and 64: c c (or 9 c c) and 2 c, on 6 edges of each cell.
        ("nor_conv_1x1", 2, _SKELETON + 12 * (5376 + 224)),
        ("nor_conv_3x3", None, _SKELETON + 30 * (48_384 + 224)),
    ],
)
def test_sizes(operation, depth, count):
    """The least and the largest are 0.073306 and 1.531546 million, as published."""
    config = NetworkConfig(cell=cell_text([operation] * 6), depth=depth)
    network = networks.create("nasbench201", (32, 32, 3), 10, config)
    assert sum(int(np.prod(v.shape)) for v in network.trainable_variables) == count
    assert _SKELETON == 73_306 and _SKELETON + 30 * (48_384 + 224) == 1_531_546


def cell_of(network, name):
    """The function from the input of a cell to its output."""
    first = network.get_layer("stem_norm").output
    last = network.get_layer(name).output
    return keras.Model(first, last)


def test_a_cell_of_ways_through_is_four_times_its_input(rng):
    """There are 1 + 1 + 2 paths: 0-3, 0-1-3, 0-2-3 and 0-1-2-3."""
    network = create(cell_text(["skip_connect"] * 6))
    x = rng.normal(size=(1, 8, 8, 2)).astype(np.float32)
    np.testing.assert_allclose(cell_of(network, "tap_1")(x), 4 * x, rtol=1e-6)


def test_a_cell_of_nothing_is_zero(rng):
    network = create(cell_text(["none"] * 6))
    x = rng.normal(size=(1, 8, 8, 2)).astype(np.float32)
    assert not np.any(cell_of(network, "tap_1")(x))


def test_nodes_may_change_their_names(rng):
    """Nodes 1 and 2 of a cell, between which nothing runs, exchanged."""
    a, b = "nor_conv_3x3", "nor_conv_1x1"
    one = create(cell_text([a, b, "none", "skip_connect", "avg_pool_3x3", a]))
    other = create(cell_text([b, a, "none", "skip_connect", a, "avg_pool_3x3"]))
    draw(one, 3)
    moved = {"edge_0_1": "edge_0_2", "edge_0_2": "edge_0_1", "edge_2_3": "edge_1_3"}
    theirs = {variable.path: variable for variable in other.variables}
    for path, value in values(one).items():
        for edge, its in moved.items():
            if edge in path:
                path = path.replace(edge, its)
                break
        theirs.pop(path).assign(value)
    assert not theirs
    images = rng.normal(size=(2, 8, 8, 3)).astype(np.float32)
    expected = one(images).numpy()
    assert expected.std() > 0.1
    np.testing.assert_allclose(other(images), expected, rtol=1e-4, atol=1e-5)


def test_what_leads_nowhere_is_trained_with_gradient_zero(rng):
    """Node 1 convolves, but nothing leads on from there."""
    operations = ["nor_conv_3x3", "none", "none", "skip_connect", "none", "none"]
    network = create(cell_text(operations))
    with tf.GradientTape() as tape:
        outputs = network(rng.normal(size=(2, 8, 8, 3)), training=True)
        loss = tf.reduce_sum(outputs**2)
    gradients = tape.gradient(loss, network.trainable_variables)
    for variable, gradient in zip(network.trainable_variables, gradients, strict=True):
        assert np.any(gradient) != ("edge_0_1" in variable.path), variable.path


def test_odd_sides_are_halved_and_rounded_up():
    network = create(EVERY_OPERATION, shape=(7, 5, 1))
    shapes = [network.get_layer(f"tap_{k}").output.shape[1:3] for k in (1, 2, 3)]
    assert shapes == [(7, 5), (4, 3), (2, 2)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cell": "|none~0|"}, "no cell of NAS-Bench-201"),
        ({"cell": None, "pooling": "avg"}, "nasbench201 has no pooling"),
        ({"cell": None, "norm": "group"}, "4 groups"),
    ],
)
def test_what_it_cannot_be_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        create(**settings)
