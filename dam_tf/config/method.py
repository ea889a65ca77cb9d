"""What the settings of every method have; `methods.py` lists those of each.

Nothing here imports TensorFlow.
"""

import dataclasses
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
    """

    name: str = setting("", "which method learns the synthetic data")
    meanings: ClassVar[dict[str, str]] = {"loss": "what is minimised"}
    distillation: ClassVar[dict[str, Any]] = {}
