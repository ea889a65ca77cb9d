"""What is matched between real and synthetic images."""

from dam_tf.matching.attention import SpatialAttention
from dam_tf.matching.mmd import MaximumMeanDiscrepancy, maximum_mean_discrepancy
from dam_tf.matching.objectives import OBJECTIVES, Objective, create_objective

__all__ = [
    "OBJECTIVES",
    "MaximumMeanDiscrepancy",
    "Objective",
    "SpatialAttention",
    "create_objective",
    "maximum_mean_discrepancy",
]
