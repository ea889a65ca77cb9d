"""The settings of each method: section `[method]` of a run, by `method.name`.

What a method does with them stands in `dam_tf/methods/`, in the file of its name.
Nothing here imports TensorFlow, so a tool can check its settings before that import.
"""

import dataclasses
from typing import Any, ClassVar

from dam_tf.config.bilevel import DCSettings, DSASettings
from dam_tf.config.labels import DDSettings, LDSettings
from dam_tf.config.method_settings import MethodSettings
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
class KernelSettings(MethodSettings):
    """What regresses with the kernel of a ReLU network of infinite width."""

    kernel: str = setting(
        "ntk",
        "of training all layers (ntk), or the last one alone (nngp)",
        choices=("ntk", "nngp"),
    )
    kernel_network: str = setting(
        "fc",
        "whose kernel it is: fully connected, or 3x3 convolutions without pooling",
        choices=("fc", "conv"),
    )
    depth: int = setting(1, "hidden layers of the kernel's network", minimum=1)
    weight_deviation: float = setting(
        2**0.5, "of its weights, times the root of their number in a sum", minimum=0.0
    )
    bias_deviation: float = setting(0.1, "of its biases", minimum=0.0)
    regularization: float = setting(
        1e-6,
        "of the regression, times the mean of the kernel's diagonal",
        minimum=1e-12,
    )


@dataclasses.dataclass(frozen=True)
class KIPSettings(KernelSettings):
    """KIP: kernel inducing points, by kernel ridge regression."""

    name: str = setting("kip", "which method learns the synthetic data")
    labels: str = setting(
        "fixed", "whether labels are learned with the images", ("fixed", "learned")
    )
    meanings: ClassVar[dict[str, str]] = {
        "loss": "half the mean squared error of the kernel's answers",
        "accuracy": "the kernel's share of right answers for the real batch",
    }
    # 500 real images of each of ten classes are the 5,000 of its notebook.
    distillation: ClassVar[dict[str, Any]] = {
        "iterations": 1000,
        "batch_real": 500,
        "learning_rate": 0.04,
        "momentum": 0.9,
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
        KIPSettings,
        MTTSettings,
        TESLASettings,
        DDSettings,
        LDSettings,
    )
}
