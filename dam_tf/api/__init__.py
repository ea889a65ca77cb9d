"""What a program calls: `dam_tf.distill`, `evaluate`, `train_experts` and `load`.

Keywords become a `Config`, arrays become `RealData`, and `runs/` and `evaluation/` do
the work. Settings are checked before TensorFlow is imported.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what the functions take, for whoever reads their signatures
    import numpy as np
    import tensorflow as tf

    from dam_tf.data.real_data import RealData

    Path = os.PathLike | str
    Arrays = np.ndarray | tf.Tensor | Sequence
    Data = Arrays | tf.data.Dataset | RealData | str
