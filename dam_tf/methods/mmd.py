"""Maximum mean discrepancy between two samples of vectors: equation 3."""

import keras
import numpy as np
import tensorflow as tf

from dam_tf.base.errors import choice_error
from dam_tf.config.methods import KERNELS


def maximum_mean_discrepancy(
    real: tf.Tensor, synthetic: tf.Tensor, kernel: str = "linear"
) -> tf.Tensor:
    """Returns the squared MMD of each pair of samples (biased estimate).

    With the linear kernel of the paper this is the squared distance between the
    two means, so `real` may as well hold just its mean. The rbf kernel is
    exp(-|x - y|^2 / (2 s^2)) with s the median distance within the pooled sample
    (Gretton et al., JMLR 2012, section 8); the bandwidth takes no gradient.

    Args:
        real: `[..., n, d]`.
        synthetic: `[..., m, d]`.
        kernel: `"linear"` or `"rbf"`.

    Returns:
        `[...]`, one value for each leading index (the classes).

    Raises:
        UserError: `kernel` is unknown.

    Example:
        >>> maximum_mean_discrepancy(tf.zeros([3, 2]), tf.ones([5, 2])).numpy()
        np.float32(2.0)
    """
    if kernel not in KERNELS:
        raise choice_error("kernel", kernel, KERNELS)
    if kernel == "linear":
        gap = tf.reduce_mean(real, axis=-2) - tf.reduce_mean(synthetic, axis=-2)
        return tf.reduce_sum(tf.square(gap), axis=-1)
    within_real = squared_distances(real, real)
    within_synthetic = squared_distances(synthetic, synthetic)
    between = squared_distances(real, synthetic)
    bandwidth = tf.stop_gradient(
        _median_of_pairs(within_real, within_synthetic, between)
    )[..., None, None]

    def mean_kernel(squared_distances):
        return tf.reduce_mean(tf.exp(-squared_distances / (2 * bandwidth)), (-2, -1))

    return (
        mean_kernel(within_real)
        + mean_kernel(within_synthetic)
        - 2 * mean_kernel(between)
    )


@keras.saving.register_keras_serializable(package="dam_tf")
class MaximumMeanDiscrepancy(keras.metrics.Metric):
    """Running mean of the squared MMD, summed over classes (equation 3).

    Args:
        kernel: `"linear"` (the paper) or `"rbf"` with the median heuristic.

    Example:
        >>> metric = MaximumMeanDiscrepancy()
        >>> metric.update_state(tf.zeros([1, 3, 2]), tf.ones([1, 5, 2]))
        >>> float(metric.result())
        2.0
    """

    def __init__(self, kernel: str = "linear", name: str = "mmd", **kwargs):
        super().__init__(name=name, **kwargs)
        if kernel not in KERNELS:
            raise choice_error("kernel", kernel, KERNELS)
        self.kernel = kernel
        self.total = self.add_weight(name="total", initializer="zeros")
        self.count = self.add_weight(name="count", initializer="zeros")

    def update_state(self, real, synthetic, sample_weight=None) -> None:
        """Adds one pair of samples, `[..., n, d]` and `[..., m, d]`."""
        values = maximum_mean_discrepancy(real, synthetic, self.kernel)
        weight = 1.0 if sample_weight is None else sample_weight
        self.total.assign_add(tf.reduce_sum(values * weight))
        self.count.assign_add(1.0)

    def result(self) -> tf.Tensor:
        return tf.math.divide_no_nan(
            tf.convert_to_tensor(self.total), tf.convert_to_tensor(self.count)
        )

    def get_config(self) -> dict:
        return {**super().get_config(), "kernel": self.kernel}


def squared_distances(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Returns those of each pair of rows, `[..., n, d]` and `[..., m, d]`."""
    products = tf.linalg.matmul(a, b, transpose_b=True)
    a_norms = tf.reduce_sum(tf.square(a), axis=-1)[..., :, None]
    b_norms = tf.reduce_sum(tf.square(b), axis=-1)[..., None, :]
    return tf.maximum(a_norms + b_norms - 2 * products, 0.0)


def _median_of_pairs(within_a, within_b, between) -> tf.Tensor:
    """Square of the median distance over the distinct pairs of the pooled sample."""
    lead = between.shape[:-2]
    pairs = [between]
    for square in (within_a, within_b):
        size = square.shape[-1]
        rows, columns = np.tril_indices(size, k=-1)
        flat = tf.reshape(square, [*lead, size * size])
        pairs.append(tf.gather(flat, rows * size + columns, axis=-1))
    values = tf.concat([tf.reshape(p, [*lead, -1]) for p in pairs], axis=-1)
    values = tf.sort(values, axis=-1)
    count = values.shape[-1]
    middle = tf.sqrt(values[..., (count - 1) // 2]), tf.sqrt(values[..., count // 2])
    return tf.maximum(tf.square((middle[0] + middle[1]) / 2), 1e-12)
