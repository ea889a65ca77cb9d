"""Attention and MMD: eager, as a graph, by XLA, on two replicas and saved."""

import keras
import pytest
import tensorflow as tf

from dam_tf.methods.attention import NORMALIZATIONS, SpatialAttention
from dam_tf.methods.mmd import KERNELS, MaximumMeanDiscrepancy, maximum_mean_discrepancy
from tests.conformance.common import (
    assert_same,
    assert_same_however_run,
    on_two_replicas,
    some_values,
    with_gradient,
)

SHAPE = (16, 16, 3)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
class TestSpatialAttention:
    @pytest.mark.parametrize("power", [1.0, 3.5, 4.0])
    def test_same_however_run(self, power, normalization):
        layer = SpatialAttention(power, normalization)
        features = tf.nn.relu(some_values(3, 4, 5, 6))
        assert_same_however_run(lambda x: with_gradient(layer, x), features)

    def test_saved_is_loaded(self, normalization, tmp_path):
        inputs = keras.Input(SHAPE)
        outputs = SpatialAttention(3.5, normalization)(inputs)
        model = keras.Model(inputs, outputs)
        model.export(tmp_path / "exported", verbose=False)
        images = some_values(2, *SHAPE)
        exported = tf.saved_model.load(tmp_path / "exported")
        assert_same(exported.serve(images), model(images), tolerance=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
class TestMaximumMeanDiscrepancy:
    def test_same_however_run(self, kernel):
        real = some_values(2, 5, 7)

        def run(synthetic):
            return with_gradient(
                lambda x: maximum_mean_discrepancy(real, x, kernel), synthetic
            )

        assert_same_however_run(run, some_values(2, 3, 7, seed=1))

    def test_metric_in_a_graph(self, kernel):
        eager, graph = (
            MaximumMeanDiscrepancy(kernel),
            MaximumMeanDiscrepancy(kernel),
        )
        update = tf.function(graph.update_state)
        for seed in range(3):
            pair = some_values(2, 5, 7, seed=seed), some_values(2, 3, 7, seed=9)
            eager.update_state(*pair)
            update(*pair)
            assert_same(graph.result(), eager.result())
        assert update.experimental_get_tracing_count() == 1

    def test_metric_over_two_replicas(self, kernel, strategy):
        """Each holds some classes; result() gives the mean over all updates."""
        real, synthetic = some_values(4, 5, 7), some_values(4, 3, 7, seed=1)
        with strategy.scope():
            metric = MaximumMeanDiscrepancy(kernel)
        halves = [(real[:2], synthetic[:2]), (real[2:], synthetic[2:])]

        def update(real, synthetic):
            metric.update_state(real, synthetic)
            return tf.zeros([])

        on_two_replicas(strategy, update, halves)
        values = maximum_mean_discrepancy(real, synthetic, kernel)
        assert_same(metric.result(), tf.reduce_sum(values) / 2)
