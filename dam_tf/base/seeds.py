"""Randomness as a function of (seed, purpose, iteration), with no hidden state.

A run draws networks, real batches and augmentation from here, so a resumed run
repeats an uninterrupted one, and replicas agree without talking.
"""

import enum

import numpy as np
import tensorflow as tf


@enum.unique
class Purpose(enum.IntEnum):
    """What a random number is for; different purposes never share a stream."""

    INITIAL_IMAGES = 1
    REAL_BATCH = 2
    NETWORK = 3
    AUGMENTATION = 4
    EVALUATION_NETWORK = 5
    EVALUATION_AUGMENTATION = 6
    EVALUATION_ORDER = 7
    SELECTION = 8
    CLASS_ORDER = 9
    CONTINUAL_STEP = 10
    ARCHITECTURE_SEARCH = 11
    STEP_CLASSES = 12
    SELECTION_NETWORK = 13
    POOL_NETWORK = 14
    EMBEDDING_NETWORK = 15
    SET_ORDER = 20
    SET_AUGMENTATION = 21
    STATISTICS_BATCH = 22
    PROBE_BATCH = 23
    EXPERT_NETWORK = 24
    EXPERT_FOLLOWED = 25
    STUDENT_BATCH = 26
    STUDENT_AUGMENTATION = 27
    POOL_SLOT = 28
    POOL_MEMBER = 29
    POOL_BATCH = 30
    FIXED_NETWORK = 32
    INNER_BATCH = 33
    RECIPE_BATCH = 34
    CUTMIX = 35
    GENERATOR_WEIGHTS = 36
    GENERATOR_NOISE = 37
    GENERATOR_AUGMENTATION = 38
    GENERATED_IMAGES = 39
    POOL_PAIR = 48
    POOL_SHARE = 49
    CALIBRATION_AUGMENTATION = 50
    FREQUENCIES = 51
    SAMPLER_WEIGHTS = 52
    SAMPLER_NOISE = 53
    MEASURED_NETWORK = 56
    MEASURED_BATCH = 57


def tensor_seed(
    seed: int | tf.Tensor | tf.Variable, purpose: Purpose, *counters: tf.Tensor | int
) -> tf.Tensor:
    """Returns the seed `[2]` of a stateless op for a purpose and its counters.

    Example:
        >>> a = tensor_seed(0, Purpose.NETWORK, 7)
        >>> tf.random.stateless_uniform([2], a).shape
        TensorShape([2])
    """
    folded = tf.stack([tf.cast(seed, tf.int32), tf.constant(int(purpose))])
    for counter in counters:
        folded = tf.random.experimental.stateless_fold_in(
            folded, tf.cast(counter, tf.int32)
        )
    return folded


def drawn_classes(seed: int, iteration: int, classes: int, count: int) -> np.ndarray:
    """Returns which `count` of all classes an iteration has, int32, ascending.

    Args:
        seed: The run's.
        iteration: Updates done before.
        classes: How many there are.
        count: How many are drawn, each set of as many as likely as any other.

    Example:
        >>> drawn_classes(0, 7, 3, 3)
        array([0, 1, 2], dtype=int32)
    """
    if count == classes:
        return np.arange(classes, dtype=np.int32)
    generator = numpy_generator(seed, Purpose.STEP_CLASSES, int(iteration))
    drawn = generator.choice(classes, count, replace=False)
    return np.sort(drawn).astype(np.int32)


def numpy_generator(seed: int, purpose: Purpose, *counters: int) -> np.random.Generator:
    """Returns NumPy's generator for a purpose and its counters."""
    return np.random.default_rng([seed, int(purpose), *counters])
