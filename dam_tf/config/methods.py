"""The settings of each method: section `[method]` of a run, by `method.name`.

What a method does with them stands in `dam_tf/methods/`, in the file of its name.
Nothing here imports TensorFlow, so a tool can check its settings before that import.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from dam_tf.config.schema import setting

KERNELS = ("linear", "rbf")
NORMALIZATIONS = ("l1", "l2", "none")


@dataclasses.dataclass(frozen=True)
class MethodSettings:
    """What the settings of every method have.

    Attributes:
        name: The method, a key of `METHODS`.
        meanings: The losses that it logs, in words for reports; `loss` is what is
            minimised.
        distillation: What settings of section distillation are where they are left
            out, such as the learning rate that the method was published with.
    """

    name: str = setting("", "which method learns the synthetic data")
    meanings: ClassVar[dict[str, str]] = {"loss": "what is minimised"}
    distillation: ClassVar[dict[str, Any]] = {}

    def learning_rate(self, image_shape: Sequence[int]) -> float | None:
        """Returns that of the images where it is left out; None for Table 10's.

        Args:
            image_shape: Height, width and channels.
        """
        del image_shape


@dataclasses.dataclass(frozen=True)
class DataDAMSettings(MethodSettings):
    """DataDAM: spatial attention matching and MMD (equations 1 to 4)."""

    name: str = setting("datadam", "which method learns the synthetic data")
    power: float = setting(4.0, "p of equation 1", minimum=0.0)
    normalization: str = setting(
        "l2", "normalisation of attention maps", choices=NORMALIZATIONS
    )
    loss: str = setting(
        "mse", "distance between mean attention maps", choices=("mse", "mae", "cosine")
    )
    layers: tuple[int, ...] | None = setting(
        None,
        "blocks whose attention is matched, from 1; all but the last if left out, "
        "an empty list for none",
    )
    task_balance: float | None = setting(
        None,
        "lambda of equation 4; 0.01 up to 32x32 and 0.02 above if left out",
        minimum=0.0,
    )
    kernel: str = setting("linear", "kernel of the MMD, equation 3", choices=KERNELS)
    scale: float = setting(
        100.0, "factor on the DataDAM loss, which the learning rate is meant for"
    )
    meanings: ClassVar[dict[str, str]] = {
        "loss": "what is minimised (equation 4)",
        "sam": "distance of the attention maps (equation 2)",
        "mmd": "distance of the mean features (equation 3)",
    }


@dataclasses.dataclass(frozen=True)
class DMSettings(MethodSettings):
    """DM: the MMD of equation 3 alone, on the embedding."""

    name: str = setting("dm", "which method learns the synthetic data")
    kernel: str = setting("linear", "kernel of the MMD, equation 3", choices=KERNELS)
    meanings: ClassVar[dict[str, str]] = {
        "loss": "what is minimised",
        "mmd": "distance of the mean features (equation 3)",
    }


@dataclasses.dataclass(frozen=True)
class FeatureMapSettings(MethodSettings):
    """Feature map transfer, the ablation of Table 5."""

    name: str = setting("feature_map", "which method learns the synthetic data")


@dataclasses.dataclass(frozen=True)
class PixelMMDSettings(MethodSettings):
    """The MMD of the pixels themselves, the baseline of Table 11."""

    name: str = setting("pixel_mmd", "which method learns the synthetic data")
    kernel: str = setting("linear", "kernel of the MMD, equation 3", choices=KERNELS)
    meanings: ClassVar[dict[str, str]] = {
        "loss": "what is minimised",
        "mmd": "distance of the mean images (equation 3)",
    }


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
        """Returns the published 0.1, and less for images below 28x28.

        The loss does not shrink with an image, so each value of a smaller one has a
        steeper slope. On 8x8 digits 0.1 throws images about, and this learns.

        Args:
            image_shape: Height, width and channels.

        Example:
            >>> DCSettings().learning_rate((32, 32, 3))
            0.1
            >>> round(DCSettings().learning_rate((8, 8, 1)), 4)
            0.0082
        """
        height, width, _ = image_shape
        return 0.1 * min(1.0, height * width / 28**2)


@dataclasses.dataclass(frozen=True)
class DSASettings(DCSettings):
    """DSA: DC with differentiable Siamese augmentation (Zhao and Bilen, ICML 2021)."""

    name: str = setting("dsa", "which method learns the synthetic data")
    distillation: ClassVar[dict[str, Any]] = {
        **DCSettings.distillation,
        "init": "random",
    }


METHODS: dict[str, type[MethodSettings]] = {
    kind().name: kind
    for kind in (
        DataDAMSettings,
        DMSettings,
        FeatureMapSettings,
        PixelMMDSettings,
        DCSettings,
        DSASettings,
    )
}
