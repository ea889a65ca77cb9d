"""The settings of methods whose network is trained on the synthetic set: DC, DSA, CAFE.

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
    augments: ClassVar[bool] = False


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

    def by_data(
        self,
        dataset: str,
        ipc: int,
        image_shape: Sequence[int],
        preprocessing: str = "standardize",
    ) -> dict[str, Any]:
        """Returns the published learning rate 0.1, and less where a side is below 28.

        The loss does not shrink with the image, so each value of a smaller one has a
        steeper slope. That the rate shrinks with the side is our choice.

        Example:
            >>> DCSettings().by_data("cifar10", 1, (32, 32, 3))
            {'distillation.learning_rate': 0.1}
            >>> DCSettings().by_data("npz:mine.npz", 1, (14, 20, 1))
            {'distillation.learning_rate': 0.05}
        """
        rate = 0.1 * min(1.0, min(image_shape[:2]) / 28)
        return {"distillation.learning_rate": rate}


@dataclasses.dataclass(frozen=True)
class DSASettings(DCSettings):
    """DSA: DC with differentiable Siamese augmentation (Zhao and Bilen, ICML 2021)."""

    name: str = setting("dsa", "which method learns the synthetic data")
    distillation: ClassVar[dict[str, Any]] = {
        **DCSettings.distillation,
        "init": "random",
    }
    augments: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True)
class CAFESettings(BilevelSettings):
    """CAFE: features aligned layer by layer (Wang et al., CVPR 2022)."""

    name: str = setting("cafe", "which method learns the synthetic data")
    layer_weights: tuple[float, ...] = setting(
        (),
        "of the maps of each block; if left out 0.1, and 1 for the last",
        minimum=0.0,
    )
    embedding_weight: float = setting(2.0, "of the embedding", minimum=0.0)
    discrimination: float = setting(
        0.01, "weight of the discrimination loss", minimum=0.0
    )
    lambda_1: float = setting(
        0.04, "a network whose accuracies vary by less is given up", minimum=0.0
    )
    lambda_2: float = setting(
        0.03, "the network is trained until accuracies vary by more", minimum=0.0
    )
    window: int = setting(10, "how many of the latest accuracies count", minimum=2)
    probe: int = setting(
        128, "real images of each class that an accuracy is taken of", minimum=1
    )
    most_steps: int = setting(100, "iterations with one network at most", minimum=1)
    most_epochs: int = setting(
        50, "epochs of the network after one iteration at most", minimum=1
    )
    rate_halves_at: tuple[float, ...] = setting(
        (0.6, 0.8, 0.9),
        "shares of all iterations after which the images' learning rate is halved",
        minimum=0.0,
    )
    meanings: ClassVar[dict[str, str]] = {
        "loss": "what is minimised",
        "alignment": "distance of the mean features, all layers",
        "discrimination": "cross-entropy of real images by synthetic class means",
    }
    distillation: ClassVar[dict[str, Any]] = {
        "init": "noise",
        "iterations": 20_000,
        "learning_rate": 0.1,
    }


@dataclasses.dataclass(frozen=True)
class CAFEDSASettings(CAFESettings):
    """CAFE with differentiable Siamese augmentation."""

    name: str = setting("cafe_dsa", "which method learns the synthetic data")
    augments: ClassVar[bool] = True
