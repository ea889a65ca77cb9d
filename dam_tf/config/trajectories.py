"""Settings of MTT and TESLA, and what these were published with.

Both are methods that follow experts: networks whose weights are kept along their
training on real images (`experts.py`).
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from dam_tf.config.method_settings import TrainedSettings
from dam_tf.config.schema import setting


@dataclasses.dataclass(frozen=True)
class Trajectories:
    """A row of hyper-parameters with which trajectories were matched.

    Attributes:
        steps: Of the student.
        expert_epochs: That these stand for.
        max_start: The expert's epoch with which the student begins is below it.
        learning_rate: Of the images.
        step_size_rate: Learning rate of the student's step size.
        step_size: Of the student, at first.
        batch: Synthetic images in a step; None for all.
    """

    steps: int
    expert_epochs: int
    max_start: int
    learning_rate: float
    step_size_rate: float
    step_size: float
    batch: int | None = None


# By data set and, from which on a row holds, images per class. The rows of MTT are
# those that its author gave to DC-BENCH (Cui et al., NeurIPS 2022); CIFAR-10 at 50,
# CIFAR-100 at 10 and Tiny ImageNet were not whitened there. A second list, of others,
# has other values for CIFAR-10 (learning rates of 1,000 without whitening, and 100,000
# with it at 10 images per class); it is not used.
_MTT = {
    "cifar10": {
        1: Trajectories(50, 2, 2, 100.0, 1e-7, 0.01),
        10: Trajectories(30, 2, 20, 100.0, 1e-5, 0.001),
        50: Trajectories(30, 2, 40, 1000.0, 1e-5, 0.001),
    },
    "cifar100": {
        1: Trajectories(20, 3, 20, 1000.0, 1e-5, 0.01),
        10: Trajectories(20, 2, 20, 1000.0, 1e-5, 0.01),
        50: Trajectories(80, 2, 40, 1000.0, 1e-5, 0.01, 125),
    },
    "tiny_imagenet": {
        1: Trajectories(10, 2, 10, 10_000.0, 1e-4, 0.01),
        10: Trajectories(20, 2, 40, 10_000.0, 1e-4, 0.01, 200),
        50: Trajectories(20, 2, 40, 10_000.0, 1e-4, 0.01, 300),
    },
}
# TESLA's README has two of these sets. Its code moves images by half of the gradient
# that its learning rate of 1,000 is meant for, and here the gradient is whole.
_TESLA = {
    ("cifar10", 1): Trajectories(50, 2, 5, 500.0, 1e-7, 0.01),
    ("cifar100", 50): Trajectories(80, 2, 40, 500.0, 1e-5, 0.01, 125),
}


def published(method: str, dataset: str, ipc: int) -> Trajectories:
    """Returns what a method was published with, or what is nearest to that.

    Data sets of which nothing was published have the rows of CIFAR-10. Between two
    numbers of images per class the lower one's row holds. TESLA has MTT's row where it
    published none.

    Args:
        method: mtt or tesla.
        dataset: Its catalog name.
        ipc: Images per class.

    Example:
        >>> published("mtt", "cifar10", 10).steps, published("mtt", "digits", 2).steps
        (30, 50)
        >>> published("tesla", "cifar10", 1).learning_rate
        500.0
    """
    rows = _MTT.get(dataset, _MTT["cifar10"])
    row = max(number for number in rows if number <= ipc)
    own = _TESLA.get((dataset, row)) if method == "tesla" else None
    return own or rows[row]


@dataclasses.dataclass(frozen=True)
class MTTSettings(TrainedSettings):
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
    reads_batches: ClassVar[bool] = False
    networks_in: ClassVar[str] = "experts"

    def by_data(
        self,
        dataset: str,
        ipc: int,
        image_shape: Sequence[int],
        preprocessing: str = "standardize",
    ) -> dict[str, Any]:
        del image_shape, preprocessing
        row = published(self.name, dataset, ipc)
        own = ("steps", "expert_epochs", "step_size", "step_size_rate", "batch")
        found = {f"method.{name}": getattr(row, name) for name in own}
        return {**found, "distillation.learning_rate": row.learning_rate}


@dataclasses.dataclass(frozen=True)
class TESLASettings(MTTSettings):
    """TESLA: MTT in memory that does not grow with the student's steps."""

    name: str = setting("tesla", "which method learns the synthetic data")
    distillation: ClassVar[dict[str, Any]] = {"iterations": 10_000, "momentum": 0.5}
