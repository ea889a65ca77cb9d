"""The layers that every architecture chooses from by name."""

import keras

from dam_tf.base.errors import UserError
from dam_tf.config.sections import NetworkConfig

# PyTorch's defaults, which the field's numbers were made with.
_EPSILON = 1e-5
_BATCH_MOMENTUM = 0.9
_GROUPS = 4


def normalization(kind: str, x, name: str, batch_momentum: float = _BATCH_MOMENTUM):
    """Applies `none`, `batch`, `layer`, `instance` or `group` normalisation.

    Instance norm is group norm with a group for each channel; layer norm takes
    height, width and channels together, with a weight for each element; group
    norm has 4 groups. Batch norm keeps `batch_momentum` of its statistics at a batch.
    """
    if kind == "none":
        return x
    if kind == "batch":
        layer = keras.layers.BatchNormalization(
            momentum=batch_momentum, epsilon=_EPSILON, name=name
        )
    elif kind == "layer":
        layer = keras.layers.LayerNormalization(
            axis=(1, 2, 3), epsilon=_EPSILON, name=name
        )
    else:
        groups = {"instance": -1, "group": _GROUPS}[kind]
        layer = keras.layers.GroupNormalization(groups, epsilon=_EPSILON, name=name)
    return layer(x)


def activation(kind: str, x, name: str):
    """Applies `relu`, `leaky_relu` (slope 0.01), `sigmoid` or `swish`."""
    if kind == "leaky_relu":
        return keras.layers.LeakyReLU(negative_slope=0.01, name=name)(x)
    if kind == "relu":
        return keras.layers.ReLU(name=name)(x)
    return keras.layers.Activation(kind, name=name)(x)


def convolution(x, filters: int, size: int, stride: int, name: str):
    """Convolves about every `stride`th position, from the first on, without a bias."""
    padding = "same"
    if stride > 1 and size == 1:
        # The positions are taken first: oneDNN writes out of bounds in the gradient
        # of a strided 1x1 convolution (seen in TensorFlow 2.21: "invalid size").
        x = keras.layers.AveragePooling2D(1, stride, name=f"{name}_places")(x)
        stride = 1
    elif stride > 1:  # "same" would start at the second position of an even side
        padding = "valid"
        x = keras.layers.ZeroPadding2D(size // 2, name=f"{name}_padding")(x)
    return keras.layers.Conv2D(
        filters, size, stride, padding, use_bias=False, name=name
    )(x)


def pooling(kind: str, x, size: int, name: str):
    """Applies `none`, or `avg` or `max` over size x size with stride 2.

    2x2 rounds down as in PyTorch; any other size is padded as TensorFlow's "same",
    so that a map is halved, rounded up.
    """
    if kind == "none":
        return x
    pool = {"avg": keras.layers.AveragePooling2D, "max": keras.layers.MaxPooling2D}
    padding = "valid" if size == 2 else "same"
    return pool[kind](size, strides=2, padding=padding, name=name)(x)


def scaled(channels: int, config: NetworkConfig) -> int:
    """Returns an architecture's own number of channels times `config.width` / 128.

    Example:
        >>> scaled(192, NetworkConfig(width=64))
        96
    """
    return max(1, round(channels * config.width / 128))


def check_groups(norm: str, channels: int, what: str) -> None:
    """Raises a `UserError` if `norm` is `group` and does not divide `channels`."""
    if norm == "group" and channels % _GROUPS:
        raise UserError(
            f"network.norm 'group' has {_GROUPS} groups, which do not divide the "
            f"{channels} channels of {what}; choose another network.width or norm"
        )


def refuse_pooling(config: NetworkConfig, network: str, instead: str = "") -> None:
    """Raises a `UserError` if pooling is asked of a network that has none."""
    if config.pooling not in (None, "none"):
        raise UserError(
            f"{network} has no pooling, so network.pooling {config.pooling!r} cannot "
            f"be applied; leave it out{instead}"
        )
