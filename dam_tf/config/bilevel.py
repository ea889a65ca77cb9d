"""The settings of methods whose network is trained on the synthetic set: DC and DSA.

What they do with them stands in `dam_tf/methods/`, in the files of their names.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from dam_tf.config.method_settings import MethodSettings
from dam_tf.config.schema import setting


@dataclasses.dataclass(frozen=True)
class BilevelSettings(MethodSettings):
    """Of methods whose network is trained on the synthetic set on the way."""

    network_learning_rate: float = setting(
        0.01, "of the network's SGD on the synthetic set", minimum=0.0
    )
    network_batch: int = setting(
        256, "synthetic images in an update of the network", minimum=1
    )


@dataclasses.dataclass(frozen=True)
class DCSettings(BilevelSettings):
    """DC: dataset condensation with gradient matching (Zhao et al., ICLR 2021)."""

    name: str = setting("dc", "which method learns the synthetic data")
    outer_loop: int | None = setting(
        None, "iterations with one network; by ipc if left out", minimum=1
    )
    inner_loop: int | None = setting(
        None,
        "epochs that the network is trained between two of them; by ipc if left out",
        minimum=0,
    )
    distance: str = setting(
        "rows",
        "of gradients: a cosine for each output of a layer, one over all weights, or "
        "the squared difference",
        choices=("rows", "cosine", "mse"),
    )
    meanings: ClassVar[dict[str, str]] = {
        "loss": "distance of the gradients, summed over classes"
    }
    distillation: ClassVar[dict[str, Any]] = {
        "init": "noise",
        "iterations": 1000,
    }

    def learning_rate(self, image_shape: Sequence[int]) -> float:
        """Returns the published 0.1, and less where a side is below 28.

        The loss does not shrink with the image, so each value of a smaller one has a
        steeper slope. That the rate shrinks with the side is our choice.

        Args:
            image_shape: Height, width and channels.

        Example:
            >>> DCSettings().learning_rate((32, 32, 3))
            0.1
            >>> DCSettings().learning_rate((14, 20, 1))
            0.05
        """
        return 0.1 * min(1.0, min(image_shape[:2]) / 28)


@dataclasses.dataclass(frozen=True)
class DSASettings(DCSettings):
    """DSA: DC with differentiable Siamese augmentation (Zhao and Bilen, ICML 2021)."""

    name: str = setting("dsa", "which method learns the synthetic data")
    distillation: ClassVar[dict[str, Any]] = {
        **DCSettings.distillation,
        "init": "random",
    }
