"""Differentiable Siamese augmentation (DSA; Zhao and Bilen, ICML 2021).

`draw` turns a seed into small per-image parameters, `apply` puts them on any
batch, so real and synthetic images of a class get one and the same transform.
Crop, flip, scale and rotate are affine warps, color is an affine map of pixel
values and cutout is a mask; each is the identity where it was not drawn, which
makes any mixture of operations one batched, branch-free expression.
"""

import math
from typing import NamedTuple

import tensorflow as tf

from dam_tf.config.sections import OPERATIONS, AugmentationConfig


class Parameters(NamedTuple):
    """One transform per row.

    Attributes:
        warp: `[n, 2, 3]`, output position to source position, rows (x, y), in
            coordinates where the image spans -1 to 1 and pixel centres lie at
            half-integers (`align_corners=False`).
        brightness: `[n]`, added to every value.
        saturation: `[n]`, 1 keeps an image and 0 makes it grey.
        contrast: `[n]`, 1 keeps an image and 0 makes it uniform.
        hole: `[n, 4]` int32, the top, left, height and width that become zero.
    """

    warp: tf.Tensor
    brightness: tf.Tensor
    saturation: tf.Tensor
    contrast: tf.Tensor
    hole: tf.Tensor


def identity(count: int) -> Parameters:
    """Returns the parameters that change nothing, for `count` images."""
    return Parameters(
        warp=tf.tile(tf.constant([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]), [count, 1, 1]),
        brightness=tf.zeros([count]),
        saturation=tf.ones([count]),
        contrast=tf.ones([count]),
        hole=tf.zeros([count, 4], tf.int32),
    )


def draw(
    seed: tf.Tensor,
    count: int,
    image_size: tuple[int, int],
    config: AugmentationConfig,
    shared_operation: bool = False,
) -> Parameters:
    """Draws one operation and its strengths for each of `count` rows.

    Inside a function compiled by XLA the same seed gives other numbers (tensorflow
    issue 117644), so `draw` belongs before it and `apply` in it.

    Args:
        seed: `[2]`, as of a stateless op; the same seed gives the same draw.
        count: Rows: the classes while distilling, the images while evaluating.
        image_size: Height and width in pixels.
        config: The operations to choose from, and their ranges.
        shared_operation: Draw one operation for all rows, and only its
            strengths per row, as the evaluation protocol does.

    Returns:
        `Parameters` of `count` rows; for a class-wise draw, hand each image its
        class's row with `take`.

    Example:
        >>> parameters = draw([0, 1], 10, (32, 32), AugmentationConfig())
        >>> apply(tf.zeros([10, 32, 32, 3]), parameters).shape
        TensorShape([10, 32, 32, 3])
    """
    parameters = identity(count)
    if not config.operations:
        return parameters
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 7))
    seed_of = dict(zip(OPERATIONS, seeds[1:], strict=True))
    drawn = tf.random.stateless_uniform(
        [1 if shared_operation else count],
        seeds[0],
        maxval=len(config.operations),
        dtype=tf.int32,
    )
    drawn = tf.broadcast_to(drawn, [count])
    for index, name in enumerate(config.operations):
        changes = _DRAWS[name](seed_of[name], count, image_size, config)
        chosen = tf.equal(drawn, index)
        parameters = parameters._replace(
            **{
                field: tf.where(
                    tf.reshape(chosen, [count] + [1] * (len(values.shape) - 1)),
                    values,
                    getattr(parameters, field),
                )
                for field, values in changes.items()
            }
        )
    return parameters


# Those that can be done to the same image: each changes other fields.
TOGETHER = ("color", "crop", "cutout")


def draw_together(
    seed: tf.Tensor,
    count: int,
    image_size: tuple[int, int],
    config: AugmentationConfig,
) -> Parameters:
    """Draws the strengths of color, crop and cutout, which all happen to each row.

    Args:
        seed: As of `draw`.
        count: As of `draw`.
        image_size: As of `draw`.
        config: Those of the three that are among its operations, and their ranges.

    Reference:
        Kim et al. (IDC), ICML 2022: "color_crop_cutout".

    Example:
        >>> parameters = draw_together([0, 1], 2, (32, 32), AugmentationConfig())
        >>> parameters.hole[:, 2:].numpy().tolist()
        [[16, 16], [16, 16]]
    """
    parameters = identity(count)
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, len(TOGETHER)))
    for name, one in zip(TOGETHER, seeds, strict=True):
        if name in config.operations:
            changes = _DRAWS[name](one, count, image_size, config)
            parameters = parameters._replace(**changes)
    return parameters


def take(parameters: Parameters, rows: tf.Tensor) -> Parameters:
    """Returns the `rows` (int `[m]`) of `parameters`, one for each of m images."""
    return Parameters(*(tf.gather(values, rows) for values in parameters))


def apply(images: tf.Tensor, parameters: Parameters) -> tf.Tensor:
    """Returns `images` `[n, h, w, c]`, each transformed by its row of parameters.

    Differentiable in `images`, with the exact gradient; positions outside an
    image are zero, as in the DC/DSA/DM code.
    """
    images = _warp(images, parameters.warp)
    images = _color(images, parameters)
    return images * _mask(images.shape, parameters.hole, images.dtype)


compiled_apply = tf.function(apply, jit_compile=True, autograph=False)


def _uniform(seed, count, rows, low=0.0, high=1.0):
    return tf.unstack(tf.random.stateless_uniform([rows, count], seed, low, high))


def _whole(seed, count, limits):
    """Draws whole numbers in [low, high] for each (low, high) of `limits`."""
    shares = _uniform(seed, count, len(limits))
    return [
        tf.cast(tf.floor(low + share * (high - low + 1)), tf.int32)
        for share, (low, high) in zip(shares, limits, strict=True)
    ]


