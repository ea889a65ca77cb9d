"""Made-up features of real and synthetic images, and what NumPy makes of them."""

import numpy as np
import tensorflow as tf

CLASSES, REAL, SYNTHETIC = 3, 5, 2
SHAPES = [(8, 8, 4), (4, 4, 6), (2, 2, 5)]
_FREQUENCIES = np.random.default_rng(0).normal(size=(12, 7))


def some_features(per_class, seed):
    """Returns taps and embedding of `CLASSES * per_class` images, classes in order."""
    generator = np.random.default_rng(seed)
    count = CLASSES * per_class
    taps = [np.maximum(generator.normal(size=(count, *s)), 0) for s in SHAPES]
    embedding = generator.normal(size=(count, 12))
    images = generator.normal(size=(count, 8, 8, 3))
    return {
        "taps": [tf.constant(tap, tf.float32) for tap in taps],
        "embedding": tf.constant(embedding, tf.float32),
        "images": tf.constant(images, tf.float32),
        "drawn": [tf.constant(_FREQUENCIES, tf.float32)],
    }


def losses(objective, real, synthetic, means=False):
    def by_class(vectors):
        return [tf.reshape(v, [CLASSES, -1, v.shape[-1]]) for v in vectors]

    real = by_class(objective.vectors(real))
    if means:
        real = [tf.reduce_mean(vectors, axis=1, keepdims=True) for vectors in real]
    return objective.losses(real, by_class(objective.vectors(synthetic)))


def class_means(vectors):
    """Of NumPy vectors, one an image, classes in order."""
    vectors = np.asarray(vectors, np.float64)
    return vectors.reshape(CLASSES, -1, vectors.shape[-1]).mean(axis=1)


def attention(tap, power, normalization):
    maps = (np.abs(np.asarray(tap, np.float64)) ** power).sum(-1).reshape(len(tap), -1)
    if normalization == "none":
        return maps
    order = {"l1": 1, "l2": 2}[normalization]
    return maps / np.linalg.norm(maps, order, axis=1, keepdims=True)


def gap(real, synthetic, loss):
    if loss == "mse":
        return ((real - synthetic) ** 2).sum()
    if loss == "mae":
        return np.abs(real - synthetic).sum()
    norms = np.linalg.norm(real, axis=1) * np.linalg.norm(synthetic, axis=1)
    return (1 - (real * synthetic).sum(axis=1) / norms).sum()
