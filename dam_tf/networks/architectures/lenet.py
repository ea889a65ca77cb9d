"""LeNet (LeCun et al., Proceedings of the IEEE 1998), as DC/DSA/DM use it."""

import keras

from dam_tf.config.sections import NetworkConfig
from dam_tf.networks.architectures.blocks import Block, stack_blocks
from dam_tf.networks.architectures.layers import activation, scaled

_BLOCKS = (Block(6, size=5, padding="valid"), Block(16, size=5, padding="valid"))


def lenet(
    image_shape: tuple[int, int, int], classes: int, config: NetworkConfig
) -> keras.Model:
    """Returns two pooled 5x5 convolutions and three dense layers.

    Grey 28x28 images are padded to 32x32. `config.depth` means nothing here.

    Args:
        image_shape: Height, width and channels, at least 16x16 with pooling.
        classes: Outputs of the last dense layer.
        config: Width (6 and 16 kernels, 120 and 84 units, times width / 128),
            activation, norm after the convolutions (none if None) and pooling
            (max if None).

    Returns:
        A Keras model, images to logits, with layers `tap_1` and `tap_2` after the
        activations of the convolutions and `embedding`, that of the last but one
        dense layer.

    Raises:
        UserError: the image is too small, or group norm's groups do not divide
            the channels.

    Example:
        >>> lenet((32, 32, 3), 10, NetworkConfig()).count_params()
        62006
    """
    images = keras.Input(image_shape, name="images")
    x = stack_blocks(images, _BLOCKS, config, norm="none", pool="max", what="lenet")
    x = keras.layers.Flatten(name="flatten")(x)
    for number, units in enumerate((120, 84), start=1):
        x = keras.layers.Dense(scaled(units, config), name=f"dense_{number}")(x)
        name = "embedding" if number == 2 else f"activation_{number}"
        x = activation(config.activation, x, name=name)
    logits = keras.layers.Dense(classes, name="logits")(x)
    return keras.Model(images, logits, name="lenet")
