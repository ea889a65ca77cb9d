"""Grids of distilled images (Figures 21 to 29) and how they came about (Figure 10)."""

import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from dam_tf import plots
from dam_tf.base.errors import UserError, choice_error
from dam_tf.base.files import file_name
from dam_tf.base.messages import progress_bar
from dam_tf.base.output import check_no_file
from dam_tf.data.real_data import composed
from dam_tf.runs.folder import RunFolder
from dam_tf.studies.pictures.runs import spread, stages, write_lines
from dam_tf.synthetic.distilled_set import DistilledSet

_MOST_CLASSES = 10  # rows of a strip, unless classes are named


def save_grids(
    runs: Mapping[str, RunFolder], folder: os.PathLike | str, per_class: int = 10
) -> list[pathlib.Path]:
    """Draws the images of each run, in pixels, and writes `grid.jsonl`.

    Where a formation makes the images, what is stored is a picture of its own.

    Args:
        runs: By title, as `find_runs` gives them.
        folder: Made if missing; gets `grid_<title>.png` for each run, and maybe
            `grid_<title>_stored.png`.
        per_class: The most images that are drawn of a class.

    Returns:
        The pictures.

    Raises:
        UserError: a set cannot be read, or its images are neither grey nor colour.
    """
    folder, paths, lines = pathlib.Path(folder), [], []
    check_no_file(folder)
    sets = [(title, run, _load(run)) for title, run in runs.items()]
    for title, run, distilled in progress_bar("Drawing", "run", sets):
        views = {"": (distilled.images, distilled.labels)}
        if distilled.stored is not None:
            views["_stored"] = distilled.what_is_stored()
        for view, shown in views.items():
            path = folder / f"grid_{file_name(title)}{view}.png"
            about = _caption(run, distilled) + (", as stored" if view else "")
            names = distilled.class_names
            plots.save_grid(*shown, names, path, per_class, about)
            paths.append(path)
        labels = distilled.labels
        outside = np.mean((distilled.images < 0) | (distilled.images > 1))
        lines.append(
            {
                "run": str(run.path),
                "picture": f"grid_{file_name(title)}.png",
                "dataset": distilled.name,
                "classes": distilled.num_classes,
                "ipc": distilled.ipc,
                "formation": distilled.formation,
                "drawn_per_class": min(per_class, int(np.bincount(labels).max())),
                "values_outside_0_1": round(float(outside), 6),
            }
        )
    write_lines(folder / "grid.jsonl", lines)
    return paths


def save_evolutions(
    runs: Mapping[str, RunFolder],
    folder: os.PathLike | str,
    per_class: int = 2,
    columns: int = 8,
    at: Sequence[int] = (),
    classes: Sequence[str] = (),
) -> list[pathlib.Path]:
    """Draws each run's images as they were learned, and writes `evolution.jsonl`.

    A strip (`evolution_<title>.png`) has a row for an image and a column for an
    iteration; an animation (`evolution_<title>.gif`) goes through all of them. A
    line says how far the images have moved: the root mean square, over all pixels,
    of what changed since the first stage and since the one before.

    Args:
        runs: By title, as `find_runs` gives them.
        folder: Made if missing.
        per_class: Rows of a class.
        columns: The most columns; they are spread evenly over what was kept.
        at: The iterations to show instead.
        classes: Names of the classes to show; the first ten if left out.

    Returns:
        The pictures.

    Raises:
        UserError: a run has kept no images, or not those of `at`, or has no such
            class.
    """
    folder, paths, lines = pathlib.Path(folder), [], []
    check_no_file(folder)
    plans = [_plan(run, columns, at, classes) for run in runs.values()]
    for (title, run), (distilled, found, shown, rows) in progress_bar(
        "Drawing", "run", list(zip(runs.items(), plans, strict=True))
    ):
        labels = distilled.labels[rows]
        names = distilled.class_names
        some = {iteration: found[iteration][rows] for iteration in shown}
        strip = folder / f"evolution_{file_name(title)}.png"
        about = _caption(run, distilled)
        plots.save_evolution(some, labels, names, strip, per_class, about)
        movie = strip.with_suffix(".gif")
        plots.save_animation(found, distilled.labels, names, movie)
        paths += [strip, movie]
        lines += _moves(run, found)
    write_lines(folder / "evolution.jsonl", lines)
    return paths


def _load(run: RunFolder) -> DistilledSet:
    distilled = DistilledSet.load(run.path)
    if (channels := distilled.image_shape[2]) not in (1, 3):
        raise UserError(
            f"the images in {run.path} have {channels} channels; only those with 1 or "
            "3 can be drawn"
        )
    return distilled


def _caption(run: RunFolder, distilled: DistilledSet) -> str:
    method = run.settings().method.name
    return plots.caption(distilled.name, distilled.ipc_text, method)


def _plan(run, columns, at, classes):
    """Returns the set, its stages, the iterations of the strip, and its images."""
    distilled = _load(run)
    found = stages(run, distilled)
    for iteration in at:
        if iteration not in found:
            raise choice_error("iteration of --at", iteration, map(str, found))
    names = distilled.class_names
    classes = [composed(name) for name in classes]
    for name in classes:
        if name not in names:
            raise choice_error("class", name, names)
    kept = [names.index(name) for name in classes] or range(_MOST_CLASSES)
    rows = np.flatnonzero(np.isin(distilled.labels, list(kept)))
    return distilled, found, at or spread(list(found), columns), rows


def _moves(run: RunFolder, found: Mapping[int, np.ndarray]):
    before = first = next(iter(found.values()))
    for iteration, images in found.items():
        yield {
            "run": str(run.path),
            "iteration": iteration,
            "change_from_first": _distance(images, first),
            "change_from_previous": _distance(images, before),
        }
        before = images


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return round(float(np.sqrt(np.mean(np.square(one - other, dtype=np.float64)))), 6)
