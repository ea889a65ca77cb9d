"""What networks that are trained on a set minimise, for each image.

`descent.py` takes the gradient of their mean.
"""

import tensorflow as tf


def image_losses(kind: str, targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Returns the loss of each image, `[n]`.

    "cross_entropy" is -sum_c p_c log q_c, for hard labels -log q of the class, where q
    are the softmax of the logits. "kl" is the divergence of p from q: the same but for
    the entropy of p, so its gradient is the same, and what differs is the number.
    "mse" is half the squared distance between the logits and p - 1 / classes, as
    methods that regress (KIP, FRePo) train networks.

    Args:
        kind: As in `evaluation.loss`.
        targets: Classes, int32 `[n]`, or their probabilities p, float32 `[n, classes]`.
        logits: float32 `[n, classes]`.

    Example:
        >>> p, logits = tf.constant([[0.5, 0.5]]), tf.constant([[1.0, 1.0]])
        >>> [round(float(image_losses(kind, p, logits)[0]), 4)
        ...  for kind in ("cross_entropy", "kl", "mse")]
        [0.6931, 0.0, 1.0]
    """
    if kind == "cross_entropy" and targets.dtype.is_integer:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    classes = logits.shape[-1]
    if targets.dtype.is_integer:
        targets = tf.one_hot(targets, classes)
    if kind == "mse":
        return tf.reduce_sum(tf.square(logits - targets + 1 / classes), axis=1) / 2
    losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
    if kind == "kl":
        losses += tf.reduce_sum(tf.math.xlogy(targets, targets), axis=1)
    return losses
