"""Images of any size become images of one size."""

import tensorflow as tf


def resize(images: tf.Tensor, shape: tuple[int, int, int]) -> tf.Tensor:
    """Scales images to cover height and width, and cuts off what juts out.

    So the aspect ratio is kept, as the DC/DSA/DM code does for ImageNet (shorter side
    to size, then the centre). Bilinear, antialiased.

    Args:
        images: uint8 [..., any height, any width, channels], one image or a batch.
        shape: (height, width, channels) of the result.

    Returns:
        uint8 [..., height, width, channels].
    """
    height, width, channels = shape
    size = tf.shape(images)[-3:-1]

    def resized() -> tf.Tensor:
        target = tf.constant([height, width], tf.float64)
        scale = tf.reduce_min(tf.cast(size, tf.float64) / target)
        box = tf.clip_by_value(tf.cast(tf.round(scale * target), tf.int32), 1, size)
        top, left = tf.unstack((size - box) // 2)
        cut = images[..., top : top + box[0], left : left + box[1], :]
        floats = tf.image.resize(cut, [height, width], antialias=True)
        return tf.cast(tf.round(tf.clip_by_value(floats, 0.0, 255.0)), tf.uint8)

    same = tf.reduce_all(size == [height, width])
    result = tf.cond(same, lambda: images, resized)
    result.set_shape([*images.shape[:-3], height, width, channels])
    return result
