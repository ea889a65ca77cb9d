"""What a study of the attention loss consists of, checked before it begins.

It imports no TensorFlow, so a tool can name a mistake at once. `study.py` runs it.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from dam_tf.base.errors import UserError, check_each_once, choice_error
from dam_tf.config.settings import Config, read_config, settings_that_matter
from dam_tf.data.real_data import RealData
from dam_tf.data.source import Contents

INITS = ("random", "k-center", "noise")

# Which settings the study sets itself, so that a resumed one may have others of them.
_OWN = (
    "network.norm",
    "method.power",
    "distillation.batch_real",
    "distillation.ipc",
    "distillation.init",
    "distillation.iterations",
)


@dataclasses.dataclass(frozen=True)
class AttentionConfig:
    """What is measured: through which networks, of which losses, for which images.

    Attributes:
        powers: p of equation 1.
        norms: Of the random networks.
        batches: Real images of each class in a batch.
        inits: Initial images that are measured: random real, k-center real, noise.
        ipcs: How many of them each class has.
        networks: Random networks of each norm.

    Raises:
        UserError: something is missing, unknown or too small, or there twice.

    Example:
        >>> AttentionConfig(batches=(64,), ipcs=(1, 10)).chosen()
        [('random', 1), ('k-center', 1), ('random', 10), ('k-center', 10)]
    """

    powers: tuple[float, ...] = (1.0, 2.0, 4.0)
    norms: tuple[str, ...] = ("instance", "batch")
    batches: tuple[int, ...] = (64, 256)
    inits: tuple[str, ...] = ("random", "k-center")
    ipcs: tuple[int, ...] = (1,)
    networks: int = 5

    def __post_init__(self):
        for name in ("powers", "norms", "batches", "ipcs"):
            check_each_once(name, getattr(self, name))
        if self.inits:
            check_each_once("inits", self.inits)
        for init in self.inits:
            if init not in INITS:
                raise choice_error("initial images", init, INITS)
        for power in self.powers:
            _value("method.power", power)
        for norm in self.norms:
            _value("network.norm", norm)
        for name, least in (("networks", self.networks), ("ipcs", min(self.ipcs))):
            if least < 1:
                raise UserError(f"{name} must be at least 1, not {least}")

    def chosen(self) -> list[tuple[str, int]]:
        """Returns which initial images are measured, and how many a class."""
        return [(init, ipc) for ipc in self.ipcs for init in self.inits]

    def settings(self, config: Config) -> dict[str, Any]:
        """Returns what all measurements depend on, ready for JSON.

        Norms, batches, sets and the number of networks are not among it: a resumed
        study may have more of them, or fewer.

        Args:
            config: The settings of data, networks, augmentation and DataDAM.

        Raises:
            UserError: these are settings of another method.
        """
        if config.method.name != "datadam":
            raise UserError(
                f"method.name is {config.method.name!r}, but attention is matched by "
                "method 'datadam' alone; leave it out"
            )
        if config.method.layers == ():
            raise UserError(
                "method.layers is empty, so no attention is matched; name a block, "
                "such as --set=method.layers=1,2"
            )
        if config.distillation.formation != "raw":
            raise UserError(
                f"distillation.formation {config.distillation.formation!r} is not for "
                "this study, which measures images as networks see them; leave it out"
            )
        return {
            "study": "attention",
            "powers": list(self.powers),
            **settings_that_matter(config, _OWN),
        }


def powers_of(texts: Sequence[str]) -> tuple[float, ...]:
    """Returns the values of p that were given as text.

    Raises:
        UserError: one is no number, or negative.

    Example:
        >>> powers_of(["1", "4"])
        (1.0, 4.0)
    """
    return tuple(_value("method.power", text) for text in texts)


def check_batches(batches: Sequence[int], data: RealData | Contents) -> None:
    """Raises a `UserError` where a class has too few images for two batches.

    Args:
        batches: Real images of each class in a batch.
        data: The real data, read or not.
    """
    sizes = data.train.counts
    smallest = int(sizes.argmin())
    size, batch = int(sizes[smallest]), max(batches)
    if 2 * batch > size:
        raise UserError(
            f"batch_real {batch} is too large: two batches without a common image need "
            f"{2 * batch} training images of each class, and class "
            f"{data.class_names[smallest]!r} has {size}; choose at most {size // 2}"
        )


def _value(key: str, given: Any) -> Any:
    """Returns one setting as the schema reads it, or raises its `UserError`."""
    section, _, name = key.partition(".")
    return getattr(getattr(read_config(overrides={key: given}), section), name)
