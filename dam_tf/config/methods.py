"""The settings of each method: section `[method]` of a run, by `method.name`.

What a method does with them stands in `dam_tf/methods/`, in the file of its name.
Nothing here imports TensorFlow, so a tool can check its settings before that import.
"""

import dataclasses
from typing import Any, ClassVar

from dam_tf.config.schema import setting
from dam_tf.config.trajectories import published

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

    def by_data(self, dataset: str, ipc: int) -> dict[str, Any]:
        """Returns what settings are that were left out, by dotted key.

        Args:
            dataset: The name of the data.
            ipc: Images per class.
        """
        del dataset, ipc
        return {}


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
class MTTSettings(MethodSettings):
    """MTT: weights of a student on synthetic images end where an expert's did."""

    name: str = setting("mtt", "which method learns the synthetic data")
    experts: str = setting(
        "", "folder of the experts that `experts` has trained", affects="files"
    )
    steps: int | None = setting(
        None, "of the student; by data set and ipc if left out", minimum=1
    )
    expert_epochs: int | None = setting(
        None, "epochs that they stand for; by data set and ipc if left out", minimum=1
    )
    max_start: int | None = setting(
        None,
        "the student begins with an expert's epoch below this; by data set and ipc, "
        "and by how long the experts were trained, if left out",
        minimum=1,
    )
    step_size: float | None = setting(
        None,
        "learning rate of the student at first, between 0 and 1; by data set and ipc "
        "if left out",
        minimum=0.0,
    )
    step_size_rate: float | None = setting(
        None,
        "learning rate of that step size; by data set and ipc if left out",
        minimum=0.0,
    )
    batch: int | None = setting(
        None,
        "synthetic images in a step; by data set and ipc, most often all, if left out",
        minimum=1,
    )
    labels: str = setting(
        "hard",
        "of the synthetic images: their classes, or what the expert that is followed "
        "says of them",
        choices=("hard", "expert"),
    )
    meanings: ClassVar[dict[str, str]] = {
        "loss": "squared distance to the expert's later weights, as a share of the "
        "expert's own way",
        "step_size": "the learned step size of the student",
    }
    distillation: ClassVar[dict[str, Any]] = {"iterations": 5000, "momentum": 0.5}

    def by_data(self, dataset: str, ipc: int) -> dict[str, Any]:
        row = published(self.name, dataset, ipc)
        own = ("steps", "expert_epochs", "step_size", "step_size_rate", "batch")
        found = {f"method.{name}": getattr(row, name) for name in own}
        return {**found, "distillation.learning_rate": row.learning_rate}


@dataclasses.dataclass(frozen=True)
class TESLASettings(MTTSettings):
    """TESLA: MTT in memory that does not grow with the student's steps."""

    name: str = setting("tesla", "which method learns the synthetic data")
    distillation: ClassVar[dict[str, Any]] = {"iterations": 10_000, "momentum": 0.5}


METHODS: dict[str, type[MethodSettings]] = {
    kind().name: kind
    for kind in (
        DataDAMSettings,
        DMSettings,
        MTTSettings,
        TESLASettings,
        FeatureMapSettings,
        PixelMMDSettings,
    )
}
