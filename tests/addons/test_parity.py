"""Our operations against those of tensorflow-addons that they stand for."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_addons as tfa


def rotate(images, parity):
    return tfa.image.rotate(images, parity["angles"], interpolation="bilinear")


def translate(images, parity):
    return tfa.image.translate(images, parity["shifts"], interpolation="bilinear")


def zoom(images, parity):
    """By its general transform: output to source, in pixels from the corner."""
    (x, y), centre = parity["zooms"].T, (images.shape[1] - 1) / 2
    zero = np.zeros_like(x)
    rows = [x, zero, (1 - x) * centre, zero, y, (1 - y) * centre, zero, zero]
    return tfa.image.transform(images, np.stack(rows, axis=1), interpolation="bilinear")


WARPS = {"rotated": rotate, "shifted": translate, "zoomed": zoom}


@pytest.mark.parametrize("name", WARPS)
def test_warps_agree(name, parity):
    theirs = WARPS[name](tf.constant(parity["images"]), parity)
    # Positions are computed in another order, and values are up to 4.
    np.testing.assert_allclose(parity[name], theirs, rtol=0, atol=3e-5)


@pytest.mark.parametrize("name", WARPS)
def test_our_gradient_is_that_of_their_operation(name, parity):
    """<A x, u> = <x, A' u>, with their A and our A' u, for x seen by neither."""
    images = np.random.default_rng(1).standard_normal(parity["images"].shape)
    theirs = WARPS[name](tf.constant(images, tf.float32), parity).numpy()
    axes = (1, 2, 3)
    forward = np.sum(theirs.astype(np.float64) * parity["cotangent"], axes)
    backward = np.sum(images * parity[f"{name}_gradient"].astype(np.float64), axes)
    np.testing.assert_allclose(forward, backward, rtol=1e-4, atol=1e-3)


def test_cutout_agrees(parity):
    images = tf.constant(parity["images"])
    theirs = tfa.image.cutout(images, (16, 16), offset=parity["centres"])
    np.testing.assert_array_equal(parity["cut"], theirs)


@pytest.mark.parametrize("epsilon", [1e-5, 1e-3])
def test_instance_normalization_agrees(epsilon, parity):
    layer = tfa.layers.InstanceNormalization(epsilon=epsilon)
    layer.build(parity["features"].shape)
    layer.set_weights([parity["gamma"], parity["beta"]])
    theirs = layer(parity["features"])
    np.testing.assert_allclose(
        parity[f"normalized_{epsilon}"], theirs, rtol=1e-5, atol=1e-5
    )


def test_sgd_with_weight_decay_agrees_with_sgdw(parity):
    """Keras multiplies its decay by the learning rate, tensorflow-addons does not."""
    rate, decay = map(float, parity["rate_decay"])
    optimizer = tfa.optimizers.SGDW(decay, learning_rate=rate, momentum=0.9)
    weight = tf.Variable(parity["start"])
    for gradient, ours in zip(parity["gradients"], parity["weights"]):
        optimizer.apply_gradients([(tf.constant(gradient), weight)])
        np.testing.assert_allclose(ours, weight.numpy(), rtol=1e-5, atol=1e-6)
