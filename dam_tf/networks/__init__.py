"""Architectures by name, the features that are matched, and random weights."""

import keras

from dam_tf.config import NetworkConfig
from dam_tf.errors import choice_error
from dam_tf.networks.convnet import convnet
from dam_tf.networks.random_weights import RandomWeights

ARCHITECTURES = {"convnet": convnet}


def create(
    name: str,
    image_shape: tuple[int, int, int],
    classes: int,
    config: NetworkConfig | None = None,
) -> keras.Model:
    """Returns an untrained classifier, images to logits.

    Args:
        name: A key of `ARCHITECTURES`.
        image_shape: Height, width and channels.
        classes: Number of logits.
        config: Depth, width, activation, norm, pooling; defaults if left out.

    Raises:
        UserError: the name is unknown, or the images do not suit the network.

    Example:
        >>> create("convnet", (32, 32, 3), 10).count_params()
        320010
    """
    if name not in ARCHITECTURES:
        raise choice_error("network", name, ARCHITECTURES)
    return ARCHITECTURES[name](image_shape, classes, config or NetworkConfig())


def feature_extractor(network: keras.Model) -> keras.Model:
    """Returns a model of `network`'s weights that gives what objectives match.

    Its output is `{"taps": [tap_1, ..., tap_L], "embedding": [batch, d]}`.
    """
    names = [layer.name for layer in network.layers]
    taps = sorted(
        (name for name in names if name.startswith("tap_")),
        key=lambda name: int(name.removeprefix("tap_")),
    )
    outputs = {
        "taps": [network.get_layer(name).output for name in taps],
        "embedding": network.get_layer("embedding").output,
    }
    return keras.Model(network.inputs[0], outputs, name=f"{network.name}_features")


__all__ = ["ARCHITECTURES", "RandomWeights", "create", "feature_extractor"]
