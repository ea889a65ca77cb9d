"""Generators by name. One is a file, a row here and one in `config/generators.py`."""

from dam_tf.base.errors import choice_error
from dam_tf.config.method_settings import MethodSettings
from dam_tf.generators.biggan import BigGAN
from dam_tf.generators.cgan import CGAN
from dam_tf.generators.dcvae import DCVAE
from dam_tf.generators.generator import Generator
from dam_tf.generators.gmmn import GMMN

GENERATORS: dict[str, type[Generator]] = {
    "cgan": CGAN,
    "biggan": BigGAN,
    "dcvae": DCVAE,
    "gmmn": GMMN,
}


def create(settings: MethodSettings) -> Generator:
    """Returns the generator that `settings` are of.

    Args:
        settings: Section `method` of a `Config`.

    Raises:
        UserError: they are those of a method of distillation.

    Example:
        >>> from dam_tf.config.generators import GMMNSettings
        >>> type(create(GMMNSettings())).__name__
        'GMMN'
    """
    if settings.name not in GENERATORS:
        raise choice_error("generator", settings.name, GENERATORS)
    return GENERATORS[settings.name](settings)
