"""Real data: catalog, sources, preprocessing. Importing it imports no TensorFlow."""

from dam_tf.datasets.loading import load_dataset
from dam_tf.datasets.real_data import RealData, Split

__all__ = ["RealData", "Split", "load_dataset"]
