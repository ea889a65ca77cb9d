"""How images are varied before a discriminator sees them, by the house's own DSA.

DiffAugment (Zhao et al., NeurIPS 2020) does all of its operations to each image, where
DSA draws one of them; their strengths are the same.
"""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from dam_tf.augmentation import dsa
from dam_tf.config.sections import AugmentationConfig

# What each operation decides of DSA's parameters.
_FIELDS = {
    "color": ("brightness", "saturation", "contrast"),
    "crop": ("warp",),
    "cutout": ("hole",),
    "flip": ("warp",),
}


def draw_all(
    seed: tf.Tensor,
    count: int,
    image_size: tuple[int, int],
    config: AugmentationConfig,
    operations: Sequence[str],
) -> dsa.Parameters:
    """Draws strengths of all `operations`, for each of `count` images.

    To be drawn outside of functions that XLA compiles, as `dsa.draw`.

    Args:
        seed: `[2]`, as of a stateless op.
        count: Images.
        image_size: Height and width in pixels.
        config: The ranges of the strengths.
        operations: Keys of DSA that decide different things of an image: color; crop or
            flip; cutout.

    Example:
        >>> operations = ("crop", "cutout")
        >>> drawn = draw_all([0, 1], 5, (32, 32), AugmentationConfig(), operations)
        >>> int(drawn.hole[0, 2]), float(drawn.brightness[0])
        (16, 0.0)
    """
    parameters = dsa.identity(count)
    for name in operations:
        only = dataclasses.replace(config, operations=(name,))
        drawn = dsa.draw(seed, count, image_size, only)
        fields = {field: getattr(drawn, field) for field in _FIELDS[name]}
        parameters = parameters._replace(**fields)
    return parameters
