"""Maximum mean discrepancy against NumPy and SciPy."""

import keras
import numpy as np
import pytest
import scipy.spatial.distance
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.methods.mmd import MaximumMeanDiscrepancy, maximum_mean_discrepancy


def samples(*lead, real=7, synthetic=4, width=6, shift=0.5):
    generator = np.random.default_rng(0)
    first = generator.normal(size=(*lead, real, width))
    second = generator.normal(size=(*lead, synthetic, width)) * 1.3 + shift
    return first.astype(np.float32), second.astype(np.float32)


def linear_oracle(real, synthetic):
    gap = real.mean(axis=0, dtype=np.float64) - synthetic.mean(axis=0, dtype=np.float64)
    return (gap**2).sum()


def rbf_oracle(real, synthetic, bandwidth=None):
    pooled = np.concatenate([real, synthetic]).astype(np.float64)
    pairs = scipy.spatial.distance.pdist(pooled)
    bandwidth = np.median(pairs) if bandwidth is None else bandwidth
    kernel = np.exp(
        -(scipy.spatial.distance.squareform(pairs) ** 2) / (2 * bandwidth**2)
    )
    n = len(real)
    within, between = kernel[:n, :n].mean() + kernel[n:, n:].mean(), kernel[:n, n:]
    return within - 2 * between.mean()


ORACLES = {"linear": linear_oracle, "rbf": rbf_oracle}


@pytest.mark.parametrize("kernel", ORACLES)
@pytest.mark.parametrize(
    ("real", "synthetic"), [(7, 4), (6, 6), (2, 1), (1, 1), (5, 1), (1, 3)]
)
def test_equals_oracle(kernel, real, synthetic):
    """Pairs of the pooled sample are odd and even in number here."""
    first, second = samples(real=real, synthetic=synthetic)
    value = maximum_mean_discrepancy(first, second, kernel)
    np.testing.assert_allclose(value, ORACLES[kernel](first, second), rtol=1e-5)


@pytest.mark.parametrize("kernel", ORACLES)
def test_class_by_class(kernel):
    first, second = samples(3)
    values = maximum_mean_discrepancy(first, second, kernel)
    expected = [
        ORACLES[kernel](one, two) for one, two in zip(first, second, strict=True)
    ]
    np.testing.assert_allclose(values, expected, rtol=1e-5)


@pytest.mark.parametrize("kernel", ORACLES)
def test_features_far_from_zero(kernel):
    """As after a ReLU: a common offset cancels, and must not cost the digits."""
    first, second = samples(width=512, real=12, synthetic=9, shift=0.1)
    first, second = first * 0.1 + 5, second * 0.1 + 5
    value = maximum_mean_discrepancy(first, second, kernel)
    np.testing.assert_allclose(value, ORACLES[kernel](first, second), rtol=1e-4)


@pytest.mark.parametrize("kernel", ORACLES)
def test_of_equal_samples_is_zero(kernel):
    first, _ = samples()
    value = maximum_mean_discrepancy(first, first.copy(), kernel)
    np.testing.assert_allclose(value, 0, atol=1e-6)


@pytest.mark.parametrize("kernel", ORACLES)
def test_coinciding_points_stay_finite(kernel):
    ones = tf.ones([3, 4])
    with tf.GradientTape() as tape:
        tape.watch(ones)
        value = maximum_mean_discrepancy(tf.ones([5, 4]), ones, kernel)
    assert float(value) == pytest.approx(0, abs=1e-6)
    assert np.isfinite(tape.gradient(value, ones)).all()


@pytest.mark.parametrize("kernel", ORACLES)
def test_gradient_equals_finite_differences(kernel):
    """The bandwidth is held fixed, as the docstring says."""
    # More synthetic than real, so that the median pair depends on them.
    first, second = samples(real=2, synthetic=6, width=2)
    pooled = np.concatenate([first, second])
    fixed = {
        "linear": {},
        "rbf": {"bandwidth": np.median(scipy.spatial.distance.pdist(pooled))},
    }[kernel]
    x = tf.constant(second)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = maximum_mean_discrepancy(first, x, kernel)
    start = second.astype(np.float64)
    expected = np.empty_like(start)
    for place in np.ndindex(start.shape):
        step = np.zeros_like(start)
        step[place] = 1e-5
        ahead, behind = (
            ORACLES[kernel](first, start + sign * step, **fixed) for sign in (1, -1)
        )
        expected[place] = (ahead - behind) / 2e-5
    np.testing.assert_allclose(tape.gradient(value, x), expected, atol=1e-5)


def test_the_mean_of_real_suffices_for_the_linear_kernel():
    first, second = samples(3)
    whole = maximum_mean_discrepancy(first, second)
    means = maximum_mean_discrepancy(first.mean(axis=1, keepdims=True), second)
    np.testing.assert_allclose(whole, means, rtol=1e-5)


def test_rbf_tells_apart_what_linear_does_not():
    """Same mean, other spread."""
    first = np.float32([[-1, 0], [1, 0]])
    assert maximum_mean_discrepancy(first, 3 * first) == 0
    assert maximum_mean_discrepancy(first, 3 * first, "rbf") > 0.1


@pytest.mark.parametrize("make", [MaximumMeanDiscrepancy, "function"])
def test_unknown_kernel(make):
    with pytest.raises(UserError, match=r"'linaer' \(did you mean 'linear'\?\)"):
        if make == "function":
            maximum_mean_discrepancy(tf.zeros([2, 3]), tf.zeros([2, 3]), "linaer")
        else:
            make("linaer")


class TestMetric:
    @pytest.mark.parametrize("kernel", ORACLES)
    def test_mean_over_updates_of_the_sum_over_classes(self, kernel):
        metric = MaximumMeanDiscrepancy(kernel)
        sums = []
        for shift in (0.1, 0.7, 2.0):
            first, second = samples(3, shift=shift)
            metric.update_state(first, second)
            pairs = zip(first, second, strict=True)
            sums.append(sum(ORACLES[kernel](one, two) for one, two in pairs))
            np.testing.assert_allclose(metric.result(), np.mean(sums), rtol=1e-5)

    def test_weights_of_classes(self):
        first, second = samples(2)
        metric = MaximumMeanDiscrepancy()
        metric.update_state(first, second, sample_weight=[0.0, 2.0])
        expected = 2 * linear_oracle(first[1], second[1])
        np.testing.assert_allclose(metric.result(), expected, rtol=1e-5)

    def test_reset(self):
        metric = MaximumMeanDiscrepancy()
        assert float(metric.result()) == 0
        metric.update_state(*samples(2))
        assert float(metric.result()) > 0
        metric.reset_state()
        assert float(metric.result()) == 0

    def test_config_round_trip(self):
        metric = MaximumMeanDiscrepancy("rbf", name="gap")
        config = keras.saving.serialize_keras_object(metric)
        again = keras.saving.deserialize_keras_object(config)
        assert type(again) is MaximumMeanDiscrepancy
        assert again.get_config() == metric.get_config()
        assert (again.kernel, again.name) == ("rbf", "gap")
