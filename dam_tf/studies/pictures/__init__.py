"""Pictures of runs, as in the paper: grids, evolution, t-SNE and learning curves."""

from dam_tf.studies.pictures.curves import save_learning_curves
from dam_tf.studies.pictures.embedding import save_tsne
from dam_tf.studies.pictures.images import save_evolutions, save_grids

__all__ = ["save_evolutions", "save_grids", "save_learning_curves", "save_tsne"]
