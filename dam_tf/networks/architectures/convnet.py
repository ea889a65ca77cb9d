"""The ConvNet family (Gidaris and Komodakis, CVPR 2018) that the field distils with."""

import keras

from dam_tf.config.sections import NetworkConfig
from dam_tf.config.settings import default_depth
from dam_tf.networks.architectures.blocks import Block, stack_blocks


def convnet(
    image_shape: tuple[int, int, int], classes: int, config: NetworkConfig
) -> keras.Model:
    """Returns `depth` blocks of convolution, norm, activation and pooling.

    Convolutions are 3x3. Grey 28x28 images are padded to 32x32 by the first one,
    as in the DC/DSA/DM code. Where `config.depth` is None it is 1 block below
    8x8, 2 below 16x16, 3 up to 32x32, 4 up to 64x64 and 5 above, by the shorter side
    (`default_depth`).

    Args:
        image_shape: Height, width and channels.
        classes: Outputs of the linear classifier.
        config: Depth, width, activation, norm (instance if None) and pooling (avg
            if None).

    Returns:
        A Keras model, images to logits, with layers `tap_1` ... `tap_L` after
        each activation and `embedding` before the classifier.

    Raises:
        UserError: the image is too small for so many poolings, or group norm's
            groups do not divide the width.

    Example:
        >>> convnet((32, 32, 3), 10, NetworkConfig()).count_params()
        320010
    """
    depth = config.depth or default_depth(image_shape)
    images = keras.Input(image_shape, name="images")
    x = stack_blocks(
        images,
        [Block(128)] * depth,
        config,
        norm="instance",
        pool="avg",
        what=f"network.depth {depth}",
        has_depth=True,
    )
    x = keras.layers.Flatten(name="embedding")(x)
    logits = keras.layers.Dense(classes, name="logits")(x)
    return keras.Model(images, logits, name="convnet")
