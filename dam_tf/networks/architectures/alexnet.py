"""AlexNet (Krizhevsky et al., NeurIPS 2012) for small images, as DC/DSA/DM use it."""

import keras

from dam_tf.config.sections import NetworkConfig
from dam_tf.networks.architectures.blocks import Block, stack_blocks

_BLOCKS = (
    Block(128, size=5),
    Block(192, size=5),
    Block(256, pooled=False),
    Block(192, pooled=False),
    Block(192),
)


def alexnet(
    image_shape: tuple[int, int, int], classes: int, config: NetworkConfig
) -> keras.Model:
    """Returns five convolutions, three of them pooled, and a linear classifier.

    Grey 28x28 images are padded to 32x32. `config.depth` means nothing here.

    Args:
        image_shape: Height, width and channels, at least 8x8 with pooling.
        classes: Outputs of the linear classifier.
        config: Width (128, 192, 256, 192 and 192 kernels, times width / 128),
            activation, norm (none if None) and pooling (max if None).

    Returns:
        A Keras model, images to logits, with layers `tap_1` ... `tap_5` after
        each activation and `embedding` before the classifier.

    Raises:
        UserError: the image is too small, or group norm's groups do not divide
            the channels.

    Example:
        >>> alexnet((32, 32, 3), 10, NetworkConfig()).count_params()
        1872202
    """
    images = keras.Input(image_shape, name="images")
    x = stack_blocks(images, _BLOCKS, config, norm="none", pool="max", what="alexnet")
    x = keras.layers.Flatten(name="embedding")(x)
    logits = keras.layers.Dense(classes, name="logits")(x)
    return keras.Model(images, logits, name="alexnet")
