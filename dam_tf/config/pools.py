"""The settings of methods that match through a pool of trained networks: DANCE, NCFM.

What they do with them stands in `dam_tf/methods/`, in the files of their names.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from dam_tf.config.method_settings import TrainedSettings
from dam_tf.config.schema import setting


@dataclasses.dataclass(frozen=True)
class PoolSettings(TrainedSettings):
    """Of methods that match through networks between random and trained ones."""

    pool: str = setting(
        "",
        "folder of the networks that `pretrain` (or `experts`) has trained",
        affects="files",
    )
    calibration: float = setting(
        1.0,
        "weight of the trained network's cross-entropy of the synthetic images",
        minimum=0.0,
    )
    clamp: str = setting(
        "on",
        "whether images are kept within the range of pixels",
        choices=("on", "off"),
    )
    labels: str | None = setting(
        None,
        "labels of the set: soft, the mean of what the pool's trained networks take "
        "its images for, or hard; hard if left out",
        choices=("hard", "soft"),
    )
    flips: ClassVar[bool] = False
    meanings: ClassVar[dict[str, str]] = {
        "loss": "what is minimised",
        "matching": "distance of the features",
        "calibration": "cross-entropy of the synthetic images by the trained network",
    }
    networks_in: ClassVar[str] = "pool"


@dataclasses.dataclass(frozen=True)
class DANCESettings(PoolSettings):
    """DANCE: class means between random and trained networks (IJCAI 2024)."""

    name: str = setting("dance", "which method learns the synthetic data")
    distillation: ClassVar[dict[str, Any]] = {"iterations": 10_000, "batch_real": 128}

    def by_data(
        self,
        dataset: str,
        ipc: int,
        image_shape: Sequence[int],
        preprocessing: str = "standardize",
    ) -> dict[str, Any]:
        """Returns the published rate, 0.01 * ipc, as it is of what networks see.

        The rate is that of pixels from 0 to 1, whose deviation is about 1/4, and a
        gradient in them is 4 times that in standardised ones: 4 * 4 * 0.01 * ipc.
        Whitened images (ZCA), which the authors did not have, take a tenth of that: of
        CIFAR-10 with one image per class the matching loss then falls from 1,600 to 800
        in 80 iterations, and with the whole rate it stays above 1,200.

        Args:
            dataset: Any.
            ipc: Stored images per class.
            image_shape: Any.
            preprocessing: Whitened images have a smaller rate.

        Example:
            >>> DANCESettings().by_data("cifar10", 10, (32, 32, 3))
            {'distillation.learning_rate': 1.6}
        """
        rate = 0.016 if preprocessing.endswith("zca") else 0.16
        return {"distillation.learning_rate": rate * ipc}


@dataclasses.dataclass(frozen=True)
class NCFMSettings(PoolSettings):
    """NCFM: characteristic functions of features (CVPR 2025)."""

    name: str = setting("ncfm", "which method learns the synthetic data")
    frequencies: int = setting(
        4096, "at which the characteristic functions are compared", minimum=1
    )
    sampler: str = setting(
        "normal",
        "where frequencies are drawn: from a normal distribution, or where a network "
        "learns that the characteristic functions differ (psi)",
        choices=("normal", "learned"),
    )
    sampler_rate: float = setting(
        0.001, "learning rate of the network of sampler 'learned'", minimum=0.0
    )
    amplitude: float = setting(
        0.5, "weight of the difference of amplitudes (alpha)", minimum=0.0
    )
    phase: float = setting(
        0.5, "weight of the difference of phases (beta)", minimum=0.0
    )
    scale: float = setting(300.0, "factor on the matching loss", minimum=0.0)
    distillation: ClassVar[dict[str, Any]] = {
        "iterations": 20_000,
        "batch_real": 1024,
        "learning_rate": 0.01,
        "momentum": 0.9,
    }
