"""The ConvNet family (Gidaris and Komodakis, CVPR 2018) that the field distils with."""

import keras

from dam_tf.config import NetworkConfig, default_depth
from dam_tf.errors import UserError
from dam_tf.networks.layers import activation, normalization, pooling


def convnet(
    image_shape: tuple[int, int, int], classes: int, config: NetworkConfig
) -> keras.Model:
    """Returns `depth` blocks of convolution, norm, activation and pooling.

    Convolutions are 3x3. Grey 28x28 images are padded to 32x32 by the first one,
    as in the PyTorch lineage. Where `config.depth` is None it is 3 blocks up to
    32x32, 4 up to 64x64 and 5 above (section 6.1.4).

    Args:
        image_shape: Height, width and channels.
        classes: Outputs of the linear classifier.
        config: Depth, width, activation, norm and pooling.

    Returns:
        A Keras model, images to logits, with layers `tap_1` ... `tap_L` after
        each activation and `embedding` before the classifier.

    Raises:
        UserError: the image is too small for so many poolings.
    """
    height, _, channels = image_shape
    depth = config.depth or default_depth(height)
    norm, pool = config.norm or "instance", config.pooling or "avg"
    images = keras.Input(image_shape, name="images")
    x = images
    for block in range(1, depth + 1):
        if block == 1 and channels == 1 and height == 28:
            x = keras.layers.ZeroPadding2D(2, name="padding")(x)
        x = keras.layers.Conv2D(config.width, 3, padding="same", name=f"conv_{block}")(
            x
        )
        x = normalization(norm, x, name=f"norm_{block}")
        x = activation(config.activation, x, name=f"tap_{block}")
        if pool != "none" and min(x.shape[1:3]) < 2:
            raise UserError(
                f"network.depth {depth} is too deep for images of "
                f"{image_shape[0]}x{image_shape[1]}: block {block} has nothing to pool"
            )
        x = pooling(pool, x, config.pooling_size, name=f"pool_{block}")
    x = keras.layers.Flatten(name="embedding")(x)
    logits = keras.layers.Dense(classes, name="logits")(x)
    return keras.Model(images, logits, name="convnet")
