"""What the pictures need to know of the runs that they show."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dam_tf.base.errors import UserError
from dam_tf.base.json_lines import read_json_lines, write_json_lines
from dam_tf.runs.folder import RunFolder
from dam_tf.runs.state import load_snapshots
from dam_tf.synthetic.distilled_set import DistilledSet


def stages(run: RunFolder, distilled: DistilledSet) -> dict[int, np.ndarray]:
    """Returns a run's images `[n, h, w, c]` by iteration: its snapshots, and the last.

    Args:
        run: Its folder.
        distilled: The set that lies there.

    Raises:
        UserError: no snapshots were kept.
    """
    found = load_snapshots(run.snapshots, distilled.images.shape)
    if not found:
        raise UserError(
            f"run {run.path} has kept no images on the way; distil with "
            "--snapshot_every=N (or --set distillation.snapshot_at=0,10,100)"
        )
    last = run.iterations_done()
    if last is not None and last > max(found):
        found[last] = distilled.images
    return found


def spread(found: Sequence[int], columns: int) -> list[int]:
    """Returns `columns` of `found`, the first and last among them, evenly spread.

    Example:
        >>> spread([0, 1, 2, 5, 10, 20, 50, 100], 4)
        [0, 2, 20, 100]
    """
    places = np.linspace(0, len(found) - 1, min(columns, len(found)))
    return [found[int(place)] for place in np.round(places)]


def fingerprint(images: np.ndarray) -> str:
    """Returns a short text that other images do not have."""
    return hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()[:12]


def write_lines(path: os.PathLike | str, lines: Sequence[Mapping[str, Any]]) -> None:
    """Writes JSON lines of some runs, in place of earlier ones of the same runs."""
    now = {line["run"] for line in lines}
    kept = [line for line in read_json_lines(path) if line.get("run") not in now]
    write_json_lines(path, (*kept, *lines))
