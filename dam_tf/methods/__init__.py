"""Methods: how synthetic data are learned, each made from its settings alone.

method = dam_tf.methods.DataDAM(power=2)
distilled = dam_tf.distill(x_train, y_train, ipc=10, method=method)
"""

from dam_tf.methods.attention import SpatialAttention
from dam_tf.methods.cafe import CAFE, CAFEDSA
from dam_tf.methods.dance import DANCE
from dam_tf.methods.datadam import DataDAM
from dam_tf.methods.dc import DC, DSA
from dam_tf.methods.dd import DD
from dam_tf.methods.dm import DM
from dam_tf.methods.feature_map import FeatureMap
from dam_tf.methods.feature_matching import FeatureMatching
from dam_tf.methods.frepo import FRePo
from dam_tf.methods.kip import KIP
from dam_tf.methods.label_solve import LabelSolve
from dam_tf.methods.ld import LD
from dam_tf.methods.method import Method, Task
from dam_tf.methods.mmd import MaximumMeanDiscrepancy
from dam_tf.methods.mtt import MTT
from dam_tf.methods.ncfm import NCFM
from dam_tf.methods.pixel_mmd import PixelMMD
from dam_tf.methods.registry import METHODS, create
from dam_tf.methods.tesla import TESLA

__all__ = [
    "CAFE",
    "CAFEDSA",
    "DANCE",
    "DC",
    "DD",
    "DM",
    "DSA",
    "KIP",
    "LD",
    "METHODS",
    "MTT",
    "NCFM",
    "TESLA",
    "DataDAM",
    "FRePo",
    "FeatureMap",
    "FeatureMatching",
    "LabelSolve",
    "MaximumMeanDiscrepancy",
    "Method",
    "PixelMMD",
    "SpatialAttention",
    "Task",
    "create",
]
