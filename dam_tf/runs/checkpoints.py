"""Checkpoints of a run: one file each, whole or not there.

A checkpoint is an .npz file with the images, their momentum, their moving average if
there is one, and the iteration. Everything else is a function of the seed and the
iteration, so that is all it takes to continue exactly.
"""

import dataclasses
import os
import pathlib
import zipfile

import numpy as np

from dam_tf.base.files import atomic_file
from dam_tf.base.messages import log

_KEPT = 2
_PATTERN = "iteration-*.npz"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The state of a run after `iteration` updates.

    Attributes:
        iteration: Updates done.
        images: float32 `[classes, ipc, h, w, c]`, in model space.
        momentum: The optimizer's velocity, of the same shape.
        average: The images' moving average, likewise; None where there is none.
    """

    iteration: int
    images: np.ndarray
    momentum: np.ndarray
    average: np.ndarray | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns what is of the images' shape, by name."""
        found = {
            "images": self.images,
            "momentum": self.momentum,
            "average": self.average,
        }
        return {name: values for name, values in found.items() if values is not None}


def save_checkpoint(folder: os.PathLike | str, checkpoint: Checkpoint) -> None:
    """Writes `checkpoint` atomically and removes all but the newest two."""
    folder = pathlib.Path(folder)
    path = folder / f"iteration-{checkpoint.iteration:08d}.npz"
    with atomic_file(path) as temporary:
        np.savez(temporary, iteration=checkpoint.iteration, **checkpoint.arrays())
    for old in sorted(folder.glob(_PATTERN))[:-_KEPT]:
        old.unlink(missing_ok=True)


def load_checkpoint(
    folder: os.PathLike | str, shape: tuple[int, ...], averaged: bool = False
) -> Checkpoint | None:
    """Returns the newest checkpoint that can be read, or None.

    A file that cannot be read, or is not of these images, is passed over, and
    that is said.

    Args:
        folder: Where `save_checkpoint` wrote.
        shape: Of the images.
        averaged: Whether their moving average belongs to it.
    """
    for path in sorted(pathlib.Path(folder).glob(_PATTERN), reverse=True):
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                checkpoint = Checkpoint(
                    int(arrays["iteration"]),
                    arrays["images"],
                    arrays["momentum"],
                    arrays["average"] if averaged else None,
                )
            for name, values in checkpoint.arrays().items():
                if values.shape != shape:
                    raise ValueError(f"its {name} are not of shape {shape}")
            return checkpoint
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            log.warning("Passing over checkpoint %s: %s", path, error)
    return None
