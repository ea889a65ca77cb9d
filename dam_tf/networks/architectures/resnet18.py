"""ResNet-18 (He et al., CVPR 2016) for small images, strided or average-pooled.

The second form, `resnet18_ap`, is that of the DC/DSA/DM code: pooling in place
of strides gives distilled images smoother gradients.
"""

import keras

from dam_tf.base.errors import UserError
from dam_tf.config.sections import NetworkConfig
from dam_tf.networks.architectures.layers import (
    activation,
    check_groups,
    convolution,
    normalization,
    pooling,
    refuse_pooling,
    scaled,
)

_STAGES = (64, 128, 256, 512)
_BLOCKS = 2
_STRIDED = "strided"


def resnet18(
    image_shape: tuple[int, int, int], classes: int, config: NetworkConfig
) -> keras.Model:
    """Returns four stages of two residual blocks, averaged over positions.

    Stages 2 to 4 halve the map, rounded up, by a stride. `config.depth` means
    nothing here, and there is no pooling to choose.

    Args:
        image_shape: Height, width and channels, at least 9x9.
        classes: Outputs of the linear classifier.
        config: Width (64, 128, 256 and 512 kernels, times width / 128),
            activation and norm (instance if None).

    Returns:
        A Keras model, images to logits, with layers `tap_1` ... `tap_4` after the
        last activation of each stage and `embedding` before the classifier.

    Raises:
        UserError: the image is too small, pooling is asked for, or group norm's
            groups do not divide the channels.

    Example:
        >>> resnet18((32, 32, 3), 10, NetworkConfig()).count_params()
        11173962
    """
    refuse_pooling(config, "resnet18", "; resnet18_ap pools")
    images = keras.Input(image_shape, name="images")
    x = _stages(images, config, _STRIDED, "resnet18")
    x = keras.layers.GlobalAveragePooling2D(name="embedding")(x)
    logits = keras.layers.Dense(classes, name="logits")(x)
    return keras.Model(images, logits, name="resnet18")


def resnet18_ap(
    image_shape: tuple[int, int, int], classes: int, config: NetworkConfig
) -> keras.Model:
    """Returns ResNet-18 with 2x2 pooling in place of strides, flattened at its end.

    As `resnet18`, but for the pooling (avg if `config.pooling` is None), after the
    first activation of a block and on its shortcut; images are at least 16x16.

    Raises:
        UserError: the image is too small, `config.pooling` is `"none"`, or group
            norm's groups do not divide the channels.

    Example:
        >>> resnet18_ap((32, 32, 3), 10, NetworkConfig()).count_params()
        11250762
    """
    if config.pooling == "none":
        raise UserError(
            "resnet18_ap halves its maps by pooling, so network.pooling cannot be "
            "'none'; choose avg, max, or resnet18, which strides"
        )
    images = keras.Input(image_shape, name="images")
    x = _stages(images, config, config.pooling or "avg", "resnet18_ap")
    x = keras.layers.Flatten(name="embedding")(x)
    logits = keras.layers.Dense(classes, name="logits")(x)
    return keras.Model(images, logits, name="resnet18_ap")


def _stages(images, config: NetworkConfig, halving: str, network: str):
    layers = _Layers(config, halving, network)
    x = layers.convolve(images, scaled(_STAGES[0], config), 3, 1, name="conv")
    x = layers.normalize(x, "norm")
    x = activation(config.activation, x, name="activation")
    for stage, channels in enumerate(_STAGES, start=1):
        filters = scaled(channels, config)
        for block in range(1, _BLOCKS + 1):
            stride = 2 if stage > 1 and block == 1 else 1
            name = f"stage_{stage}_block_{block}"
            x = layers.residual_block(x, filters, stride, name)
            output = f"tap_{stage}" if block == _BLOCKS else f"{name}_activation"
            x = activation(config.activation, x, name=output)
        if min(x.shape[1:3]) < 2:
            _, height, width, _ = images.shape
            raise UserError(
                f"{network} is too deep for images of {height}x{width}: stage {stage} "
                "leaves a single row or column; give it larger images (--image_size)"
            )
    return x


class _Layers:
    """The layers of residual blocks, with one run's norm and way of halving."""

    def __init__(self, config: NetworkConfig, halving: str, network: str):
        self._config = config
        self._norm = config.norm or "instance"
        self._halving = halving
        self._network = network

    def residual_block(self, x, filters: int, stride: int, name: str):
        """Applies a block up to the sum, which its last activation follows."""
        shortcut = x
        x = self.convolve(x, filters, 3, stride, f"{name}_conv_1")
        x = self.normalize(x, f"{name}_norm_1")
        x = activation(self._config.activation, x, name=f"{name}_activation_1")
        x = self._pool(x, stride, f"{name}_pool")
        x = self.convolve(x, filters, 3, 1, f"{name}_conv_2")
        x = self.normalize(x, f"{name}_norm_2")
        if stride > 1 or shortcut.shape[-1] != filters:
            shortcut = self.convolve(
                shortcut, filters, 1, stride, f"{name}_shortcut_conv"
            )
            shortcut = self._pool(shortcut, stride, f"{name}_shortcut_pool")
            shortcut = self.normalize(shortcut, f"{name}_shortcut_norm")
        return keras.layers.Add(name=f"{name}_sum")([x, shortcut])

    def convolve(self, x, filters: int, size: int, stride: int, name: str):
        stride = stride if self._halving == _STRIDED else 1
        return convolution(x, filters, size, stride, name)

    def normalize(self, x, name: str):
        check_groups(self._norm, x.shape[-1], what=self._network)
        return normalization(self._norm, x, name=name)

    def _pool(self, x, stride: int, name: str):
        if stride == 1 or self._halving == _STRIDED:
            return x
        return pooling(self._halving, x, self._config.pooling_size, name=name)
