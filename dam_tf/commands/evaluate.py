"""Trains networks on a set and tests them on real images.

    python -m dam_tf evaluate --distilled=runs/cifar10_ipc1_datadam_seed0
    python -m dam_tf evaluate --distilled=runs/a,runs/b --models=20 --network=vgg11
    python -m dam_tf evaluate --distilled=random --dataset=cifar10 --ipc=1 --sets=5
    python -m dam_tf evaluate --whole_dataset --dataset=cifar10 --json=results.jsonl
    python -m dam_tf evaluate --distilled=npz:dc.npz --dataset=cifar10
    python -m dam_tf evaluate --distilled=runs/cifar10_ipc1_kip_seed0 --by=kernel

Prints the mean accuracy of the networks' last epochs and its deviation, the accuracy
on each class and, where earlier results of the whole set or of random images are
known (--compare), how much of that is reached. Each run's evaluation.jsonl gets a line
with the results of its own networks and the settings that made them, and its
confusion.png shows them; with --own_recipe another line has those by the recipe of the
set. A set with soft labels is tested with hard ones, too, and has a line for each;
--set=evaluation.label_type=hard leaves the soft ones out. --json gets a line with the
result of all runs or sets.

npz:FILE is a set of another program: images and labels, as docs/evaluation.md says.

--by=kernel trains no network: it tests the kernel regression of KIP on the set, with
the kernel of the run's method where it has one. Its result is printed, and goes into
the file of --json alone.
"""

import functools
import pathlib
from typing import NamedTuple

from dam_tf.base.errors import UserError
from dam_tf.base.messages import log
from dam_tf.base.output import unwritable
from dam_tf.commands import devices
from dam_tf.commands.options import DATA, EVALUATION, OF_IMAGES, Options
from dam_tf.commands.results import in_training_words, label_types, tell
from dam_tf.config.image_counts import in_words
from dam_tf.config.kernels import kernel_of
from dam_tf.config.places import with_absolute_paths
from dam_tf.config.schema import flat, keys_that_affect, to_dict
from dam_tf.config.settings import Config, EvaluationConfig, replace
from dam_tf.runs.folder import RunFolder, find_run

OPTIONS = Options(
    *DATA, "ipc", "images_per_class", "preset", "network", "seed", *EVALUATION
)
devices.define(OPTIONS)
OPTIONS.items(
    "distilled",
    [],
    "Folders of runs; npz:FILE, sets of other programs; or `random` for random real "
    "images.",
    paths=True,
)
OPTIONS.choice(
    "by", ("network", "kernel"), "What is tested: networks, or KIP's regression."
)
OPTIONS.integer("sets", 1, "With --distilled=random: sets drawn.")
OPTIONS.switch(
    "whole_dataset", False, "Train on all real training images: the upper bound."
)
OPTIONS.switch(
    "own_recipe",
    False,
    "Also train as the recipe of the set says, where its method learned one (DD, LD, "
    "MTT).",
)
OPTIONS.items(
    "compare",
    [],
    "Files of earlier results of random images and the whole set.",
    paths=True,
)
OPTIONS.text("json", None, "Append the result of all runs or sets to this file.")
OPTIONS.define_config("Without a run: TOML file of settings.")
_WHOLE_EPOCHS = 50  # passes over the whole set, unless --epochs says otherwise

# Settings in which runs that are evaluated together may not differ.
_SHARED = ("dataset", "network", "augmentation", "evaluation", *OF_IMAGES)


