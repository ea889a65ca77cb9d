"""Real data small enough that a run takes a second: three classes of 8x8 images."""

import numpy as np

from dam_tf.config import Config, make_config
from dam_tf.datasets.real_data import RealData, Split

NAMES = ("circle", "cross", "square")


def make_data(per_class=(9, 12, 15), channels=1, size=8, seed=0) -> RealData:
    """Random uint8 images whose classes differ in brightness."""
    rng = np.random.default_rng(seed)

    def split(counts):
        images = np.concatenate(
            [
                rng.integers(80 * k, 80 * k + 90, (count, size, size, channels))
                for k, count in enumerate(counts)
            ]
        ).astype(np.uint8)
        labels = np.repeat(np.arange(len(counts)), counts)
        offsets = np.concatenate([[0], np.cumsum(counts)])
        return Split(images, labels, offsets)

    return RealData("tiny", NAMES[: len(per_class)], split(per_class), split((5, 5, 5)))


def save_npz(path, data: RealData) -> str:
    """Writes `data` as the npz file that `npz:PATH` reads; returns that name."""
    np.savez(
        path,
        x_train=data.train.images,
        y_train=data.train.labels,
        x_test=data.test.images,
        y_test=data.test.labels,
    )
    return f"npz:{path}"


def tiny_config(**overrides) -> Config:
    """Settings of a run that takes a second; keys are `section__key`."""
    values = {
        "network.width": 8,
        "network.depth": 2,
        "distillation.iterations": 6,
        "distillation.batch_real": 4,
        "distillation.ipc": 2,
        "distillation.log_every": 2,
        "distillation.checkpoint_every": 2,
        "evaluation.models": 2,
        "evaluation.epochs": 3,
    }
    values.update({key.replace("__", "."): value for key, value in overrides.items()})
    return make_config(overrides=values)
