"""Architectures by name, and the outputs that methods look at."""

import keras

from dam_tf.base.errors import choice_error
from dam_tf.config.sections import NetworkConfig
from dam_tf.networks.architectures.alexnet import alexnet
from dam_tf.networks.architectures.convnet import convnet
from dam_tf.networks.architectures.frepo import frepo
from dam_tf.networks.architectures.lenet import lenet
from dam_tf.networks.architectures.mlp import mlp
from dam_tf.networks.architectures.nasbench201 import nasbench201
from dam_tf.networks.architectures.resnet18 import resnet18, resnet18_ap
from dam_tf.networks.architectures.vgg11 import vgg11
from dam_tf.networks.architectures.vit import vit

ARCHITECTURES = {
    "convnet": convnet,
    "alexnet": alexnet,
    "vgg11": vgg11,
    "resnet18": resnet18,
    "resnet18_ap": resnet18_ap,
    "lenet": lenet,
    "mlp": mlp,
    "vit": vit,
    "nasbench201": nasbench201,
    "frepo": frepo,
}


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
        config: Depth (of convnet, frepo, mlp, vit and nasbench201; others have their
            own), width, activation, norm, pooling, cell (of nasbench201); defaults if
            left out. Where norm, pooling or cell is None, it is the architecture's own.

    Returns:
        A Keras model with layers `tap_1` ... `tap_L`, `[batch, h_l, w_l, c_l]`,
        `embedding`, `[batch, d]`, and `logits`, `[batch, classes]`.

    Raises:
        UserError: the name is unknown, the images are too small for the network,
            or it cannot have the norm or the pooling.

    Example:
        >>> create("convnet", (32, 32, 3), 10).count_params()
        320010
    """
    if name not in ARCHITECTURES:
        raise choice_error("network", name, ARCHITECTURES)
    return ARCHITECTURES[name](image_shape, classes, config or NetworkConfig())


def tap_names(network: keras.Model) -> list[str]:
    """Returns the layers whose maps are matched, `tap_1` to `tap_L`, in order."""
    names = [layer.name for layer in network.layers if layer.name.startswith("tap_")]
    return sorted(names, key=lambda name: int(name.removeprefix("tap_")))


def feature_extractor(network: keras.Model) -> keras.Model:
    """Returns a model of `network`'s weights that gives what methods look at.

    Its output is `{"taps": [tap_1, ..., tap_L], "embedding": [batch, d], "logits":
    [batch, classes]}`.
    """
    outputs = {
        "taps": [network.get_layer(name).output for name in tap_names(network)],
        "embedding": network.get_layer("embedding").output,
        "logits": network.outputs[0],
    }
    return keras.Model(network.inputs[0], outputs, name=f"{network.name}_features")
