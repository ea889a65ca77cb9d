"""Augmentation policies of the field, for evaluation: AutoAugment and RandAugment.

They are what a distilled set meets when someone trains on it in their own way
(Figure 11). Unlike DSA they work on pixels and need no gradient.
"""

import functools

import keras
import numpy as np
import tensorflow as tf

from dam_tf.augmentation import dsa

# AutoAugment (Cubuk et al., CVPR 2019), the policy found for CIFAR-10, Table 7: a
# sub-policy is two operations, each with its probability in tenths and its magnitude,
# 0 to 9.
_SUB_POLICIES = (
    (("invert", 1, 7), ("contrast", 2, 6)),
    (("rotate", 7, 2), ("translate_x", 3, 9)),
    (("sharpness", 8, 1), ("sharpness", 9, 3)),
    (("shear_y", 5, 8), ("translate_y", 7, 9)),
    (("auto_contrast", 5, 8), ("equalize", 9, 2)),
    (("shear_y", 2, 7), ("posterize", 3, 7)),
    (("color", 4, 3), ("brightness", 6, 7)),
    (("sharpness", 3, 9), ("brightness", 7, 9)),
    (("equalize", 6, 5), ("equalize", 5, 1)),
    (("contrast", 6, 7), ("sharpness", 6, 5)),
    (("color", 7, 7), ("translate_x", 5, 8)),
    (("equalize", 3, 7), ("auto_contrast", 4, 8)),
    (("translate_y", 4, 3), ("sharpness", 2, 6)),
    (("brightness", 9, 6), ("color", 2, 8)),
    (("solarize", 5, 2), ("invert", 0, 3)),
    (("equalize", 2, 0), ("auto_contrast", 6, 0)),
    (("equalize", 2, 8), ("equalize", 6, 4)),
    (("color", 9, 9), ("equalize", 6, 6)),
    (("auto_contrast", 8, 4), ("solarize", 2, 8)),
    (("brightness", 1, 3), ("color", 7, 0)),
    (("solarize", 4, 5), ("auto_contrast", 9, 3)),
    (("translate_y", 9, 9), ("translate_y", 7, 9)),
    (("auto_contrast", 9, 2), ("solarize", 8, 3)),
    (("equalize", 8, 8), ("invert", 1, 3)),
    (("translate_y", 7, 9), ("auto_contrast", 9, 1)),
)


