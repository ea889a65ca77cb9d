"""The losses of generators, as functions of what discriminators and encoders answer."""

from collections.abc import Sequence

import tensorflow as tf

from dam_tf.methods.mmd import squared_distances


def logistic_discriminator(real: tf.Tensor, generated: tf.Tensor) -> tf.Tensor:
    """Returns the loss of a discriminator that answers with a logit (cGAN).

    Args:
        real: Logits of real images, `[n]`.
        generated: Logits of generated images, `[m]`.

    Example:
        >>> float(logistic_discriminator(tf.constant([0.0]), tf.constant([-200.0])))
        0.6931471824645996
    """
    return tf.reduce_mean(tf.nn.softplus(-real)) + tf.reduce_mean(
        tf.nn.softplus(generated)
    )


def logistic_generator(generated: tf.Tensor) -> tf.Tensor:
    """Returns the loss of a generator against such a discriminator, not saturating."""
    return tf.reduce_mean(tf.nn.softplus(-generated))


def hinge_discriminator(real: tf.Tensor, generated: tf.Tensor) -> tf.Tensor:
    """Returns the hinge loss of a discriminator (BigGAN, DC-VAE).

    Args:
        real: Answers to real images, `[n]`.
        generated: Answers to generated images, `[m]`.

    Example:
        >>> float(hinge_discriminator(tf.constant([0.25]), tf.constant([-2.0, 1.0])))
        1.75
    """
    return tf.reduce_mean(tf.nn.relu(1 - real)) + tf.reduce_mean(
        tf.nn.relu(1 + generated)
    )


def hinge_generator(generated: tf.Tensor) -> tf.Tensor:
    """Returns the loss of a generator against a discriminator with the hinge loss."""
    return -tf.reduce_mean(generated)


def divergence_from_normal(mean: tf.Tensor, log_variance: tf.Tensor) -> tf.Tensor:
    """Returns the Kullback-Leibler divergence of codes from N(0, 1).

    Args:
        mean: Of the codes, `[n, d]`.
        log_variance: The logarithm of their variance, `[n, d]`.

    Returns:
        A scalar: the sum over numbers of a code, the mean over codes.

    Example:
        >>> float(divergence_from_normal(tf.ones([3, 2]), tf.zeros([3, 2])))
        1.0
    """
    each = tf.square(mean) + tf.exp(log_variance) - log_variance - 1
    return 0.5 * tf.reduce_mean(tf.reduce_sum(each, axis=1))


def contrastive(
    queries: tf.Tensor, keys: tf.Tensor, others: tf.Tensor, temperature: float
) -> tf.Tensor:
    """Returns InfoNCE: each query is to be told from others by its own key.

    Args:
        queries: `[n, d]`, of length 1.
        keys: `[n, d]`, of length 1; that of a query has its row.
        others: `[m, d]`, of length 1, keys of other images.
        temperature: Divides the products.

    Example:
        >>> one = tf.constant([[1.0, 0.0]])
        >>> bool(contrastive(one, one, -one, 0.07) < 1e-6)
        True
    """
    own = tf.reduce_sum(queries * keys, axis=1, keepdims=True)
    rest = tf.matmul(queries, others, transpose_b=True)
    logits = tf.concat([own, rest], axis=1) / temperature
    return tf.reduce_mean(tf.reduce_logsumexp(logits, axis=1) - logits[:, 0])


def root_mmd(
    generated: tf.Tensor, real: tf.Tensor, variances: Sequence[float] | tf.Tensor
) -> tf.Tensor:
    """Returns the root of the summed squared MMD of several RBF kernels (GMMN).

    The kernels are exp(-|x - y|^2 / (2 v)), the estimate is the biased one, with the
    diagonal. The root is taken of the sum, as the code of GMMN does; the paper of GMMN
    takes that of each kernel.

    Args:
        generated: `[n, d]`.
        real: `[m, d]`.
        variances: v of each kernel.

    Example:
        >>> some = tf.constant([[0.0, 1.0], [2.0, 3.0]])
        >>> bool(root_mmd(some, some, [1.0, 4.0]) < 1e-3)
        True
    """
    count, other = generated.shape[0], real.shape[0]
    weights = tf.constant([1 / count] * count + [-1 / other] * other)
    pooled = tf.concat([generated, real], axis=0)
    distances = squared_distances(pooled, pooled)
    kernels = tf.add_n([tf.exp(-distances / (2 * v)) for v in tf.unstack(variances)])
    squared = tf.tensordot(weights, tf.linalg.matvec(kernels, weights), 1)
    # The root has no gradient at 0, which rounding may fall below.
    return tf.sqrt(tf.maximum(squared, 1e-12))
