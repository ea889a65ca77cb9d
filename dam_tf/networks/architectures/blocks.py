"""Blocks of convolution, norm, activation and pooling, which plain networks stack."""

import dataclasses
from collections.abc import Sequence

import keras

from dam_tf.base.errors import UserError
from dam_tf.config.sections import NetworkConfig
from dam_tf.networks.architectures.layers import (
    activation,
    check_groups,
    normalization,
    pooling,
    scaled,
)


@dataclasses.dataclass(frozen=True)
class Block:
    """One block, as an architecture's table lists it.

    Attributes:
        filters: Kernels of the convolution where `config.width` is 128.
        size: Height and width of the kernels.
        padding: `"same"` or `"valid"`.
        pooled: Whether pooling follows.
    """

    filters: int
    size: int = 3
    padding: str = "same"
    pooled: bool = True


def stack_blocks(
    images,
    blocks: Sequence[Block],
    config: NetworkConfig,
    norm: str,
    pool: str,
    what: str,
    has_depth: bool = False,
):
    """Applies `blocks` in turn: `conv_1`, `norm_1`, `tap_1`, `pool_1`, `conv_2`, ...

    Grey 28x28 images are padded to 32x32 first, as in the DC/DSA/DM code.

    Args:
        images: `[batch, height, width, channels]`.
        blocks: What is applied.
        config: Width, activation, norm, pooling and its size.
        norm: The normalisation where `config.norm` is None.
        pool: The pooling where `config.pooling` is None.
        what: What is too deep, in words, if the images are too small.
        has_depth: Whether `network.depth` says how many blocks there are.

    Returns:
        The last block's map, `[batch, h, w, c]`.

    Raises:
        UserError: the images are too small, or groups do not divide the channels.
    """
    norm, pool = config.norm or norm, config.pooling or pool
    _, height, width, channels = images.shape
    x = images
    if height == 28 and channels == 1:
        x = keras.layers.ZeroPadding2D(2, name="padding")(x)

    def too_deep(number: int, lacks: str) -> UserError:
        fits = has_depth and number > 1
        instead = f"give --set=network.depth={number - 1} or" if fits else "give it"
        return UserError(
            f"{what} is too deep for images of {height}x{width}: block {number} has "
            f"nothing to {lacks}; {instead} larger images (--image_size)"
        )

    for number, block in enumerate(blocks, start=1):
        if block.padding == "valid" and min(x.shape[1:3]) < block.size:
            raise too_deep(number, "convolve")
        filters = scaled(block.filters, config)
        check_groups(norm, filters, what=f"block {number}")
        x = keras.layers.Conv2D(
            filters, block.size, padding=block.padding, name=f"conv_{number}"
        )(x)
        x = normalization(norm, x, name=f"norm_{number}")
        x = activation(config.activation, x, name=f"tap_{number}")
        if block.pooled:
            if pool != "none" and min(x.shape[1:3]) < 2:
                raise too_deep(number, "pool")
            x = pooling(pool, x, config.pooling_size, name=f"pool_{number}")
    return x
