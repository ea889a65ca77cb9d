"""Pictures of runs, as in the paper: grids, evolution, t-SNE and learning curves."""

from dam_tf.studies.pictures.curves import save_learning_curves
from dam_tf.studies.pictures.sets import save_evolutions, save_grids
from dam_tf.studies.pictures.tsne import save_tsne

__all__ = ["save_evolutions", "save_grids", "save_learning_curves", "save_tsne"]
