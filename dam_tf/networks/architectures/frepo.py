"""The ConvNet of FRePo (Zhou et al., NeurIPS 2022), which widens with depth."""

import keras

from dam_tf.base.errors import UserError
from dam_tf.config.sections import NetworkConfig
from dam_tf.config.settings import default_depth
from dam_tf.networks.architectures.layers import (
    activation,
    check_groups,
    normalization,
    pooling,
    scaled,
)

_BATCH_MOMENTUM = 0.1  # of running statistics: what a batch leaves of the old ones


def frepo(
    image_shape: tuple[int, int, int], classes: int, config: NetworkConfig
) -> keras.Model:
    """Returns blocks of norm, 3x3 convolution, activation and pooling.

    The first block has `config.width` kernels, each other one twice as many as the one
    before, and the first has no norm. Grey 28x28 images are padded to 32x32. The
    running statistics of batch norm keep a tenth of what they were at every batch, as
    in FRePo's code, where a momentum of 0.1 means that.

    Args:
        image_shape: Height, width and channels.
        classes: Outputs of the linear classifier.
        config: Depth (that of the ConvNet if None), width, activation, norm (none if
            None) and pooling (avg if None).

    Returns:
        A Keras model, images to logits, with layers `tap_1` ... `tap_L` after each
        activation and `embedding` before the classifier.

    Raises:
        UserError: the image is too small for so many poolings, or group norm's
            groups do not divide a width.

    Example:
        >>> network = frepo((32, 32, 3), 10, NetworkConfig())
        >>> network.get_layer("embedding").output.shape
        (None, 8192)
    """
    norm, pool = config.norm or "none", config.pooling or "avg"
    height, width, channels = image_shape
    images = x = keras.Input(image_shape, name="images")
    if height == 28 and channels == 1:
        x = keras.layers.ZeroPadding2D(2, name="padding")(x)
    depth = config.depth or default_depth(image_shape)
    for number in range(1, depth + 1):
        if pool != "none" and min(x.shape[1:3]) < 2:
            raise UserError(
                f"frepo of {depth} blocks is too deep for images of {height}x{width}: "
                f"block {number} has nothing to pool; give a smaller depth or larger "
                "images (--image_size)"
            )
        if number > 1:
            check_groups(norm, x.shape[-1], what=f"block {number - 1}")
            x = normalization(norm, x, f"norm_{number}", _BATCH_MOMENTUM)
        filters = scaled(128 * 2 ** (number - 1), config)
        x = keras.layers.Conv2D(filters, 3, padding="same", name=f"conv_{number}")(x)
        x = activation(config.activation, x, name=f"tap_{number}")
        x = pooling(pool, x, config.pooling_size, name=f"pool_{number}")
    x = keras.layers.Flatten(name="embedding")(x)
    logits = keras.layers.Dense(classes, name="logits")(x)
    return keras.Model(images, logits, name="frepo")
