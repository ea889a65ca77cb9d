"""Learning curves (Figures 3 and 9): losses, and accuracy against the iteration."""

import functools
import os
from collections.abc import Mapping
from typing import Any

from dam_tf.base.errors import UserError
from dam_tf.base.json_lines import read_json_lines
from dam_tf.base.trials import Trials
from dam_tf.config.schema import to_dict
from dam_tf.config.settings import Config
from dam_tf.data.loading import load_dataset
from dam_tf.evaluation.evaluate import check_match
from dam_tf.evaluation.results import Evaluation
from dam_tf.evaluation.scheduling import train_and_test
from dam_tf.plots.learning_curves import Series, save_curves
from dam_tf.runs.folder import RunFolder
from dam_tf.runs.provenance import check_run_data
from dam_tf.studies.checks import check_evaluation
from dam_tf.studies.pictures.runs import fingerprint, spread, stages
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.training.on_distilled import trainer_of

PICTURE = "curves.png"


def settings(overrides: Mapping[str, Any], points: int) -> dict[str, Any]:
    """Returns what the accuracies of all runs depend on, ready for JSON.

    Args:
        overrides: Settings of evaluation over those of the runs.
        points: Iterations of each run that are evaluated; 0: losses alone.
    """
    return {"study": "curves", "points": points, "overrides": dict(overrides)}


def save_learning_curves(
    runs: Mapping[str, RunFolder],
    folder: os.PathLike | str,
    overrides: Mapping[str, Any],
    points: int = 8,
    resume: bool = False,
    overwrite: bool = False,
) -> str:
    """Draws the losses of runs, and what networks learn from their snapshots.

    Every accuracy is that of networks after their last epoch, trained from scratch
    on the images of that iteration. It is kept in `trials.jsonl` with a fingerprint
    of the images, so that it is never taken for another run's.

    Args:
        runs: By title, as `find_runs` gives them.
        folder: Made if missing; gets `curves.png`, `settings.json`, `trials.jsonl`.
        overrides: Settings over those of each run, such as `evaluation.networks`.
        points: Iterations of each run that are evaluated; 0: losses alone.
        resume: Continue the study that lies there.
        overwrite: Replace it.

    Returns:
        The path of the picture.

    Raises:
        UserError: a run has kept no images on the way, or does not fit its data.
    """
    plans = {title: _plan(run, overrides, points) for title, run in runs.items()}
    losses = {title: read_losses(run) for title, run in runs.items()}
    losses = {title: series for title, series in losses.items() if series[0]}
    if not losses and not points:
        raise UserError("these runs have no losses: their images were not learned")
    if points < 0:
        raise UserError(f"points must be at least 0, not {points}")
    subjects = {}
    for title, (config, distilled, found) in plans.items():
        for iteration, images in found.items():
            key = [title, iteration, fingerprint(images)]
            subjects[tuple(key)] = (runs[title], config, distilled, images)
    evaluations = _Evaluations(subjects)
    with Trials(folder, settings(overrides, points), resume, overwrite) as trials:
        for key in subjects:
            if key not in trials:
                evaluations.check(*subjects[key][:3])
        results = trials.run(subjects, evaluations, "Evaluating images of the way")
        accuracies: dict[str, tuple[list, list]] = {}
        for (title, iteration, _), result in zip(subjects, results, strict=True):
            iterations, values = accuracies.setdefault(title, ([], []))
            iterations.append(iteration)
            values.append(result["accuracies"])
        path = trials.folder / PICTURE
        save_curves(losses, accuracies, path)
    return os.fspath(path)


def read_losses(run: RunFolder, name: str = "loss") -> Series:
    """Returns the iterations of a run's lines of metrics, and a loss of each.

    Args:
        run: Its folder.
        name: Of the loss.
    """
    lines = [(x.get("iteration"), x.get(name)) for x in read_json_lines(run.metrics)]
    lines = [line for line in lines if all(type(x) in (int, float) for x in line)]
    return [iteration for iteration, _ in lines], [loss for _, loss in lines]


def _plan(run: RunFolder, overrides, points: int):
    """Returns a run's settings, its set, and the images that are evaluated."""
    config = run.settings(overrides)
    if not points:
        return config, None, {}
    distilled = DistilledSet.load(run.path)
    found = stages(run, distilled)
    chosen = spread(list(found), points)
    return config, distilled, {iteration: found[iteration] for iteration in chosen}


class _Evaluations:
    """Evaluates images when asked to; real data are read once, and only if needed."""

    def __init__(self, subjects):
        self._subjects, self._data = subjects, {}

    def check(self, run: RunFolder, config: Config, distilled: DistilledSet) -> None:
        """Raises a `UserError` where a run or a network does not suit the real data."""
        data = self._real(config)
        check_match(distilled, data)
        check_run_data(run, data)
        check_evaluation(config, data)

    def __call__(self, key) -> dict[str, Any]:
        _, config, distilled, images = self._subjects[tuple(key)]
        data = self._real(config)
        one = DistilledSet(
            images,
            distilled.labels,
            distilled.class_names,
            distilled.preprocessing,
            distilled.name,
        )
        predictions = train_and_test(
            trainer_of(one, config), data.tested(), config.evaluation
        )
        result = Evaluation.of(predictions, data.tested().labels, data.num_classes)
        return {
            "accuracy": round(result.mean, 6),
            "deviation": round(result.deviation, 6),
            "accuracies": [round(accuracy, 6) for accuracy in result.accuracies],
        }

    def _real(self, config: Config):
        key = repr(to_dict(config)["dataset"])
        check = functools.partial(check_evaluation, config)
        if key not in self._data:
            self._data = {key: load_dataset(config.dataset, check)}
        return self._data[key]
