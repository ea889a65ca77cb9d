"""What the settings of every method have; a family of methods has a file beside it.

`methods.py` puts them together. Nothing here imports TensorFlow.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from dam_tf.config.schema import setting


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
    """

    name: str = setting("", "which method learns the synthetic data")
    meanings: ClassVar[dict[str, str]] = {"loss": "what is minimised"}
    distillation: ClassVar[dict[str, Any]] = {}
    reduction: ClassVar[str] = ""
    reads_batches: ClassVar[bool] = True
    augments: ClassVar[bool] = True

    def by_data(self, dataset: str, ipc: int) -> dict[str, Any]:
        """Returns what settings are that were left out, by dotted key.

        Args:
            dataset: The name of the data.
            ipc: Images per class.
        """
        del dataset, ipc
        return {}

    def learning_rate(self, image_shape: Sequence[int]) -> float | None:
        """Returns that of the images where it is left out; None for Table 10's.

        Args:
            image_shape: Height, width and channels.
        """
        del image_shape
