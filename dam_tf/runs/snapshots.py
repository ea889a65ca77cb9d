"""Snapshots of a run: the images at chosen iterations, kept for pictures and curves.

Checkpoints come and go; a snapshot stays. Which iterations have one follows from the
settings alone, so a resumed run leaves those of an uninterrupted one.
"""

import os
import pathlib
import re
import zipfile

import numpy as np

from dam_tf.base.files import atomic_file
from dam_tf.base.messages import log
from dam_tf.config.settings import DistillationConfig

_PATTERN = "iteration-*.npz"


def is_snapshot(settings: DistillationConfig, iteration: int) -> bool:
    """Whether the images are kept after `iteration` updates.

    Example:
        >>> settings = DistillationConfig(snapshot_every=100, snapshot_at=(5,))
        >>> [i for i in (0, 1, 5, 100, 150, 200) if is_snapshot(settings, i)]
        [0, 5, 100, 200]
    """
    every, chosen = settings.snapshot_every, settings.snapshot_at
    return iteration in chosen or (every is not None and iteration % every == 0)


def next_snapshot(settings: DistillationConfig, iteration: int) -> int | None:
    """Returns the first iteration after `iteration` whose images are kept, or None.

    Example:
        >>> settings = DistillationConfig(snapshot_every=100, snapshot_at=(5, 120))
        >>> [next_snapshot(settings, i) for i in (0, 5, 100, 120)]
        [5, 100, 120, 200]
    """
    later = [chosen for chosen in settings.snapshot_at if chosen > iteration]
    if (every := settings.snapshot_every) is not None:
        later.append((iteration // every + 1) * every)
    return min(later, default=None)


def save_snapshot(
    folder: os.PathLike | str, iteration: int, images: np.ndarray, labels: np.ndarray
) -> None:
    """Writes `iteration-<n>.npz` with `images` and `labels`, atomically.

    Args:
        folder: The run's `snapshots/`; made if missing.
        iteration: Updates done.
        images: float32 `[n, h, w, c]`, pixels, not clipped.
        labels: int64 `[n]`.
    """
    path = pathlib.Path(folder) / f"iteration-{iteration:08d}.npz"
    with atomic_file(path) as temporary:
        np.savez(temporary, images=images, labels=labels)


def snapshot_files(folder: os.PathLike | str) -> dict[int, pathlib.Path]:
    """Returns the files in a run's `snapshots/` by iteration, in order."""
    numbers = {}
    for path in sorted(pathlib.Path(folder).glob(_PATTERN)):
        if match := re.fullmatch(r"iteration-(\d+)\.npz", path.name):
            numbers[int(match[1])] = path
    return dict(sorted(numbers.items()))


def load_snapshots(
    folder: os.PathLike | str, shape: tuple[int, ...]
) -> dict[int, np.ndarray]:
    """Returns the images of every snapshot that can be read, by iteration.

    A file that cannot be read, or is not of these images, is passed over, and that
    is said.

    Args:
        folder: The run's `snapshots/`.
        shape: Of the images, `[n, h, w, c]`.
    """
    found = {}
    for iteration, path in snapshot_files(folder).items():
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                images = arrays["images"]
            if images.shape != tuple(shape):
                raise ValueError(f"its images are {images.shape}, not {tuple(shape)}")
            found[iteration] = images
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            log.warning("Passing over snapshot %s: %s", path, error)
    return found


def forget_snapshots_after(folder: os.PathLike | str, iteration: int) -> None:
    """Removes the snapshots after `iteration`, which a resumed run makes again."""
    for number, path in snapshot_files(folder).items():
        if number > iteration:
            path.unlink()
