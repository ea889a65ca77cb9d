"""How networks of a pool are trained on the real set (`training/pretraining.py`)."""

import dataclasses


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
    """

    networks: int = 10
    epochs: int = 20
    checkpoints: int = 20
    test_images: int = 2000
