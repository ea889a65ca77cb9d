"""How the architectures of a search are trained and judged.

Nothing here imports TensorFlow, so a tool can check before that.
"""

import dataclasses
from typing import Any

from dam_tf.config.schema import check_at_least_1
from dam_tf.config.settings import Config, settings_that_matter

# What says how a network is trained and tested, whatever its architecture.
_SECTIONS = ("dataset.", "augmentation.", "evaluation.")
_KEYS = (
    "network.initializer",
    "network.pooling_size",
    "distillation.ipc",
    "distillation.seed",
)


@dataclasses.dataclass(frozen=True)
class SearchSettings:
    """What a search adds to the settings of a run.

    Attributes:
        whole_epochs: Passes over the whole set of each network trained on it; those
            over a proxy are `evaluation.epochs`.
        validation: Training images that are held out, by which architectures are
            ranked; a tenth if None.
        whole_images: The whole set is this many training images, of all classes
            alike; all that are not held out if None.
        test_images: Tests use this many test images, of all classes alike; all if
            None.

    Raises:
        UserError: a number is below 1.
    """

    whole_epochs: int = 100
    validation: int | None = None
    whole_images: int | None = None
    test_images: int | None = None

    def __post_init__(self):
        check_at_least_1(self)


def study_settings(config: Config, settings: SearchSettings) -> dict[str, Any]:
    """Returns what every trial of a search depends on, ready for JSON.

    Which architectures and which sets there are is not part of it: a search may be
    resumed with more of them.

    Args:
        config: Of a run, or of `make_config`.
        settings: Of the search.
    """
    chosen = {
        key: value
        for key, value in settings_that_matter(config).items()
        if key.startswith(_SECTIONS) or key in _KEYS
    }
    return {**chosen, **dataclasses.asdict(settings)}
