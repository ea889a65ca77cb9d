"""Distances of gradients, against the PyTorch code's formula in NumPy's float64."""

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.config.sections import NetworkConfig
from dam_tf.methods.gradient_distance import DISTANCES, inputs_of
from dam_tf.networks.functional import FunctionalNetwork


def of_torch(real, synthetic):
    """`distance_wb` of the DC/DSA/DM code, of gradients in PyTorch's layout."""
    total = 0.0
    for one, other in zip(real, synthetic, strict=True):
        if one.ndim > 1:
            one, other = (g.reshape(g.shape[0], -1) for g in (one, other))
            norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
            total += (1 - (one * other).sum(axis=1) / (norms + 1e-6)).sum()
    return total


def to_tensorflow(gradient):
    """[out, in, kh, kw] as [kh, kw, in, out], [out, in] as [in, out]."""
    if gradient.ndim == 4:
        gradient = gradient.transpose(2, 3, 1, 0)
    elif gradient.ndim == 2:
        gradient = gradient.T
    return tf.constant(gradient, tf.float32)


# Of a convolution of 2 channels to 5, an instance norm and a classifier of 3.
SHAPES = [(5, 2, 3, 3), (5,), (5,), (5,), (3, 20), (3,)]
INPUTS = [18, None, None, None, 20, None]


@pytest.fixture
def pair(rng):
    return [[rng.normal(size=shape) for shape in SHAPES] for _ in range(2)]


def distance(kind, real, synthetic):
    real, synthetic = (list(map(to_tensorflow, g)) for g in (real, synthetic))
    return float(DISTANCES[kind](real, synthetic, INPUTS))


class TestRows:
    def test_equals_the_pytorch_code(self, pair):
        assert distance("rows", *pair) == pytest.approx(of_torch(*pair), rel=1e-5)

    def test_equal_gradients_are_no_distance_apart(self, pair):
        assert distance("rows", pair[0], pair[0]) == pytest.approx(0, abs=1e-5)

    def test_neither_lengths_nor_biases_matter(self, pair, rng):
        real, synthetic = pair
        other = [
            gradient * rng.uniform(0.5, 2, (len(gradient), *[1] * (gradient.ndim - 1)))
            if gradient.ndim > 1
            else gradient + 1
            for gradient in synthetic
        ]
        found = distance("rows", real, other)
        assert found == pytest.approx(distance("rows", real, synthetic), rel=1e-4)

    def test_an_output_without_a_gradient_counts_1_and_stays_finite(self):
        """The real one, the synthetic one, or both."""
        real = tf.constant([[2.0, 0.0, 1.0, 0.0], [3.0, 0.0, 1.0, 0.0]])
        kernel = tf.constant([[1.0, 1.0, 0.0, 0.0], [2.0, 1.0, 0.0, 0.0]])

        @tf.function(jit_compile=True)  # where the slope of a root at zero is infinite
        def distance_and_slope():
            with tf.GradientTape() as tape:
                tape.watch(kernel)
                found = DISTANCES["rows"]([real], [kernel], [2])
            return found, tape.gradient(found, kernel)

        found, slope = distance_and_slope()
        assert float(found) == pytest.approx(3 + 1 - 8 / np.sqrt(5 * 13), rel=1e-5)
        slope = slope.numpy()
        assert np.isfinite(slope).all()
        assert (slope[:, 0] != 0).all() and (slope[:, [1, 3]] == 0).all()


def test_one_cosine_and_squares_are_of_all_weights(pair):
    one, other = (np.concatenate([g.ravel() for g in gradients]) for gradients in pair)
    norms = np.linalg.norm(one) * np.linalg.norm(other)
    expected = 1 - one @ other / (norms + 1e-6)
    assert distance("cosine", *pair) == pytest.approx(expected, rel=1e-5)
    assert distance("mse", *pair) == pytest.approx(((one - other) ** 2).sum(), rel=1e-5)


def inputs_by_name(name, **settings):
    config = NetworkConfig(name=name, width=8, **settings)
    network = FunctionalNetwork((8, 8, 1), 3, config)
    inputs = inputs_of(network.weight_names, network.weight_shapes, network.fan_in)
    return dict(zip(network.weight_names, inputs, strict=True))


@pytest.mark.parametrize("initializer", ["uniform", "he_normal"])
def test_what_leads_to_an_output(initializer):
    convnet = inputs_by_name("convnet", depth=2, initializer=initializer)
    assert convnet["conv_1/kernel"] == 9 and convnet["conv_2/kernel"] == 9 * 8
    assert convnet["logits/kernel"] == 2 * 2 * 8
    others = [value for name, value in convnet.items() if "kernel" not in name]
    assert others == [None] * 7
    # Four heads of two values each: eight outputs of queries, eight of the whole.
    vit = inputs_by_name("vit", depth=1, initializer=initializer)
    attention = {n: v for n, v in vit.items() if "attention" in n}
    assert sorted(filter(None, attention.values())) == [8, 8, 8, 8]
    assert len(attention) == 8


def test_scales_of_layer_norm_count_by_channel():
    found = inputs_by_name("convnet", depth=1, norm="layer")
    assert found["norm_1/gamma"] == found["norm_1/beta"] == 8 * 8
