"""VGG-11 (Simonyan and Zisserman, ICLR 2015) with one linear layer, as in DC/DSA/DM."""

import keras

from dam_tf.config.sections import NetworkConfig
from dam_tf.networks.architectures.blocks import Block, stack_blocks

_BLOCKS = (
    Block(64),
    Block(128),
    Block(256, pooled=False),
    Block(256),
    Block(512, pooled=False),
    Block(512),
    Block(512, pooled=False),
    Block(512),
)


def vgg11(
    image_shape: tuple[int, int, int], classes: int, config: NetworkConfig
) -> keras.Model:
    """Returns eight 3x3 convolutions, five of them pooled, and a linear classifier.

    Grey 28x28 images are padded to 32x32. `config.depth` means nothing here.

    Args:
        image_shape: Height, width and channels, at least 32x32 with pooling.
        classes: Outputs of the linear classifier.
        config: Width (64 to 512 kernels, times width / 128), activation, norm
            (instance if None) and pooling (max if None).

    Returns:
        A Keras model, images to logits, with layers `tap_1` ... `tap_8` after
        each activation and `embedding` before the classifier.

    Raises:
        UserError: the image is too small, or group norm's groups do not divide
            the channels.

    Example:
        >>> vgg11((32, 32, 3), 10, NetworkConfig()).count_params()
        9231114
    """
    images = keras.Input(image_shape, name="images")
    x = stack_blocks(images, _BLOCKS, config, norm="instance", pool="max", what="vgg11")
    x = keras.layers.Flatten(name="embedding")(x)
    logits = keras.layers.Dense(classes, name="logits")(x)
    return keras.Model(images, logits, name="vgg11")
