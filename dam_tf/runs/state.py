"""The state of a run on disk: checkpoints to continue from, snapshots for pictures.

Both are files `iteration-<n>.npz`, whole or not there. A checkpoint holds all that
changes from iteration to iteration, by name; everything else is a function of the seed
and the iteration. Checkpoints come and go; a snapshot, of the images alone, stays.
Which iterations have one follows from the settings, so a resumed run leaves those of an
uninterrupted one.
"""

import os
import pathlib
import re
from collections.abc import Mapping

import numpy as np

from dam_tf.base.errors import UserError
from dam_tf.base.files import atomic_file
from dam_tf.base.messages import log
from dam_tf.base.npz import Array, names_in, read_npz
from dam_tf.config.sections import DistillationConfig

_KEPT = 2  # checkpoints
_LOSSES = "losses/"  # how the names of losses begin in a checkpoint

State = Mapping[str, np.ndarray]


def state_files(folder: os.PathLike | str) -> dict[int, pathlib.Path]:
    """Returns the files of a run's `checkpoints/` or `snapshots/`, by iteration."""
    numbers = {}
    for path in pathlib.Path(folder).glob("iteration-*.npz"):
        if match := re.fullmatch(r"iteration-(\d+)\.npz", path.name):
            numbers[int(match[1])] = path
    return dict(sorted(numbers.items()))


def save_checkpoint(
    folder: os.PathLike | str, state: State, losses: State | None = None
) -> None:
    """Writes a checkpoint atomically and removes all but the newest two.

    Args:
        folder: The run's `checkpoints/`; made if missing.
        state: Arrays by name; `iteration` is one of them.
        losses: By name, those of the iterations that no line of metrics has yet, each
            `[iterations]`: the next line is then that of a run that was never stopped.
    """
    named = {f"{_LOSSES}{name}": values for name, values in (losses or {}).items()}
    _save(folder, int(state["iteration"]), {**state, **named})
    for old in list(state_files(folder).values())[:-_KEPT]:
        old.unlink(missing_ok=True)


def load_checkpoint(folder: os.PathLike | str, state: State) -> tuple[State, State]:
    """Returns state and losses of the newest checkpoint that can be read.

    A file that cannot be read, or does not hold this state, is passed over, and that
    is said.

    Args:
        folder: Where `save_checkpoint` wrote.
        state: Arrays of the names, shapes and types that are looked for.

    Raises:
        UserError: there is no checkpoint, or none that can be read.
    """
    files = state_files(folder)
    arrays = {name: Array(a.shape, a.dtype.type) for name, a in state.items()}
    what = "a checkpoint of this run"
    for path in reversed(files.values()):
        try:
            losses = [n for n in names_in(path, what) if n.startswith(_LOSSES)]
            logged = dict.fromkeys(losses, Array([None], np.float32))
            found = read_npz(path, arrays | logged, what)
            return (
                {name: found[name] for name in arrays},
                {name.removeprefix(_LOSSES): found[name] for name in losses},
            )
        except UserError as error:
            log.warning("Passing over a checkpoint: %s", error)
    raise UserError(
        f"none of the checkpoints in {folder} can be read; restore one, or start "
        "anew with --overwrite"
    )


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
        later.append(next_multiple(iteration, every))
    return min(later, default=None)


def next_multiple(number: int, step: int) -> int:
    """Returns the first multiple of `step` after `number`.

    Example:
        >>> next_multiple(4, 5), next_multiple(5, 5)
        (5, 10)
    """
    return (number // step + 1) * step


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
    _save(folder, iteration, {"images": images, "labels": labels})


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
    found, arrays = {}, {"images": Array(shape, np.floating)}
    for iteration, path in state_files(folder).items():
        try:
            found[iteration] = read_npz(path, arrays, "a snapshot of this run")[
                "images"
            ]
        except UserError as error:
            log.warning("Passing over a snapshot: %s", error)
    return found


def forget_snapshots_after(folder: os.PathLike | str, iteration: int) -> None:
    """Removes the snapshots after `iteration`, which a resumed run makes again."""
    for number, path in state_files(folder).items():
        if number > iteration:
            path.unlink()


def _save(folder: os.PathLike | str, iteration: int, arrays: State) -> None:
    path = pathlib.Path(folder) / f"iteration-{iteration:08d}.npz"
    with atomic_file(path) as temporary:
        np.savez(temporary, **arrays)
