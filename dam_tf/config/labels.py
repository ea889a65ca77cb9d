"""Settings of the methods that differentiate through the training of a network.

DD learns images and step sizes, LD the labels of real images.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from dam_tf.config.method_settings import MethodSettings
from dam_tf.config.schema import setting


@dataclasses.dataclass(frozen=True)
class DDSettings(MethodSettings):
    """DD: images and step sizes of a short training."""

    name: str = setting("dd", "which method learns the synthetic data")
    per_step: int = setting(1, "images of each class in a step", minimum=1)
    repeats: int = setting(3, "times that all images are trained on", minimum=1)
    step_size: float = setting(0.02, "of the first training", minimum=1e-6)
    start: str = setting(
        "random",
        "weights that training starts from: fresh ones, or always the same",
        choices=("random", "fixed"),
    )
    networks: int = setting(1, "that an iteration trains", minimum=1)
    halve_every: int = setting(
        1960, "iterations after which the learning rate is half as large", minimum=1
    )
    meanings: ClassVar[dict[str, str]] = {
        "loss": "cross-entropy of real images after the training",
        "accuracy": "share of them that are classified rightly",
        "step_size": "mean of the learned step sizes",
    }
    augments: ClassVar[bool] = False
    # 400 passes over 50,000 images, 1,024 at a time, as in the released code.
    distillation: ClassVar[dict[str, Any]] = {
        "init": "noise",
        "iterations": 19_600,
        "batch_real": 102,
        "learning_rate": 0.01,
    }


@dataclasses.dataclass(frozen=True)
class LDSettings(MethodSettings):
    """LD: labels of real images that do not move."""

    name: str = setting("ld", "which method learns the synthetic data")
    variant: str = setting(
        "ridge",
        "how the labels' gradient is found: by a ridge regression on features, or "
        "through a step of the network",
        choices=("ridge", "second_order"),
    )
    batch: int | None = setting(
        None,
        "of the images, those of an inner step; about half of them, 10 to 50, or 100 "
        "for 100 classes, if left out",
        minimum=1,
    )
    step_size: float = setting(
        0.01, "of the step that is differentiated (second_order)", minimum=0.0
    )
    ridge: float = setting(1.0, "lambda of the regression (ridge)", minimum=1e-6)
    pace: float = setting(
        0.01, "share of the classifier that an iteration renews (ridge)", minimum=0.0
    )
    patience: int | None = setting(
        None,
        "iterations without progress after which a fresh network takes over; 50, 100 "
        "or 200 by the number of images if left out",
        minimum=1,
    )
    network_rate: float = setting(0.001, "of the network's Adam", minimum=0.0)
    optimizer: str | None = setting(
        None,
        "what moves the labels; adam_mini (ridge) or adam (second_order) if left out",
        choices=("adam_mini", "adam"),
    )
    meanings: ClassVar[dict[str, str]] = {
        "loss": "cross-entropy of real images",
        "accuracy": "share of them that are classified rightly",
        "restarts": "networks that were given up so far",
    }
    augments: ClassVar[bool] = False
    # 400 passes over 45,000 images, 1,024 at a time, as in the released code.
    distillation: ClassVar[dict[str, Any]] = {
        "iterations": 17_600,
        "batch_real": 102,
        "learning_rate": 0.001,
        "momentum": 0.9,
    }

    def by_data(
        self,
        dataset: str,
        ipc: int,
        image_shape: Sequence[int],
        preprocessing: str = "standardize",
    ) -> dict[str, Any]:
        """Returns what moves the labels; no data decide it, the variant does.

        Example:
            >>> LDSettings().by_data("digits", 1, (8, 8, 1))
            {'method.optimizer': 'adam_mini'}
        """
        usual = "adam_mini" if self.variant == "ridge" else "adam"
        return {"method.optimizer": usual}
