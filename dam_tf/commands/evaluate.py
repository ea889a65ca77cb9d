"""Trains networks on a set and tests them on real images.

    python -m dam_tf evaluate --distilled=runs/cifar10_ipc1_datadam_seed0
    python -m dam_tf evaluate --distilled=runs/a,runs/b --models=20 --network=vgg11
    python -m dam_tf evaluate --distilled=random --dataset=cifar10 --ipc=1 --sets=5
    python -m dam_tf evaluate --whole_dataset --dataset=cifar10 --json=results.jsonl

Prints the mean accuracy of the networks' last epochs and its deviation, the accuracy
on each class and, where earlier results of the whole set or of random images are
known (--compare), how much of that is reached. Results are appended, with the
settings that made them, to the run's evaluation.jsonl.
"""

import pathlib
from collections.abc import Callable

from dam_tf.base.errors import UserError
from dam_tf.commands import devices
from dam_tf.commands.options import DATA, EVALUATION, Options
from dam_tf.config.settings import Config, replace
from dam_tf.runs.folder import RunFolder, find_run

OPTIONS = Options(*DATA, "ipc", "preset", "network", "seed", *EVALUATION)
devices.define(OPTIONS)
OPTIONS.items("distilled", [], "Folders of runs, or `random` for random real images.")
OPTIONS.integer("sets", 1, "With --distilled=random: sets drawn.")
OPTIONS.switch(
    "whole_dataset", False, "Train on all real training images: the upper bound."
)
OPTIONS.items(
    "compare", [], "Files of earlier results of random images and the whole set."
)
OPTIONS.text("json", None, "Also append the result to this file.")
OPTIONS.define_config("Without a run: TOML file of settings.")
_WHOLE_EPOCHS = 50  # passes over the whole set, unless --epochs says otherwise
_MOST_SHOWN = 20  # classes whose accuracies are printed


def main() -> None:
    what, config, runs = _subject()
    settings = config.evaluation
    print(
        f"Evaluating {_describe(what, config)} on {config.dataset.name}: "
        f"{settings.models} x {config.network.name}, {settings.epochs:,} epochs each",
        flush=True,
    )

    chief, strategy = devices.is_chief(OPTIONS), devices.start(OPTIONS)
    from dam_tf import plots
    from dam_tf.coresets import select as selection
    from dam_tf.data import loading as datasets
    from dam_tf.evaluation import evaluate as evaluation

    data = datasets.load_dataset(config.dataset)
    if what == "whole":
        result = evaluation.evaluate_whole_set(config, data, strategy)
    else:
        sets = runs or _random_sets(data, config, selection.random_real_set)
        results = [
            evaluation.evaluate(
                one.path if isinstance(one, RunFolder) else one, config, data, strategy
            )
            for one in sets
        ]
        if len(results) > 1 and chief:
            for number, one in enumerate(results):
                print(f"  {runs[number].path if runs else f'set {number}'}: {one}")
        result = evaluation.join(results)
    if not chief:
        return
    outputs = [run.evaluation for run in runs]
    outputs += [pathlib.Path(OPTIONS["json"])] if OPTIONS["json"] else []
    known = evaluation.find_references([*outputs, *OPTIONS["compare"]], config)
    if what != "run":
        known.pop("whole_set" if what == "whole" else "random_real", None)
    measures = evaluation.compare(result, **known) if what != "whole" else {}
    name = what if what != "run" else ",".join(str(run.path) for run in runs)
    evaluation.save_record(evaluation.record(result, name, config, measures), *outputs)
    for run in runs:
        plots.save_confusion(result.confusion, data.class_names, run.confusion)
    _report(result, data.class_names, measures)


def _random_sets(data, config: Config, draw: Callable) -> list:
    """Returns --sets random sets, of as many seeds; the data are fitted to once."""
    sets = [draw(data, config)]
    for number in range(1, OPTIONS["sets"]):
        seed = config.distillation.seed + number
        other = replace(config, distillation__seed=seed)
        sets.append(draw(data, other, sets[0].preprocessing))
    return sets


def _subject() -> tuple[str, Config, list[RunFolder]]:
    """Returns `run`, `random` or `whole`, the settings, and the runs."""
    names = OPTIONS["distilled"]
    if bool(names) == OPTIONS["whole_dataset"]:
        raise UserError(
            "give one of --distilled (folders of runs, or random) and --whole_dataset"
        )
    for path in OPTIONS["compare"]:
        if not pathlib.Path(path).is_file():
            raise UserError(f"--compare: no such file: {path}")
    if OPTIONS["whole_dataset"]:
        overrides = OPTIONS.overrides()
        epochs = overrides.get("evaluation.epochs", _WHOLE_EPOCHS)
        config = OPTIONS.config()
        return "whole", replace(config, evaluation__epochs=int(epochs)), []
    if names == ["random"]:
        return "random", OPTIONS.config(), []
    runs = [find_run(name) for name in names]
    return "run", _settings_of(runs[0]), runs


def _describe(what: str, config: Config) -> str:
    if what == "whole":
        return "all real training images"
    if what == "random":
        sets = f", {OPTIONS['sets']} times" if OPTIONS["sets"] > 1 else ""
        return f"{config.distillation.ipc} random real images per class{sets}"
    return ", ".join(OPTIONS["distilled"])


def _settings_of(run: RunFolder) -> Config:
    overrides = OPTIONS.overrides()
    if fixed := sorted(overrides.keys() & {"distillation.ipc", "preset"}):
        raise UserError(
            f"{fixed[0]} is that of the run in {run.path}; it can be chosen with "
            "--distilled=random only"
        )
    return run.settings(overrides)


def _report(result, class_names, measures) -> None:
    if len(class_names) <= _MOST_SHOWN:
        parts = zip(class_names, result.per_class, strict=True)
        shares = ", ".join(f"{name} {100 * share:.1f}" for name, share in parts)
        print(f"Accuracy by class (%): {shares}")
    for name, value in measures.items():
        unit = "%" if name == "share_of_full" else "points"
        print(f"{name.replace('_', ' ').capitalize()}: {100 * value:.1f} {unit}")
    print(f"Test accuracy: {result}")
