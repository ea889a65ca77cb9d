"""Pictures: grids of images, confusion matrices, charts."""

from dam_tf.plots.confusion import save_confusion
from dam_tf.plots.grids import grid_array, save_grid

__all__ = ["grid_array", "save_confusion", "save_grid"]
