"""Methods by name. A method is one file, a row here and one in `config/methods.py`."""

from dam_tf.config.methods import MethodSettings
from dam_tf.methods.datadam import DataDAM
from dam_tf.methods.dc import DC, DSA
from dam_tf.methods.dd import DD
from dam_tf.methods.dm import DM
from dam_tf.methods.feature_map import FeatureMap
from dam_tf.methods.kip import KIP
from dam_tf.methods.ld import LD
from dam_tf.methods.method import Method
from dam_tf.methods.mtt import MTT
from dam_tf.methods.pixel_mmd import PixelMMD
from dam_tf.methods.tesla import TESLA

METHODS: dict[str, type[Method]] = {
    "datadam": DataDAM,
    "dm": DM,
    "mtt": MTT,
    "tesla": TESLA,
    "feature_map": FeatureMap,
    "pixel_mmd": PixelMMD,
    "dc": DC,
    "dsa": DSA,
    "kip": KIP,
    "dd": DD,
    "ld": LD,
}


def create(settings: MethodSettings) -> Method:
    """Returns the method that `settings` are of.

    Args:
        settings: Section `method` of a `Config`.

    Example:
        >>> from dam_tf.config.settings import Config
        >>> type(create(Config().method)).__name__
        'DataDAM'
    """
    return METHODS[settings.name](settings)