def main() -> None:
    _check_files()
    what, config, runs = _subject()
    by_kernel = OPTIONS["by"] == "kernel"
    print(
        f"Evaluating {_describe(what, config)} on {config.dataset.name}: {_by(config)}",
        flush=True,
    )
    chief = devices.is_chief(OPTIONS)
    # A run keeps the results of networks alone.
    kept = _writable(runs) if chief and not by_kernel else []

    strategy = devices.start(OPTIONS)
    from dam_tf.coresets.select import random_real_set
    from dam_tf.data.loading import load_dataset
    from dam_tf.evaluation import evaluate as evaluation
    from dam_tf.evaluation.kernel import kernel_accuracy
    from dam_tf.runs.provenance import check_run_data
    from dam_tf.synthetic.distilled_set import DistilledSet
    from dam_tf.synthetic.npz import NpzSet, npz_file

    files = [NpzSet.read(npz_file(name)) for name in _npz_files()]
    whole = what == "whole"
    check = functools.partial(evaluation.check_networks, config, whole=whole)
    test = functools.partial(evaluation.evaluate, strategy=strategy)
    if by_kernel:
        check, test = (lambda data: None), kernel_accuracy
    data = load_dataset(config.dataset, check)
    sets, configs = [], [config]
    if what == "random":
        sets = _random_sets(data, config, random_real_set)
        configs = len(sets) * [config]
    elif what == "npz":
        sets, config = evaluation.sets_of_files(files, config, data)
        configs = len(sets) * [config]
    elif what == "run":
        sets = [DistilledSet.load(run.path) for run in runs]
        for run, one in zip(runs, sets, strict=True):  # before the first costs hours
            evaluation.check_match(one, data)
            check_run_data(run, data)
        configs = [run.settings(OPTIONS.overrides()) for run in runs]
    if not any(one.soft_labels is not None for one in sets) and not by_kernel:
        config, *configs = [
            replace(one, evaluation__label_type="hard") for one in (config, *configs)
        ]
    ways = _ways(config.evaluation)
    by_way = {
        way: [
            evaluation.by_recipe(one, replace(settings, **way.settings()))
            for one, settings in zip(sets, configs, strict=True)
        ]
        for way in (ways if sets else [])
    }
    for way in ways:
        settings = by_way.get(way, configs)
        if what == "whole":
            results = [evaluation.evaluate_whole_set(config, data, strategy)]
        else:
            pairs = zip(sets, settings, strict=True)
            results = [test(*one, data) for one in pairs]
        if chief:
            pairs = list(zip(results, settings, strict=True))
            tell(
                OPTIONS,
                what,
                runs,
                kept,
                [str(run.path) for run in runs] or _npz_files(),
                pairs,
                data.class_names,
                _how(ways, way, config.evaluation.cutmix),
                draws=way == ways[0],
                kernel=_by(config) if by_kernel else "",
            )


class _Way(NamedTuple):
    """One of the ways in which networks are trained on a set."""

    recipe: str
    label_type: str

    def settings(self) -> dict[str, str]:
        return {f"evaluation__{name}": value for name, value in self._asdict().items()}


def _ways(settings: EvaluationConfig) -> list[_Way]:
    """In which ways sets are tested: with soft labels never without hard ones, too."""
    kinds = [settings.label_type]
    if OPTIONS["by"] == "network":
        kinds = label_types(settings)
    ways = [_Way(settings.recipe, kind) for kind in kinds]
    if OPTIONS["own_recipe"]:
        ways.append(_Way("own", settings.label_type))
    return list(dict.fromkeys(ways))


def _how(ways: list[_Way], way: _Way, cutmix: float) -> str:
    """Says by which training a result is, where that is not the common one alone."""
    if OPTIONS["by"] == "kernel":
        return ""
    found = []
    if way.recipe == "own":
        found.append("by its own recipe")
    elif len({one.recipe for one in ways}) > 1:
        found.append("by the common protocol")
    named = way.label_type == "soft" or len({one.label_type for one in ways}) > 1
    labels = way.label_type if named else ""
    return in_training_words(found, labels, 0.0 if way.recipe == "own" else cutmix)


def _by(config: Config) -> str:
    """What is tested, in words."""
    if OPTIONS["by"] == "kernel":
        return f"regression with {kernel_of(config.method).in_words}"
    settings = config.evaluation
    return (
        f"{settings.networks} x {config.network.name}, {settings.epochs:,} epochs each"
    )


def _writable(runs: list[RunFolder]) -> list[RunFolder]:
    """Returns the runs that can be written to, and names others before the first costs.

    They can be tested all the same.
    """
    found = []
    for run in runs:
        if why := unwritable(run.evaluation):
            log.warning(
                "%s cannot be written to (%s): its result is printed, but not kept "
                "there; --json=FILE keeps it in a file of yours.",
                run.path,
                why,
            )
        else:
            found.append(run)
    return found


def _random_sets(data, config: Config, draw) -> list:
    """Returns --sets random sets, of as many seeds; the data are fitted to once."""
    sets = [draw(data, config)]
    for number in range(1, OPTIONS["sets"]):
        seed = config.distillation.seed + number
        other = replace(config, distillation__seed=seed)
        sets.append(draw(data, other, sets[0].preprocessing))
    return sets


