"""The vision transformer against a forward pass in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from dam_tf import networks
from dam_tf.config.sections import NetworkConfig
from dam_tf.networks.architectures.vit import GridPositions


def layer_norm(x, weights, name):
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6)
    return centred / deviation * weights[f"{name}/gamma"] + weights[f"{name}/beta"]


def attend(x, weights, name):
    """Each image and head in turn; `x` is [batch, tokens, width]."""
    output = np.zeros_like(x) + weights[f"{name}/attention_output/bias"]
    heads = weights[f"{name}/query/kernel"].shape[1]
    for image in range(len(x)):
        for head in range(heads):
            query, key, value = (
                x[image] @ weights[f"{name}/{part}/kernel"][:, head]
                + weights[f"{name}/{part}/bias"][head]
                for part in ("query", "key", "value")
            )
            scores = np.exp(query @ key.T / np.sqrt(query.shape[-1]))
            scores /= scores.sum(axis=1, keepdims=True)
            kernel = weights[f"{name}/attention_output/kernel"][head]
            output[image] += scores @ value @ kernel
    return output


def positions(rows, columns, width):
    """Channel by channel, from the description in the paper's code."""
    table = np.zeros([rows, columns, width])
    quarter = width // 4
    for i in range(quarter):
        omega = 1 / 10_000 ** (i / (quarter - 1))
        for y in range(rows):
            for x in range(columns):
                table[y, x, i] = np.sin(x * omega)
                table[y, x, quarter + i] = np.cos(x * omega)
                table[y, x, 2 * quarter + i] = np.sin(y * omega)
                table[y, x, 3 * quarter + i] = np.cos(y * omega)
    return table


ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "swish": lambda x: x / (1 + np.exp(-x)),
}


def forward(images, patch, weights, depth, activation):
    """Returns taps, embedding and logits of images whose sides `patch` divides."""
    batch, height, width, _ = images.shape
    rows, columns = height // patch, width // patch
    kernel = weights["patches/kernel"]
    grid = np.zeros([batch, rows, columns, kernel.shape[-1]])
    for y in range(rows):
        for x in range(columns):
            place = np.s_[:, y * patch : (y + 1) * patch, x * patch : (x + 1) * patch]
            grid[:, y, x] = np.tensordot(images[place], kernel, axes=3)
    grid += weights["patches/bias"] + positions(rows, columns, kernel.shape[-1])
    x = grid.reshape(batch, rows * columns, -1)
    taps = []
    for name in (f"block_{block}" for block in range(1, depth + 1)):
        y = layer_norm(x, weights, f"{name}_norm_1")
        x = x + attend(y, weights, f"{name}_attention")
        y = layer_norm(x, weights, f"{name}_norm_2")
        for layer in ("dense_1", "dense_2"):
            kernel, bias = (weights[f"{name}_{layer}/{k}"] for k in ("kernel", "bias"))
            y = y @ kernel + bias
            y = ACTIVATIONS[activation](y) if layer == "dense_1" else y
        x = x + y
        taps.append(x.reshape(batch, rows, columns, -1))
    embedding = layer_norm(x, weights, "norm").mean(axis=1)
    logits = embedding @ weights["logits/kernel"] + weights["logits/bias"]
    return taps, embedding, logits


@pytest.mark.parametrize(
    ("shape", "patch", "width", "activation"),
    [((16, 16, 3), 2, 16, "relu"), ((24, 30, 1), 3, 8, "swish")],
)
def test_equals_numpy(shape, patch, width, activation, rng):
    depth = 2
    config = NetworkConfig(width=width, depth=depth, activation=activation)
    network = networks.create("vit", shape, 5, config)
    weights = {}
    for variable in network.trainable_variables:
        variable.assign(0.3 * rng.standard_normal(variable.shape))
        weights[variable.path] = variable.numpy().astype(np.float64)
    images = rng.standard_normal((2, *shape)).astype(np.float32)
    features = networks.registry.feature_extractor(network)(images)
    expected_taps, embedding, logits = forward(
        images.astype(np.float64), patch, weights, depth, activation
    )
    for found, expected in zip(features["taps"], expected_taps, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(features["embedding"], embedding, atol=1e-4)
    np.testing.assert_allclose(network(images), logits, atol=1e-4)


@pytest.mark.parametrize(
    ("width", "heads"), [(1, 1), (2, 2), (6, 3), (7, 1), (12, 4), (128, 4)]
)
def test_heads_divide_the_width(width, heads):
    config = NetworkConfig(width=width, depth=1)
    network = networks.create("vit", (8, 8, 3), 2, config)
    attention = network.get_layer("block_1_attention")
    assert attention.query_dense.kernel.shape == (width, heads, width // heads)
    assert network(tf.zeros([1, 8, 8, 3])).shape == (1, 2)


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 6, 7])
def test_positions_of_any_number_of_channels(channels):
    """They are those of the next multiple of 4, up to here."""
    whole = GridPositions()(tf.zeros([1, 3, 5, -(-channels // 4) * 4]))
    cut = GridPositions()(tf.zeros([1, 3, 5, channels]))
    np.testing.assert_array_equal(cut, whole[..., :channels])
    assert np.isfinite(whole).all()
    # Places of one image are told apart.
    if channels > 3:
        assert len(np.unique(cut.numpy().reshape(15, channels), axis=0)) == 15
