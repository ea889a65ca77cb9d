"""A multilayer perceptron, the DC/DSA/DM code's one network without convolutions."""

import keras

from dam_tf.base.errors import UserError
from dam_tf.config.sections import NetworkConfig
from dam_tf.networks.architectures.layers import (
    activation,
    check_groups,
    normalization,
    refuse_pooling,
)


def mlp(
    image_shape: tuple[int, int, int], classes: int, config: NetworkConfig
) -> keras.Model:
    """Returns `depth` dense layers (2 if None) and a linear classifier.

    An MLP has no positions: its taps are `[batch, 1, 1, width]`, so a normalised
    attention map is the constant 1, and of DataDAM's loss only the MMD remains.

    Args:
        image_shape: Height, width and channels.
        classes: Outputs of the linear classifier.
        config: Depth, width (the units of each layer), activation and norm (none
            if None; over the units, so instance norm is refused).

    Returns:
        A Keras model, images to logits, with layers `tap_1` ... `tap_L` after
        each activation and `embedding` before the classifier.

    Raises:
        UserError: pooling or instance norm is asked for, or group norm's groups
            do not divide the width.

    Example:
        >>> mlp((32, 32, 3), 10, NetworkConfig()).count_params()
        411146
    """
    refuse_pooling(config, "mlp")
    if config.norm == "instance":
        raise UserError(
            "an mlp has no positions for network.norm 'instance' to normalise over; "
            "choose one of: none, batch, layer, group"
        )
    norm, depth = config.norm or "none", config.depth or 2
    check_groups(norm, config.width, what="mlp")
    images = keras.Input(image_shape, name="images")
    x = keras.layers.Flatten(name="flatten")(images)
    for number in range(1, depth + 1):
        x = keras.layers.Dense(config.width, name=f"dense_{number}")(x)
        x = keras.layers.Reshape((1, 1, config.width), name=f"map_{number}")(x)
        x = normalization(norm, x, name=f"norm_{number}")
        x = activation(config.activation, x, name=f"tap_{number}")
        name = "embedding" if number == depth else f"flatten_{number}"
        x = keras.layers.Flatten(name=name)(x)
    logits = keras.layers.Dense(classes, name="logits")(x)
    return keras.Model(images, logits, name="mlp")
