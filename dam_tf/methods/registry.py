"""Methods by name. A method is one file, a row here and one in `config/methods.py`."""

from dam_tf.base.errors import UserError
from dam_tf.config.generators import GENERATORS
from dam_tf.config.method_settings import MethodSettings
from dam_tf.methods.cafe import CAFE, CAFEDSA
from dam_tf.methods.dance import DANCE
from dam_tf.methods.datadam import DataDAM
from dam_tf.methods.dc import DC, DSA
from dam_tf.methods.dd import DD
from dam_tf.methods.dm import DM
from dam_tf.methods.feature_map import FeatureMap
from dam_tf.methods.frepo import FRePo
from dam_tf.methods.kip import KIP
from dam_tf.methods.label_solve import LabelSolve
from dam_tf.methods.ld import LD
from dam_tf.methods.method import Method
from dam_tf.methods.mtt import MTT
from dam_tf.methods.ncfm import NCFM
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
    "cafe": CAFE,
    "cafe_dsa": CAFEDSA,
    "kip": KIP,
    "dd": DD,
    "ld": LD,
    "label_solve": LabelSolve,
    "frepo": FRePo,
    "dance": DANCE,
    "ncfm": NCFM,
}


def create(settings: MethodSettings) -> Method:
    """Returns the method that `settings` are of.

    Args:
        settings: Section `method` of a `Config`.

    Raises:
        UserError: they are those of a generator.

    Example:
        >>> from dam_tf.config.settings import Config
        >>> type(create(Config().method)).__name__
        'DataDAM'
    """
    if settings.name in GENERATORS:
        raise UserError(
            f"{settings.name!r} is a generator, no method of distillation; its set is "
            f"made by python -m dam_tf generate --model={settings.name}"
        )
    return METHODS[settings.name](settings)
