"""CutMix: a rectangle of each image comes from another image, and so do the labels.

For training evaluation networks only, as methods of the IDC family do.
"""

import tensorflow as tf


def cutmix(
    images: tf.Tensor, targets: tf.Tensor, seed: tf.Tensor, share: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns a batch that is mixed with itself in another order, or as it was.

    The rectangle has sqrt(1 - u) of both sides, u from U(0, 1), and a centre that is
    drawn over the whole image; what lies outside is cut off. It is the same for the
    batch. Labels are mixed by the areas.

    Args:
        images: `[n, h, w, c]`.
        targets: Probabilities, `[n, classes]`.
        seed: `[2]`, as of a stateless op.
        share: Of the batches that are mixed, 0 to 1.

    Reference:
        Yun et al., CutMix, ICCV 2019, with alpha = 1; batches with probability 0.5 in
        Kim et al. (IDC), ICML 2022.

    Example:
        >>> images, targets = tf.ones([2, 8, 8, 1]), tf.eye(2)
        >>> mixed = cutmix(images, targets, tf.constant([0, 1]), 1.0)
        >>> tf.reduce_sum(mixed[1], axis=1).numpy().tolist()
        [1.0, 1.0]
    """
    count, height, width, _ = images.shape
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 4))
    wanted = tf.random.stateless_uniform([], seeds[0]) < share
    side = tf.sqrt(1.0 - tf.random.stateless_uniform([], seeds[1]))
    centre = tf.random.stateless_uniform([2], seeds[2])
    sides = tf.constant([height, width], tf.float32)
    middle, half = tf.floor(centre * sides), tf.floor(side * sides / 2)
    low = tf.clip_by_value(middle - half, 0.0, sides)
    high = tf.clip_by_value(middle + half, 0.0, sides)
    area = tf.reduce_prod(high - low) / tf.reduce_prod(sides)
    rows, columns = (
        tf.cast((places >= low[axis]) & (places < high[axis]), images.dtype)
        for axis, places in enumerate(
            (tf.range(height, dtype=tf.float32), tf.range(width, dtype=tf.float32))
        )
    )
    inside = tf.where(wanted, rows[:, None] * columns, tf.zeros([height, width]))
    area = tf.where(wanted, area, 0.0)
    order = tf.argsort(tf.random.stateless_uniform([count], seeds[3]))
    inside = inside[..., None]
    mixed = (1 - inside) * images + inside * tf.gather(images, order)
    return mixed, (1 - area) * targets + area * tf.gather(targets, order)
