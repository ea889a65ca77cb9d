"""The networks of NAS-Bench-201 (Dong and Yang, ICLR 2020): one cell, repeated."""

import keras

from dam_tf.config.cells import (
    EDGES,
    RESIDUAL_CELL,
    parse_cell,
)
from dam_tf.config.sections import NetworkConfig
from dam_tf.networks.architectures.layers import (
    activation,
    check_groups,
    convolution,
    normalization,
    refuse_pooling,
    scaled,
)

_STAGES = (16, 32, 64)
_CELLS = 5  # in each stage


def nasbench201(
    image_shape: tuple[int, int, int], classes: int, config: NetworkConfig
) -> keras.Model:
    """Returns three stages of `depth` equal cells, with residual blocks between.

    The residual blocks halve the map, rounded up. An operation that convolves is
    activation, convolution, norm.

    Args:
        image_shape: Height, width and channels.
        classes: Outputs of the linear classifier.
        config: Cell, as `config.cells` writes it (two convolutions and a way
            around them if None), depth (5 if None), width (16, 32 and 64
            channels, times width / 128), activation and norm (batch if None).

    Returns:
        A Keras model, images to logits, with layers `tap_1` and `tap_2` at the ends
        of the first stages, `tap_3` after the last activation, and `embedding`
        before the classifier.

    Raises:
        UserError: the cell cannot be read, pooling is asked for, or group norm's
            groups do not divide the channels.

    Example:
        >>> nasbench201((32, 32, 3), 10, NetworkConfig()).count_params()
        562170
    """
    refuse_pooling(config, "nasbench201", "; its cells may have operations that pool")
    layers = _Layers(config)
    images = keras.Input(image_shape, name="images")
    filters = scaled(_STAGES[0], config)
    x = layers.normalize(convolution(images, filters, 3, 1, "stem"), "stem_norm")
    for stage, channels in enumerate(_STAGES, start=1):
        if stage > 1:
            filters = scaled(channels, config)
            x = layers.halve(x, filters, f"stage_{stage}_halving")
        cells = config.depth or _CELLS
        for number in range(1, cells + 1):
            last = number == cells and stage < len(_STAGES)
            name = f"stage_{stage}_cell_{number}"
            x = layers.cell(x, name, output=f"tap_{stage}" if last else f"{name}_sum")
    x = layers.normalize(x, "norm")
    x = activation(config.activation, x, name=f"tap_{len(_STAGES)}")
    x = keras.layers.GlobalAveragePooling2D(name="embedding")(x)
    logits = keras.layers.Dense(classes, name="logits")(x)
    return keras.Model(images, logits, name="nasbench201")


class _Layers:
    """The layers of one network, with its cell and norm."""

    def __init__(self, config: NetworkConfig):
        self._config = config
        self._operations = parse_cell(config.cell or RESIDUAL_CELL)

    def cell(self, x, name: str, output: str):
        """Applies the cell; its last sum is named `output`."""
        nodes = [x]
        for node in (1, 2, 3):
            arriving = [
                self._operation(kind, nodes[start], f"{name}_edge_{start}_{node}")
                for (start, end), kind in zip(EDGES, self._operations, strict=True)
                if end == node
            ]
            if len(arriving) > 1:
                arriving = [
                    keras.layers.Add(name=output if node == 3 else f"{name}_{node}")(
                        arriving
                    )
                ]
            nodes += arriving
        return nodes[-1]

    def _operation(self, kind: str, x, name: str):
        channels = x.shape[-1]
        match kind:
            case "none":
                # Not left out: what leads nowhere has weights too, whose gradient
                # is zero then, as in the original.
                return keras.layers.Rescaling(0.0, name=name)(x)
            case "skip_connect":
                return x
            case "avg_pool_3x3":
                return keras.layers.AveragePooling2D(3, 1, "same", name=name)(x)
            case "nor_conv_1x1":
                return self._activate_convolve(x, channels, 1, name)
            case "nor_conv_3x3":
                return self._activate_convolve(x, channels, 3, name)

    def halve(self, x, filters: int, name: str):
        """Applies the residual block between stages."""
        shortcut = keras.layers.AveragePooling2D(2, 2, "same", name=f"{name}_pool")(x)
        shortcut = convolution(shortcut, filters, 1, 1, f"{name}_shortcut")
        x = self._activate_convolve(x, filters, 3, f"{name}_1", stride=2)
        x = self._activate_convolve(x, filters, 3, f"{name}_2")
        return keras.layers.Add(name=f"{name}_sum")([x, shortcut])

    def _activate_convolve(self, x, filters, size, name, stride=1):
        x = activation(self._config.activation, x, name=f"{name}_activation")
        x = convolution(x, filters, size, stride, f"{name}_conv")
        return self.normalize(x, f"{name}_norm")

    def normalize(self, x, name: str):
        norm = self._config.norm or "batch"
        check_groups(norm, x.shape[-1], what="nasbench201")
        return normalization(norm, x, name=name)
