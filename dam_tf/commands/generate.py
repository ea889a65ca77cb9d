"""Trains a generator, and makes a set of its first images: a baseline of Table 11.

    python -m dam_tf generate --model=cgan --dataset=cifar10 --ipc=10
    python -m dam_tf generate --model=gmmn --dataset=digits --ipc=10 --iterations=400
    python -m dam_tf generate --model=biggan --dataset=cifar10 --ipc=10 --resume
    python -m dam_tf generate --trained=runs/cifar10_ipc10_cgan_seed0 --ipc=50

All models are small-scale: they are to be trained in an hour on two cores, not in days
on GPUs, so their images are not those of the published models. The set lies in
--output_dir as a distilled set does, and every other command takes it. It has the first
--ipc images of each class, a function of the seed: none is picked. --trained takes
another set, of another --ipc or --seed, from a run that was trained: all other settings
are those of that run, and nothing is trained unless --iterations says so.
"""

import pathlib

from dam_tf.base.errors import UserError, choice_error
from dam_tf.commands import program
from dam_tf.commands.options import DATA, RUN_FOLDER, Options, run_folder
from dam_tf.config.generators import GENERATORS
from dam_tf.config.image_counts import in_words
from dam_tf.config.places import full_path
from dam_tf.config.settings import Config
from dam_tf.runs.folder import RunFolder, find_run

OPTIONS = Options(
    *DATA,
    "model",
    "ipc",
    "images_per_class",
    "preset",
    "iterations",
    "seed",
    "checkpoint_every",
    "snapshot_every",
)
OPTIONS.text("trained", None, "Folder of a run whose weights are taken.")
OPTIONS.define_config()
OPTIONS.define_output("run", RUN_FOLDER.format("<model>"))

# Settings of section distillation that say something of a generator, too.
_USED = (
    "ipc",
    "images_per_class",
    "iterations",
    "seed",
    "jit",
    "checkpoint_every",
    "log_every",
    "snapshot_every",
    "snapshot_at",
)


def main() -> None:
    config = _config()
    output_dir = OPTIONS.output_dir(run_folder(config, config.method.name))
    trained = config.method.trained
    if trained and full_path(output_dir) == full_path(trained):
        raise UserError(
            f"--output_dir {output_dir} is the run of --trained itself; choose another "
            "folder, another --ipc or another --seed"
        )
    folder = RunFolder(output_dir)
    folder.check(config, OPTIONS["resume"], OPTIONS["overwrite"])
    print(_plan(config, output_dir), flush=True)

    program.import_tensorflow()
    from dam_tf.generators.generate import generate

    made = generate(config, output_dir, OPTIONS["resume"], OPTIONS["overwrite"])
    print(
        f"{len(made.images)} images lie in {folder.distilled}, their picture in "
        f"{folder.preview}"
    )


def _config() -> Config:
    given = OPTIONS.overrides()
    model = given.get("method.name")
    if trained := OPTIONS["trained"]:
        if OPTIONS["config"] is not None:
            raise UserError(
                "--trained has the settings of that run, and --config those of a file; "
                "give one of the two"
            )
        run = find_run(trained)
        start = {"distillation.iterations": 0, "method.trained": str(run.path)}
        config = run.settings({**start, **given})
    elif model is None and OPTIONS["config"] is None:
        raise UserError(f"--model is missing; give one of: {', '.join(GENERATORS)}")
    if model is not None and model not in GENERATORS:
        raise choice_error("model", model, GENERATORS)
    if not trained:
        config = OPTIONS.config()
    if config.method.name not in GENERATORS:  # of --config
        raise choice_error("model", config.method.name, GENERATORS)
    for key in given:
        section, _, name = key.partition(".")
        if section == "distillation" and name not in _USED:
            raise UserError(
                f"--set={key}={given[key]} is for methods that learn images; what "
                f"{config.method.name} learns with is in section method; leave it out"
            )
    return config


def _plan(config: Config, output_dir: pathlib.Path) -> str:
    settings, model = config.distillation, config.method
    first = in_words(settings)
    if model.trained and not settings.iterations:
        return (
            f"Taking the first {first} of the {model.name} in "
            f"{model.trained}, seed {settings.seed}, into {output_dir}"
        )
    return (
        f"Training {model.name} on {config.dataset.name} for "
        f"{settings.iterations:,} iterations of {model.batch} real images "
        f"({model.reduction}), then taking the first {first}, seed "
        f"{settings.seed}, into {output_dir}"
    )
