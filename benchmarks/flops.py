"""Floating-point operations of a step, from the network's convolutions alone.

A multiply-add counts as two. Norms, activations, pooling, attention and augmentation
are left out: a floor is what no implementation can go below.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Convolution:
    """One convolution, as one image passes it.

    Attributes:
        name: Of the layer.
        height: Of its output, as `width`.
        width: Of its output.
        inputs: Channels.
        outputs: Channels.
        size: Height and width of its kernels.
        stride: Of its kernels.
    """

    name: str
    height: int
    width: int
    inputs: int
    outputs: int
    size: int
    stride: int = 1

    @property
    def flops(self) -> int:
        """Operations of one image's forward pass."""
        weights = self.size**2 * self.inputs * self.outputs
        return 2 * weights * self.height * self.width

    def __str__(self) -> str:
        shape = f"{self.inputs}->{self.outputs}"
        return f"{shape}, {self.size}x{self.size} on {self.height}x{self.width}"


def convolutions(network: Any) -> list[Convolution]:
    """Returns the convolutions of a Keras model."""
    found = []
    for layer in network.layers:
        if type(layer).__name__ == "Conv2D":
            _, height, width, outputs = layer.output.shape
            size, _, inputs, _ = layer.kernel.shape
            stride = layer.strides[0]
            found.append(
                Convolution(layer.name, height, width, inputs, outputs, size, stride)
            )
    return found


def passes(classes: int, ipc: int, batch_real: int) -> int:
    """Returns how often a step computes each convolution, an image at a time.

    Real images pass forward. Synthetic ones pass forward, and their gradient passes
    back with as many operations; weights need no gradient.
    """
    return classes * (batch_real + 2 * ipc)


def floor_seconds(
    layers: Sequence[Convolution], rates: Mapping[str, float], times: int
) -> float:
    """Returns the least seconds of `times` passes.

    Args:
        layers: Of the network.
        rates: Operations a second that the machine reaches, by layer.
        times: From `passes`.
    """
    return times * sum(layer.flops / rates[layer.name] for layer in layers)
