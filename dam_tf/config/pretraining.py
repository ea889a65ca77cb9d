"""How networks of a pool are trained on the real set (`training/pretraining.py`)."""

import dataclasses

from dam_tf.config.schema import check_at_least_1


@dataclasses.dataclass(frozen=True)
class Pretraining:
    """How many networks of a pool are trained, for how long, and when they are kept.

    The evaluation section of the settings says the rest: batch, learning rate,
    augmentation.

    Attributes:
        networks: How many.
        epochs: Passes over the real training images.
        checkpoints: Moments, early ones closer together, at which each is kept.
        test_images: Real test images, evenly from all, that tell its accuracy.

    Raises:
        UserError: a number is below 1.
    """

    networks: int = 10
    epochs: int = 20
    checkpoints: int = 20
    test_images: int = 2000

    def __post_init__(self):
        check_at_least_1(self)
