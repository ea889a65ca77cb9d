"""Methods that match features: run in any way, and with classes over two replicas."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.methods.feature_matching import FeatureMatching
from dam_tf.methods.registry import METHODS
from tests.conformance.common import (
    CLASSES,
    assert_same,
    assert_same_however_run,
    label,
    on_two_replicas,
    one_changed_at_a_time,
    some_values,
)
from tests.tiny_data import made_method

# Each choice of each setting, one changed at a time.
EVERY_METHOD = pytest.mark.parametrize(
    "settings",
    [
        settings
        for method in METHODS.values()
        if issubclass(method, FeatureMatching)
        for settings in one_changed_at_a_time(
            method.Settings,
            [field.name for field in dataclasses.fields(method.Settings)],
        )
    ],
    ids=lambda settings: f"{settings.name}: {label(settings)}",
)
SHAPES = ((8, 8, 4), (4, 4, 6), (2, 2, 5))


def features_of(per_class, seed):
    count = CLASSES * per_class
    taps = [
        tf.nn.relu(some_values(count, *shape, seed=seed + index))
        for index, shape in enumerate(SHAPES)
    ]
    embedding = some_values(count, 12, seed=seed + 9)
    images = some_values(count, *SHAPES[0], seed=seed + 10)
    drawn = [some_values(12, 7)]
    return {"taps": taps, "embedding": embedding, "images": images, "drawn": drawn}


def loss_and_gradient(method, classes):
    def by_class(features):
        vectors = method.vectors(features)
        drawn = features["drawn"] if method.learns_drawn else []
        return [*(tf.reshape(v, [classes, -1, v.shape[-1]]) for v in vectors), *drawn]

    def run(real, synthetic):
        with tf.GradientTape() as tape:
            tape.watch(synthetic)
            losses = method.losses(by_class(real), by_class(synthetic))
        learned = {name: x for name, x in synthetic.items() if name != "drawn"}
        gradient = tape.gradient(losses["loss"], learned, unconnected_gradients="zero")
        return losses, gradient

    return run


@EVERY_METHOD
def test_same_however_run(settings):
    method = made_method(**vars(settings), blocks=len(SHAPES))
    run = loss_and_gradient(method, CLASSES)
    assert_same_however_run(run, features_of(5, 0), features_of(2, 50))


@EVERY_METHOD
def test_classes_split_over_two_replicas(settings, strategy):
    """Losses add up over classes, and each class has its own gradient."""
    method = made_method(**vars(settings), blocks=len(SHAPES))
    real, synthetic = features_of(5, 0), features_of(2, 50)
    losses, gradient = loss_and_gradient(method, CLASSES)(real, synthetic)

    def half(features, replica):
        def rows(values):
            count = len(values) // 2
            return values[replica * count : (replica + 1) * count]

        return {**tf.nest.map_structure(rows, features), "drawn": features["drawn"]}

    run = loss_and_gradient(method, CLASSES // 2)
    results = on_two_replicas(
        strategy, run, [(half(real, r), half(synthetic, r)) for r in range(2)]
    )
    sums = tf.nest.map_structure(lambda *v: sum(v), *(r[0] for r in results))
    assert_same(sums, losses)
    joined = tf.nest.map_structure(
        lambda *v: np.concatenate(v), *(r[1] for r in results)
    )
    assert_same(joined, gradient)
