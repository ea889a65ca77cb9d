"""What the settings of every method have; a family of methods has a file beside it.

`methods.py` puts them together. Nothing here imports TensorFlow.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from dam_tf.config.schema import setting

STORAGES = ("float32", "bfloat16")  # of weights in files


@dataclasses.dataclass(frozen=True)
class MethodSettings:
    """What the settings of every method have.

    Attributes:
        name: The method, a key of `METHODS`.
        meanings: The losses that it logs, in words for reports; `loss` is what is
            minimised.
        distillation: What settings of section distillation are where they are left
            out, such as the learning rate that the method was published with.
        reduction: Where it is smaller than it was published, how; for provenance.
        reads_batches: Whether an iteration reads `distillation.batch_real` real images
            of each class.
        augments: Whether the method varies images as section augmentation says.
        networks_in: Which of the settings names the folder of trained networks that the
            method needs; none where it needs none.
        flips: Whether flips are among that, where the section has them.
    """

    name: str = setting("", "which method learns the synthetic data")
    meanings: ClassVar[dict[str, str]] = {"loss": "what is minimised"}
    distillation: ClassVar[dict[str, Any]] = {}
    reduction: ClassVar[str] = ""
    reads_batches: ClassVar[bool] = True
    augments: ClassVar[bool] = True
    networks_in: ClassVar[str] = ""
    flips: ClassVar[bool] = True

    def by_data(
        self,
        dataset: str,
        ipc: int,
        image_shape: Sequence[int],
        preprocessing: str = "standardize",
    ) -> dict[str, Any]:
        """Returns what settings are that were left out, by dotted key.

        That is the images' learning rate of Table 10, unless a method has another.

        Args:
            dataset: The name of the data.
            ipc: Images per class.
            image_shape: Height, width and channels.
            preprocessing: Its kind, as of `fit_preprocessing`.
        """
        del dataset, image_shape, preprocessing
        return {"distillation.learning_rate": 1.0 if ipc <= 50 else 10.0}


@dataclasses.dataclass(frozen=True)
class TrainedSettings(MethodSettings):
    """Of methods that need networks trained on the real set, which a run may train."""

    train_networks: int | None = setting(
        None,
        "how many such networks a run trains first, where their folder has fewer; none "
        "if left out",
        minimum=1,
    )
    train_epochs: int | None = setting(
        None, "of each of these; 3 to be followed, 20 of a pool if left out", minimum=1
    )
    train_seed: int | None = setting(
        None, "of these networks; 0 if left out", minimum=0
    )
    train_storage: str | None = setting(
        None, "of their weights in files; float32 if left out", choices=STORAGES
    )
