"""Networks of generators for every shape of the catalog, and their random weights."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.augmentation import dsa
from dam_tf.config.sections import AugmentationConfig
from dam_tf.generators import networks
from dam_tf.generators.layers import SpectralConv
from dam_tf.generators.varying import draw_all

SHAPES = [(8, 8, 1), (28, 28, 1), (32, 32, 3), (64, 64, 3), (33, 50, 2), (5, 4, 1)]
LABELS = tf.constant([2, 0])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    "make", [networks.convolutional_generator, networks.residual_generator]
)
def test_a_generator_makes_images(make, shape):
    network = make(shape, 3, 6, 2)
    networks.draw_weights(network, 0, 0)
    images = network([tf.random.stateless_normal([2, 6], [0, 1]), LABELS])
    assert images.shape == (2, *shape)
    assert float(tf.reduce_max(tf.abs(images))) <= 1
    assert float(tf.math.reduce_std(images[0] - images[1])) > 0


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_discriminators_answer(shape):
    images = tf.random.stateless_normal([2, *shape], [0, 1])
    plain = networks.convolutional_discriminator(shape, 3, 2, outputs=4)
    assert plain([images, LABELS]).shape == (2, 4)
    network = networks.residual_discriminator(shape, 3, 4, contrast=5)
    networks.draw_weights(network, 0, 0)
    answers, *vectors = network([images, LABELS])
    assert answers.shape == (2,)
    for vector in vectors:
        assert vector.shape == (2, 5)
        np.testing.assert_allclose(tf.norm(vector, axis=1), 1, rtol=1e-5)
    assert networks.residual_discriminator(shape, 3, 4)([images, LABELS]).shape == (2,)


def test_two_blocks_halve_the_maps_and_two_more_follow():
    network = networks.residual_discriminator((32, 32, 3), 3, 4)
    layers = [one for one in network.layers if isinstance(one, SpectralConv)]
    sides = collections.Counter(one.output.shape[1] for one in layers)
    assert sides == {32: 2, 16: 3, 8: 5}, "beside a halving block is one of 1x1"


def test_weights_are_a_function_of_seed_and_number():
    def values(seed, number):
        network = networks.residual_generator((8, 8, 1), 3, 64, 16)
        networks.draw_weights(network, seed, number)
        return {v.path: v.numpy() for v in network.variables}, network

    first, network = values(3, 0)
    for name, value in values(3, 0)[0].items():
        matching = [
            v for k, v in first.items() if k.split("/")[-1] == name.split("/")[-1]
        ]
        assert any(np.array_equal(value, other) for other in matching)
    kernels = [v.numpy() for v in network.variables if v.name == "kernel"]
    for other in values(4, 0), values(3, 1):
        again = [v.numpy() for v in other[1].variables if v.name == "kernel"]
        assert all((a != b).any() for a, b in zip(kernels, again, strict=True))
    same_shape = [k for k in kernels if k.shape == (3, 3, 16, 16)]
    assert (same_shape[0] != same_shape[1]).any(), "each has numbers of its own"
    assert np.std(np.concatenate([k.ravel() for k in kernels])) == pytest.approx(
        0.02, rel=0.05
    )
    constant = {"gamma": 1, "moving_variance": 1, "bias": 0}
    for variable in network.variables:
        if variable.name in constant:
            assert (variable.numpy() == constant[variable.name]).all()


def test_every_operation_is_done_to_every_image():
    """They are those of DSA, one after the other, with strengths for each image."""
    config = AugmentationConfig()
    images = tf.random.stateless_uniform([64, 16, 16, 2], [1, 2], 1.0, 2.0)
    drawn = draw_all(
        tf.constant([3, 4]), 64, (16, 16), config, ("color", "crop", "cutout")
    )
    same = dsa.identity(64)
    expected = images
    for fields in (("warp",), ("brightness", "saturation", "contrast"), ("hole",)):
        some = {field: getattr(drawn, field) for field in fields}
        assert all(len(np.unique(v.numpy(), axis=0)) > 8 for v in some.values())
        expected = dsa.apply(expected, same._replace(**some))
    found = dsa.apply(images, drawn)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    holes = (found.numpy() == 0).all(3).sum((1, 2))
    assert (holes >= 16).all()
