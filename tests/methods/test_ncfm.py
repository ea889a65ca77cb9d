"""The loss of NCFM: characteristic functions in NumPy's complex numbers, float64."""

import numpy as np
import pytest
import tensorflow as tf

from tests.methods.followed import slopes
from tests.tiny_data import made_method

CLASSES, WIDTH, FREQUENCIES = 2, 5, 7
COUNTS = {"real": 6, "synthetic": 3}


def some(seed=0):
    """Embeddings of both sides by class, and frequencies, float64."""
    rng = np.random.default_rng(seed)
    sides = [rng.normal(size=(CLASSES, n, WIDTH)) for n in COUNTS.values()]
    return [*sides, rng.normal(0, 2, (WIDTH, FREQUENCIES))]


def phi(embeddings, frequencies):
    """The characteristic function of each class at each frequency."""
    unit = embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True)
    return np.exp(1j * unit @ frequencies).mean(axis=1)


def formula(real, synthetic, frequencies, amplitude=0.5, phase=0.5, scale=300.0):
    one, other = phi(real, frequencies), phi(synthetic, frequencies)
    sizes = (np.abs(one) - np.abs(other)) ** 2
    turned = np.angle(one) - np.angle(other)
    turns = 2 * np.abs(one) * np.abs(other) * (1 - np.cos(turned))
    squares = amplitude * sizes + phase * np.maximum(turns, 1e-12)
    return scale * np.sqrt(squares).mean(axis=1).sum()


def found(real, synthetic, frequencies, **settings):
    method = made_method("ncfm", **settings)
    frequencies = [tf.constant(frequencies, tf.float32)]

    def vectors(embeddings):
        flat = tf.reshape(embeddings, [-1, WIDTH])
        parts = method.vectors({"embedding": flat, "drawn": frequencies})
        parts = [tf.reshape(part, [CLASSES, -1, part.shape[1]]) for part in parts]
        return [*parts, *frequencies] if method.learns_drawn else parts

    synthetic = tf.constant(synthetic, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(synthetic)
        real = vectors(tf.constant(real, tf.float32))
        loss = method.losses(real, vectors(synthetic))["loss"]
    return loss.numpy(), tape.gradient(loss, synthetic).numpy()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"amplitude": 0.2, "phase": 0.9, "scale": 10.0},
        {"amplitude": 0.0, "phase": 1.0},
        {"amplitude": 1.0, "phase": 0.0},
    ],
)
@pytest.mark.parametrize("sampler", ["normal", "learned"])
def test_loss_and_gradient_equal_the_formula(settings, sampler):
    real, synthetic, frequencies = some()
    given = real, synthetic, frequencies
    loss, gradient = found(*given, **settings, sampler=sampler)
    expected = formula(real, synthetic, frequencies, **settings)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    expected = slopes(lambda s: formula(real, s, frequencies, **settings), synthetic)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(gradient, expected, rtol=2e-3, atol=2e-4 * scale)


def test_with_equal_weights_of_1_it_is_the_distance_of_both_functions():
    """Amplitude and phase together are |Phi - Phi~|^2."""
    real, synthetic, frequencies = some(3)
    settings = {"amplitude": 1.0, "phase": 1.0, "scale": 1.0}
    loss, _ = found(real, synthetic, frequencies, **settings)
    gap = np.abs(phi(real, frequencies) - phi(synthetic, frequencies))
    np.testing.assert_allclose(loss, gap.mean(axis=1).sum(), rtol=1e-5)


def test_the_same_images_have_nearly_no_loss_and_a_finite_gradient():
    """What is left is the root of the least phase, 300 * sqrt(0.5e-12) a class."""
    real, _, frequencies = some(4)
    frequencies[:, 0] = 0
    loss, gradient = found(real, np.repeat(real, 2, axis=1), frequencies)
    assert 0 < loss < 300 * 2e-3 and np.isfinite(gradient).all()
    for nothing in (np.zeros_like(real), real * 0 + [1, 0, 0, 0, 0]):
        assert np.isfinite(found(nothing, nothing, frequencies)[1]).all()


def test_frequencies_are_normal_and_drawn_anew():
    method = made_method("ncfm", frequencies=2000)
    method._seed, method._width = 3, 64
    drawn = [method.drawn(tf.constant(k))[0].numpy() for k in (0, 1, 0)]
    assert drawn[0].shape == (64, 2000)
    assert abs(drawn[0].mean()) < 0.02 and abs(drawn[0].std() - 1) < 0.02
    np.testing.assert_array_equal(drawn[0], drawn[2])
    assert abs(np.corrcoef(drawn[0].ravel(), drawn[1].ravel())[0, 1]) < 0.02
