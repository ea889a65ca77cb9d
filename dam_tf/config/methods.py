"""The settings of each method: section `[method]` of a run, by `method.name`.

What a method does with them stands in `dam_tf/methods/`, in the file of its name.
Nothing here imports TensorFlow, so a tool can check its settings before that import.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from dam_tf.config.bilevel import (
    CAFEDSASettings,
    CAFESettings,
    DCSettings,
    DSASettings,
)
from dam_tf.config.kernels import FRePoSettings, KIPSettings, LabelSolveSettings
from dam_tf.config.labels import DDSettings, LDSettings
from dam_tf.config.method_settings import MethodSettings
from dam_tf.config.pools import DANCESettings, NCFMSettings
from dam_tf.config.schema import setting
from dam_tf.config.trajectories import MTTSettings, TESLASettings

KERNELS = ("linear", "rbf")
NORMALIZATIONS = ("l1", "l2", "none")


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

    def by_data(
        self,
        dataset: str,
        ipc: int,
        image_shape: Sequence[int],
        preprocessing: str = "standardize",
    ) -> dict[str, Any]:
        balance = 0.01 if min(image_shape[:2]) <= 32 else 0.02  # section 4.1
        rate = super().by_data(dataset, ipc, image_shape, preprocessing)
        return {**rate, "method.task_balance": balance}


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


METHODS: dict[str, type[MethodSettings]] = {
    kind().name: kind
    for kind in (
        DataDAMSettings,
        DMSettings,
        FeatureMapSettings,
        PixelMMDSettings,
        DCSettings,
        DSASettings,
        CAFESettings,
        CAFEDSASettings,
        KIPSettings,
        MTTSettings,
        TESLASettings,
        DDSettings,
        LDSettings,
        LabelSolveSettings,
        FRePoSettings,
        DANCESettings,
        NCFMSettings,
    )
}
