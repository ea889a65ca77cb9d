"""Five classes that can be told by their pixels, and settings of small studies."""

import numpy as np

from dam_tf.config.settings import Config
from dam_tf.data.real_data import RealData, sorted_split
from dam_tf.studies.continual.settings import ContinualConfig
from tests.tiny_data import tiny_config

NAMES = ("a", "b", "c", "d", "e")
IPC = 2


def five_classes() -> RealData:
    """Random images; every value of class k's training images is 50 k to 50 k + 9."""
    rng = np.random.default_rng(0)

    def split(count):
        parts = [rng.integers(50 * k, 50 * k + 10, (count, 8, 8, 1)) for k in range(5)]
        return sorted_split(np.concatenate(parts).astype(np.uint8), [count] * 5)

    return RealData("five", NAMES, split(6), split(3))


def config(**overrides) -> Config:
    """Settings of tiny networks and runs; keys are `section__key`."""
    settings = {
        "distillation__ipc": IPC,
        "distillation__iterations": 2,
        "dataset__preprocessing": "none",
        "network__width": 4,
        "network__depth": 1,
        "evaluation__networks": 1,
        "evaluation__epochs": 2,
        "selection__space": "pixels",
    }
    return tiny_config(**{**settings, **overrides})


def study(*memories, **changes) -> ContinualConfig:
    """A study in two steps and one order, unless `changes` say otherwise."""
    settings = {"memories": memories, "steps": (2,), "orders": 1}
    return ContinualConfig(**{**settings, **changes})


def classes_of(images: np.ndarray) -> list[int]:
    """The classes that real images of `five_classes` are of, told by their values."""
    return np.rint((images.mean(axis=(1, 2, 3)) * 255 - 4.5) / 50).astype(int).tolist()
