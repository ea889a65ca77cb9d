"""Pictures: grids of images, confusion matrices, charts."""

from dam_tf.plots.bands import Band, save_bands
from dam_tf.plots.confusion import save_confusion
from dam_tf.plots.costs import save_costs
from dam_tf.plots.evolution import save_animation, save_evolution
from dam_tf.plots.figures import caption
from dam_tf.plots.grids import grid_array, grid_picture, save_grid
from dam_tf.plots.pixels import to_pixels
from dam_tf.plots.rank_scatter import ProxyPoints, save_rank_scatter

__all__ = [
    "Band",
    "ProxyPoints",
    "caption",
    "grid_array",
    "grid_picture",
    "save_animation",
    "save_bands",
    "save_confusion",
    "save_costs",
    "save_evolution",
    "save_grid",
    "save_rank_scatter",
    "to_pixels",
]