def _pixels(image_size, share):
    return [int(size * share + 0.5) for size in image_size]


def _warp_rows(x_row, y_row):
    return tf.stack([tf.stack(x_row, axis=1), tf.stack(y_row, axis=1)], axis=1)


def _draw_color(seed, count, image_size, config):
    brightness, saturation, contrast = _uniform(seed, count, 3)
    return {
        "brightness": (brightness - 0.5) * config.brightness,
        "saturation": saturation * config.saturation,
        "contrast": contrast + config.contrast,
    }


def _draw_crop(seed, count, image_size, config):
    limits = [(-limit, limit) for limit in _pixels(image_size, config.crop)]
    down, across = (tf.cast(v, tf.float32) for v in _whole(seed, count, limits))
    height, width = image_size
    zero, one = tf.zeros([count]), tf.ones([count])
    x_row = (one, zero, 2 * across / width)
    return {"warp": _warp_rows(x_row, (zero, one, 2 * down / height))}


def _draw_cutout(seed, count, image_size, config):
    lengths = _pixels(image_size, config.cutout)
    # The centre may lie anywhere, so a hole can reach over the border.
    limits = [
        (0, size - length % 2) for size, length in zip(image_size, lengths, strict=True)
    ]
    centres = _whole(seed, count, limits)
    starts = [c - length // 2 for c, length in zip(centres, lengths, strict=True)]
    sizes = [tf.fill([count], length) for length in lengths]
    return {"hole": tf.stack([*starts, *sizes], axis=1)}


def _draw_flip(seed, count, image_size, config):
    (share,) = _uniform(seed, count, 1)
    zero, one = tf.zeros([count]), tf.ones([count])
    mirror = tf.where(share < config.flip, -one, one)
    return {"warp": _warp_rows((mirror, zero, zero), (zero, one, zero))}


def _draw_scale(seed, count, image_size, config):
    x, y = _uniform(seed, count, 2, 1 / config.scale, config.scale)
    zero = tf.zeros([count])
    return {"warp": _warp_rows((x, zero, zero), (zero, y, zero))}


def _draw_rotate(seed, count, image_size, config):
    limit = config.rotate * math.pi / 180
    (angle,) = _uniform(seed, count, 1, -limit, limit)
    cos, sin, zero = tf.cos(angle), tf.sin(angle), tf.zeros([count])
    return {"warp": _warp_rows((cos, -sin, zero), (sin, cos, zero))}


_DRAWS = {
    "color": _draw_color,
    "crop": _draw_crop,
    "cutout": _draw_cutout,
    "flip": _draw_flip,
    "scale": _draw_scale,
    "rotate": _draw_rotate,
}


def _warp(images, warp):
    count, height, width, channels = images.shape
    column, row = tf.meshgrid(
        tf.range(width, dtype=tf.float32), tf.range(height, dtype=tf.float32)
    )
    column, row = tf.reshape(column, [1, -1]), tf.reshape(row, [1, -1])
    x, y = column - (width - 1) / 2, row - (height - 1) / 2
    # In pixels, and as the offset from the output position, not the position
    # itself: flips and the identity then land exactly on pixels. Products, not a
    # matmul: a GPU would round that to ten bits.
    change = warp - tf.constant([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    (x_by_x, x_by_y, right), (y_by_x, y_by_y, down) = (
        [entry[:, None] for entry in tf.unstack(line, axis=1)]
        for line in tf.unstack(change, axis=1)
    )
    column += x_by_x * x + x_by_y * (y * width / height)
    column += _whole_if_near(right * (width / 2))
    row += y_by_x * (x * height / width) + y_by_y * y
    row += _whole_if_near(down * (height / 2))
    left, top = tf.floor(column), tf.floor(row)
    right_share = (column - left)[..., None]
    lower_share = (row - top)[..., None]
    flat = tf.reshape(images, [count, height * width, channels])

    def corner(row, column):
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        row = tf.clip_by_value(tf.cast(row, tf.int32), 0, height - 1)
        column = tf.clip_by_value(tf.cast(column, tf.int32), 0, width - 1)
        values = tf.gather(flat, row * width + column, batch_dims=1)
        return values * tf.cast(inside, flat.dtype)[..., None]

    upper = corner(top, left) * (1 - right_share)
    upper += corner(top, left + 1) * right_share
    lower = corner(top + 1, left) * (1 - right_share)
    lower += corner(top + 1, left + 1) * right_share
    warped = upper * (1 - lower_share) + lower * lower_share
    return tf.reshape(warped, images.shape)


def _whole_if_near(shift):
    """A shift by whole pixels, freed of the rounding of 2 * shift / size."""
    whole = tf.round(shift)
    return tf.where(tf.abs(shift - whole) < 1e-4, whole, shift)


def _color(images, parameters):
    def per_image(values):
        return tf.reshape(values, [-1, 1, 1, 1])

    # As a change that is added, so that 1 and 0 change nothing, to the last bit.
    images = images + per_image(parameters.brightness)
    grey = tf.reduce_mean(images, axis=3, keepdims=True)
    images += (images - grey) * per_image(parameters.saturation - 1)
    mean = tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True)
    return images + (images - mean) * per_image(parameters.contrast - 1)


def _mask(shape, hole, dtype):
    def covered(size, start, length):
        positions = tf.range(size)[None]
        inside = (positions >= start[:, None]) & (positions < (start + length)[:, None])
        return tf.cast(inside, dtype)

    top, left, height, width = tf.unstack(hole, axis=1)
    rows = covered(shape[1], top, height)[:, :, None]
    columns = covered(shape[2], left, width)[:, None, :]
    return (1 - rows * columns)[..., None]