def _check_files() -> None:
    """Refuses files that cannot be read or written, before anything is trained."""
    if OPTIONS["by"] == "kernel":
        no_use = {*EVALUATION, "whole_dataset", "compare", "own_recipe"}
        for flag in sorted(no_use & {*OPTIONS.given()}):
            raise UserError(f"--{flag} is for networks; --by=kernel trains none")
    for path in OPTIONS["compare"]:
        if not pathlib.Path(path).is_file():
            raise UserError(f"--compare: no such file: {path}")
    if OPTIONS["json"]:
        path = pathlib.Path(OPTIONS["json"])
        if path.is_dir():
            raise UserError(f"--json: {path} is a folder; name a file")
        for folder in path.parents:
            if folder.exists() and not folder.is_dir():
                raise UserError(f"--json: {folder} is a file, not a folder")
        if why := unwritable(path):
            raise UserError(
                f"--json: {path} cannot be written to ({why}); name another"
            )


def _subject() -> tuple[str, Config, list[RunFolder]]:
    """Returns `run`, `npz`, `random` or `whole`, the settings, and the runs."""
    names = OPTIONS["distilled"]
    if OPTIONS["own_recipe"] and (OPTIONS["whole_dataset"] or names == ["random"]):
        raise UserError(
            "--own_recipe is for sets whose method learned how to train on them, such "
            "as DD's; real images have no recipe"
        )
    if bool(names) == OPTIONS["whole_dataset"]:
        raise UserError(
            "give one of --distilled (folders of runs, or random) and --whole_dataset"
        )
    if OPTIONS["whole_dataset"]:
        overrides = OPTIONS.overrides()
        epochs = overrides.get("evaluation.epochs", _WHOLE_EPOCHS)
        config = with_absolute_paths(OPTIONS.config())
        return "whole", replace(config, evaluation__epochs=int(epochs)), []
    if names == ["random"]:
        return "random", with_absolute_paths(OPTIONS.config()), []
    if files := _npz_files():
        _check_npz(files)
        return "npz", with_absolute_paths(OPTIONS.config()), []
    runs = [find_run(name) for name in names]
    return "run", _settings_of(runs), runs


def _npz_files() -> list[str]:
    return [name for name in OPTIONS["distilled"] if name.startswith("npz:")]


def _check_npz(files: list[str]) -> None:
    """Refuses what does not go together with sets of other programs."""
    if others := [name for name in OPTIONS["distilled"] if name not in files]:
        raise UserError(
            f"--distilled: {files[0]} and {others[0]} cannot be tested together; runs "
            "have settings of their own, so test them by another command"
        )
    for name in files:
        if not pathlib.Path(name.removeprefix("npz:")).expanduser().is_file():
            raise UserError(f"--distilled: no such file: {name}")
    for key in OF_IMAGES:
        if key in OPTIONS.overrides():
            flag = key.partition(".")[2]
            raise UserError(
                f"--{flag} is for --distilled=random; {files[0]} has its own"
            )
    if not (OPTIONS["config"] or "dataset.name" in OPTIONS.overrides()):
        raise UserError(
            f"--dataset is missing: the data set whose test images {files[0]} is "
            "tested on, such as cifar10"
        )


def _settings_of(runs: list[RunFolder]) -> Config:
    """Returns the settings of the runs, in which they must not differ."""
    overrides = OPTIONS.overrides()
    if fixed := sorted(overrides.keys() & {*OF_IMAGES, "preset"}):
        raise UserError(
            f"{fixed[0]} is that of the run in {runs[0].path}; it can be chosen with "
            "--distilled=random only"
        )
    paths = [run.path.resolve() for run in runs]
    for path in paths:
        if paths.count(path) > 1:
            raise UserError(f"--distilled: run {path} is given twice")
    first, *others = [run.settings(overrides) for run in runs]
    for run, config in zip(runs[1:], others, strict=True):
        ours, theirs = _shared(first), _shared(config)
        for key in sorted(ours.keys() | theirs.keys()):
            if ours.get(key) != theirs.get(key):
                raise UserError(
                    f"runs {runs[0].path} and {run.path} differ in {key} "
                    f"({ours.get(key)} and {theirs.get(key)}), so their results cannot "
                    "be joined; evaluate them one at a time"
                )
    return first


def _shared(config: Config) -> dict:
    free = keys_that_affect(Config, "files", "speed")
    return {
        key: value
        for key, value in flat(to_dict(config)).items()
        if key.startswith(_SHARED) and key not in free
    }


def _describe(what: str, config: Config) -> str:
    if what == "whole":
        return "all real training images"
    if what == "random":
        sets = f", {OPTIONS['sets']} times" if OPTIONS["sets"] > 1 else ""
        words = in_words(config.distillation).replace("image", "random real image", 1)
        return f"{words}{sets}"
    return ", ".join(OPTIONS["distilled"])
