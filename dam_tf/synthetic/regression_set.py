"""A synthetic set whose labels are targets of a regression, not probabilities.

Kernel methods learn or solve such labels. Whoever uses the set gets probabilities in
which nothing of them is lost, as `probabilities` says.
"""

import numpy as np
import tensorflow as tf

from dam_tf.synthetic.synthetic_set import SyntheticSet


def centred_one_hot(
    labels: tf.Tensor | np.ndarray, classes: int, dtype: tf.DType = tf.float32
) -> tf.Tensor:
    """Returns 1 - 1/classes at each label and -1/classes elsewhere, `[n, classes]`.

    Args:
        labels: Integers `[n]`.
        classes: How many there are.
        dtype: Of what is returned.

    Example:
        >>> centred_one_hot(np.array([1]), 4).numpy().tolist()
        [[-0.25, 0.75, -0.25, -0.25]]
    """
    return tf.one_hot(labels, classes, dtype=dtype) - 1.0 / classes


def probabilities(targets: tf.Tensor) -> tf.Tensor:
    """Returns targets of a regression as probabilities, float32 `[n, classes]`.

    p = 1/C + s * (y - mean of its row), with one s for all images: the largest up to 1
    at which no value is negative. So centred one-hot targets become the one-hot labels
    that they came from, and less certain targets become smoothed labels. A regression
    that is linear in its labels takes p and y for the same: its answers differ by a
    factor and by what is the same for all classes. (Decided here: no paper on kernel
    methods says how a set with such labels is passed on.)

    Args:
        targets: Any numbers, `[n, classes]`.

    Example:
        >>> probabilities(tf.constant([[0.5, -0.5], [-1.0, 1.0]])).numpy().tolist()
        [[0.75, 0.25], [0.0, 1.0]]
    """
    centred = _centred(targets)
    found = 1.0 / targets.shape[1] + centred / _scale(centred)
    return tf.cast(tf.maximum(found, 0.0), tf.float32)


def target_scale(targets: tf.Tensor) -> float:
    """Returns 1 / s of `probabilities`, which brings targets back: y = (p - 1/C) / s.

    Args:
        targets: As of `probabilities`.

    Example:
        >>> target_scale(tf.constant([[0.5, -0.5], [-1.0, 1.0]]))
        2.0
    """
    return float(_scale(_centred(targets)))


def _centred(targets):
    targets = tf.cast(targets, tf.float64)
    return targets - tf.reduce_mean(targets, axis=1, keepdims=True)


def _scale(centred):
    classes = centred.shape[1]
    return classes * tf.maximum(-tf.reduce_min(centred), 1.0 / classes)


class RegressionSet(SyntheticSet):
    """A synthetic set whose variable `labels` holds targets of a regression.

    Args:
        images: As of `SyntheticSet`.
        targets: Initial targets, `[n, classes]`.

    Example:
        >>> targets = centred_one_hot(np.array([0, 1]), 2).numpy()
        >>> synthetic = RegressionSet(np.zeros([2, 1, 8, 8, 1], np.float32), targets)
        >>> synthetic.targets().numpy().tolist(), synthetic.labels().numpy().tolist()
        ([[0.5, -0.5], [-0.5, 0.5]], [[1.0, 0.0], [0.0, 1.0]])
    """

    def __init__(self, images: np.ndarray, targets: np.ndarray):
        super().__init__(images, soft_labels=targets)

    def targets(self) -> tf.Tensor:
        """Returns what a regression is to answer, float32 `[n, classes]`."""
        return tf.convert_to_tensor(self.variables_by_name["labels"])

    def probabilities(self, labels: tf.Tensor) -> tf.Tensor:
        return probabilities(labels)