def apply(policy: str, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns `images`, each transformed at random.

    Args:
        policy: A key of `POLICIES`.
        images: Pixels in 0..1, float32 `[n, h, w, c]`. Where an operation is drawn,
            values outside of that are clipped.
        seed: `[2]`, as of a stateless op; the same seed gives the same result.

    Example:
        >>> apply("autoaugment", tf.zeros([4, 8, 8, 3]), tf.constant([0, 1])).shape
        TensorShape([4, 8, 8, 3])
    """
    return POLICIES[policy](images, seed)


def _randaugment(images, seed):
    """RandAugment (Cubuk et al., CVPR-W 2020): two operations, half their range."""
    layer = _rand_augment_layer()
    # Keras keeps the state of its generators in variables: here, it is the seed's.
    seeds = tf.random.experimental.stateless_split(seed, len(layer.variables))
    states = [
        tf.cast(one, variable.dtype)
        for one, variable in zip(tf.unstack(seeds), layer.variables, strict=True)
    ]
    transformed, _ = layer.stateless_call([], states, images, training=True)
    return transformed


@functools.cache
def _rand_augment_layer():
    with tf.init_scope():  # it has variables, which no graph may own
        layer = keras.layers.RandAugment(value_range=(0, 1), num_ops=2, factor=0.5)
        layer.build((None, None, None, None))
    return layer


def _autoaugment(images, seed):
    """One of the 25 sub-policies for each image, drawn uniformly."""
    count = images.shape[0]
    chosen_seed, *step_seeds = tf.unstack(
        tf.random.experimental.stateless_split(seed, 3)
    )
    chosen = tf.random.stateless_uniform(
        [count], chosen_seed, maxval=len(_SUB_POLICIES), dtype=tf.int32
    )
    for step, step_seed in enumerate(step_seeds):
        names, tenths, magnitudes = zip(*(p[step] for p in _SUB_POLICIES), strict=True)
        share, sign = tf.unstack(tf.random.stateless_uniform([2, count], step_seed))
        happens = share < tf.gather(np.float32(tenths) / 10, chosen)
        sign = tf.where(sign < 0.5, -1.0, 1.0)
        level = tf.gather(np.float32(magnitudes) / 9, chosen)
        number = tf.gather([_NAMES.index(name) for name in names], chosen)
        drawn = {_NAMES.index(name) for name in names}
        for operation in drawn:
            here = happens & tf.equal(number, operation)
            changed = OPERATIONS[_NAMES[operation]](images, level, sign)
            images = tf.where(here[:, None, None, None], changed, images)
    return images


POLICIES = {"autoaugment": _autoaugment, "randaugment": _randaugment}


# Each operation takes images, a level 0..1 (magnitude / 9, Table 6) and a sign for
# each image.


def _warp(row_x, row_y, images):
    """Warps by a matrix in pixels, shifts in shares of half the side."""
    count, height, width, _ = images.shape
    (xx, xy, right), (yx, yy, down) = row_x, row_y
    entries = [xx, xy * (height / width), right, yx * (width / height), yy, down]
    entries = [tf.broadcast_to(tf.cast(e, tf.float32), [count]) for e in entries]
    warp = tf.reshape(tf.stack(entries, axis=1), [count, 2, 3])
    return dsa.apply(images, dsa.identity(count)._replace(warp=warp))


def _shear_x(images, level, sign):
    return _warp((1.0, 0.3 * level * sign, 0.0), (0.0, 1.0, 0.0), images)


def _shear_y(images, level, sign):
    return _warp((1.0, 0.0, 0.0), (0.3 * level * sign, 1.0, 0.0), images)


# 150 pixels of 331; a side spans 2 in the coordinates of a warp.
_FARTHEST = 2 * 150 / 331


def _translate_x(images, level, sign):
    return _warp((1.0, 0.0, _FARTHEST * level * sign), (0.0, 1.0, 0.0), images)


def _translate_y(images, level, sign):
    return _warp((1.0, 0.0, 0.0), (0.0, 1.0, _FARTHEST * level * sign), images)


def _rotate(images, level, sign):
    angle = level * sign * np.pi / 6
    cos, sin = tf.cos(angle), tf.sin(angle)
    return _warp((cos, -sin, 0.0), (sin, cos, 0.0), images)


def _blend(images, other, level, sign):
    factor = 1 + 0.9 * (level * sign)[:, None, None, None]
    images = tf.clip_by_value(images, 0, 1)
    return tf.clip_by_value(other + (images - other) * factor, 0, 1)


def _grey(images):
    images = tf.clip_by_value(images, 0, 1)
    if images.shape[-1] == 1:
        return images
    return tf.image.rgb_to_grayscale(images)


def _color(images, level, sign):
    return _blend(images, _grey(images), level, sign)


def _contrast(images, level, sign):
    mean = tf.reduce_mean(_grey(images), axis=(1, 2, 3), keepdims=True)
    return _blend(images, mean, level, sign)


def _brightness(images, level, sign):
    return _blend(images, tf.zeros_like(images), level, sign)


def _sharpness(images, level, sign):
    clipped = tf.clip_by_value(images, 0, 1)
    kernel = np.ones([3, 3, images.shape[-1], 1], np.float32)
    kernel[1, 1] = 5
    smooth = tf.nn.depthwise_conv2d(clipped, kernel / 13, [1, 1, 1, 1], "VALID")
    # The border, which has no neighbours on one side, stays as it is.
    inner = tf.pad(tf.ones_like(smooth), [[0, 0], [1, 1], [1, 1], [0, 0]])
    smooth = tf.pad(smooth, [[0, 0], [1, 1], [1, 1], [0, 0]])
    return _blend(images, tf.where(inner > 0, smooth, clipped), level, sign)


def _whole(images):
    return tf.round(255 * tf.clip_by_value(images, 0, 1))


def _posterize(images, level, sign):
    step = 2.0 ** tf.round(4 * level)[:, None, None, None]
    return tf.floor(_whole(images) / step) * step / 255


def _solarize(images, level, sign):
    images = tf.clip_by_value(images, 0, 1)
    return tf.where(images < 1 - level[:, None, None, None], images, 1 - images)


def _invert(images, level, sign):
    return 1 - tf.clip_by_value(images, 0, 1)


def _auto_contrast(images, level, sign):
    return keras.layers.AutoContrast(value_range=(0, 1))(tf.clip_by_value(images, 0, 1))


def _equalize(images, level, sign):
    # Keras' Equalization gives other values than Pillow's, which the policy is for.
    count, height, width, channels = images.shape
    values = tf.reshape(
        tf.transpose(_whole(images), [0, 3, 1, 2]), [-1, height * width]
    )
    values = tf.cast(values, tf.int32)
    histogram = tf.math.bincount(values, minlength=256, maxlength=256, axis=-1)
    last = tf.gather(histogram, tf.reduce_max(values, axis=1), batch_dims=1)
    step = (height * width - last[:, None]) // 255
    below = tf.cumsum(histogram, axis=1, exclusive=True)
    table = tf.minimum((step // 2 + below) // tf.maximum(step, 1), 255)
    # A channel of so few values that there is nothing to spread stays.
    table = tf.where(step > 0, table, tf.range(256))
    spread = tf.gather(table, values, batch_dims=1)
    spread = tf.reshape(spread, [count, channels, height, width])
    return tf.cast(tf.transpose(spread, [0, 2, 3, 1]), tf.float32) / 255


OPERATIONS = {
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "rotate": _rotate,
    "color": _color,
    "contrast": _contrast,
    "brightness": _brightness,
    "sharpness": _sharpness,
    "posterize": _posterize,
    "solarize": _solarize,
    "invert": _invert,
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
}
_NAMES = list(OPERATIONS)
