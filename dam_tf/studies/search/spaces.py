"""The architectures that a search chooses from: ConvNets, cells of NAS-Bench-201.

Nothing here imports TensorFlow, so a tool can say what it will do before that.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from dam_tf.config.cells import all_cells
from dam_tf.config.sections import NetworkConfig
from dam_tf.config.settings import Config, replace

# The grid of 720 ConvNets (section 6.2.3 of the paper): what differs, and how. The
# paper's text lists no average pooling there, but without it there are 480.
CONVNET_GRID: dict[str, tuple] = {
    "depth": (1, 2, 3, 4),
    "width": (32, 64, 128, 256),
    "activation": ("sigmoid", "relu", "leaky_relu"),
    "norm": ("none", "batch", "layer", "instance", "group"),
    "pooling": ("none", "max", "avg"),
}

# Settings of section network that no architecture decides.
_SHARED = ("initializer", "pooling_size")


@dataclasses.dataclass(frozen=True, eq=False)
class Architecture:
    """One candidate of a search.

    Attributes:
        name: It alone in its space.
        network: Its settings of section network; others are as by default.
    """

    name: str
    network: Mapping[str, Any]

    def config(self, base: Config) -> Config:
        """Returns `base` with this network.

        Args:
            base: Of its section network, the initialiser and the pooling's size stay.

        Raises:
            UserError: a setting has no such value.

        Example:
            >>> (one,) = convnet_grid([1], [32], ["relu"], ["none"], ["max"])
            >>> one.config(Config()).network.width
            32
        """
        changes = {
            f"network__{field.name}": self.network.get(field.name, field.default)
            for field in dataclasses.fields(NetworkConfig)
            if field.name not in _SHARED
        }
        return replace(base, **changes)


def convnet_grid(
    depths: Sequence[int] = CONVNET_GRID["depth"],
    widths: Sequence[int] = CONVNET_GRID["width"],
    activations: Sequence[str] = CONVNET_GRID["activation"],
    norms: Sequence[str] = CONVNET_GRID["norm"],
    poolings: Sequence[str] = CONVNET_GRID["pooling"],
) -> list[Architecture]:
    """Returns a grid of ConvNets; the paper's 720 if nothing is given.

    Args:
        depths: Numbers of blocks.
        widths: Numbers of kernels.
        activations: As `network.activation`.
        norms: As `network.norm`.
        poolings: As `network.pooling`.

    Raises:
        UserError: a setting has no such value.

    Example:
        >>> len(convnet_grid())
        720
        >>> convnet_grid()[0].name
        'depth=1 width=32 activation=sigmoid norm=none pooling=none'
    """
    axes = depths, widths, activations, norms, poolings
    grid = []
    for values in itertools.product(*(dict.fromkeys(axis) for axis in axes)):
        settings = dict(zip(CONVNET_GRID, values, strict=True))
        name = " ".join(f"{key}={value}" for key, value in settings.items())
        grid.append(Architecture(name, {"name": "convnet", **settings}))
    for one in grid:
        one.config(Config())  # refuses what is no setting
    return grid


def nasbench201_space(cells: int = 5, width: int = 128) -> list[Architecture]:
    """Returns the 15,625 networks of NAS-Bench-201 (Dong and Yang, ICLR 2020).

    Args:
        cells: In each of the three stages.
        width: The stages have 16, 32 and 64 channels, times this / 128.

    Example:
        >>> space = nasbench201_space()
        >>> len(space), space[0].name
        (15625, '|none~0|+|none~0|none~1|+|none~0|none~1|none~2|')
    """
    shared = {"name": "nasbench201", "depth": cells, "width": width}
    space = [Architecture(cell, {**shared, "cell": cell}) for cell in all_cells()]
    space[0].config(Config())
    return space
