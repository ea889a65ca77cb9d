"""A small vision transformer: the plain ViT of Beyer, Zhai and Kolesnikov (2022)."""

import keras
import numpy as np
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.config.sections import NetworkConfig
from dam_tf.networks.architectures.layers import activation, refuse_pooling

_HEADS = 4
_PATCHES_PER_SIDE = 8
_EPSILON = 1e-6
_LONGEST_WAVE = 10_000.0


def vit(
    image_shape: tuple[int, int, int], classes: int, config: NetworkConfig
) -> keras.Model:
    """Returns `depth` transformer blocks (6 if None), averaged over patches.

    As in "Better plain ViT baselines for ImageNet-1k" (arXiv:2205.01580): blocks
    normalise first, positions are fixed sines and cosines, there is no class token
    and no dropout. Patches have an eighth of the shorter side, at least 1 pixel;
    where they do not divide the image it is padded. Heads are 4, or as many of
    them as divide the width. The MLP of a block is 4 times as wide and takes
    `config.activation`, so relu if it is left out, where the paper has gelu.

    Args:
        image_shape: Height, width and channels.
        classes: Outputs of the linear classifier.
        config: Depth, width, activation, and norm: layer norm over the channels of
            each patch, its own, is all it takes.

    Returns:
        A Keras model, images to logits, with layers `tap_1` ... `tap_L`, the
        patches after each block as `[batch, height / patch, width / patch, width]`,
        and `embedding` before the classifier.

    Raises:
        UserError: pooling, or a norm other than layer norm, is asked for.

    Example:
        >>> vit((32, 32, 3), 10, NetworkConfig()).count_params()
        1197450
    """
    refuse_pooling(config, "vit")
    if config.norm not in (None, "layer"):
        raise UserError(
            f"vit takes no network.norm {config.norm!r}: layer norm is part of it; "
            "choose layer or leave it out"
        )
    width = config.width
    patch = max(1, min(image_shape[:2]) // _PATCHES_PER_SIDE)
    images = keras.Input(image_shape, name="images")
    grid = keras.layers.Conv2D(width, patch, patch, "same", name="patches")(images)
    grid = GridPositions(name="positions")(grid)
    _, rows, columns, _ = grid.shape
    for block in range(1, (config.depth or 6) + 1):
        x = keras.layers.Reshape((rows * columns, width), name=f"tokens_{block}")(grid)
        x = _transformer_block(x, config, name=f"block_{block}")
        grid = keras.layers.Reshape((rows, columns, width), name=f"tap_{block}")(x)
    x = keras.layers.LayerNormalization(epsilon=_EPSILON, name="norm")(grid)
    x = keras.layers.GlobalAveragePooling2D(name="embedding")(x)
    logits = keras.layers.Dense(classes, name="logits")(x)
    return keras.Model(images, logits, name="vit")


def _transformer_block(x, config: NetworkConfig, name: str):
    """Adds self-attention and then an MLP to tokens `[batch, patches, width]`."""
    width = config.width
    heads = max(n for n in range(1, _HEADS + 1) if width % n == 0)
    y = keras.layers.LayerNormalization(epsilon=_EPSILON, name=f"{name}_norm_1")(x)
    y = keras.layers.MultiHeadAttention(
        heads, width // heads, name=f"{name}_attention"
    )(y, y)
    x = keras.layers.Add(name=f"{name}_sum_1")([x, y])
    y = keras.layers.LayerNormalization(epsilon=_EPSILON, name=f"{name}_norm_2")(x)
    y = _dense(y, 4 * width, name=f"{name}_dense_1")
    y = activation(config.activation, y, name=f"{name}_activation")
    y = _dense(y, width, name=f"{name}_dense_2")
    return keras.layers.Add(name=f"{name}_sum_2")([x, y])


def _dense(x, units: int, name: str):
    # One matrix product for all tokens; Dense has TensorFlow take one for each image.
    return keras.layers.EinsumDense(
        "bti,io->bto", (None, units), bias_axes="o", name=name
    )(x)


@keras.saving.register_keras_serializable(package="dam_tf")
class GridPositions(keras.layers.Layer):
    """Adds to each place of a grid sines and cosines of its column and row.

    The fixed two-dimensional embedding of "Better plain ViT baselines": a quarter
    of the channels each for sin and cos of column and row, at wavelengths from
    2 pi to 20,000 pi. Channels that are no multiple of 4 lose the last of them.

    Call arguments:
        grid: `[batch, height, width, channels]`.

    Example:
        >>> GridPositions()(tf.zeros([1, 1, 2, 4])).numpy().round(2)
        array([[[[0.  , 1.  , 0.  , 1.  ],
                 [0.84, 0.54, 0.  , 1.  ]]]], dtype=float32)
    """

    def call(self, grid: tf.Tensor) -> tf.Tensor:
        return grid + _positions(*grid.shape[1:])


def _positions(height: int, width: int, channels: int) -> np.ndarray:
    """Returns `[height, width, channels]`, of which row 0, column 0 is the corner."""
    count = -(-channels // 4)
    frequencies = _LONGEST_WAVE ** -np.linspace(0.0, 1.0, count)
    rows, columns = np.mgrid[:height, :width, :1][:2]
    waves = [
        wave(places * frequencies)
        for places in (columns, rows)
        for wave in (np.sin, np.cos)
    ]
    return np.concatenate(waves, axis=-1)[..., :channels].astype(np.float32)
