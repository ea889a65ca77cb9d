"""Trains experts on a data set, which the methods mtt and tesla follow.

    python -m dam_tf experts --dataset=cifar10 --experts=10 --epochs=3
    python -m dam_tf distill --dataset=cifar10 --ipc=1 --method=mtt \\
        --set=method.experts=runs/cifar10_experts

An expert is a network that is trained on all images, and kept after every epoch. MTT
has 100 of them, trained for 50 epochs. --ipc=1 of cifar10 needs the first 3 epochs
only, 10 images per class need 21. One epoch of one ConvNet on CIFAR-10 takes two to
four minutes on two cores.

SGD has what the code of MTT gives it: learning rate 0.01, no momentum, no weight decay,
batches of 256. --set=evaluation.momentum and the like change that. Each expert is a
file in --output_dir, which grows with every epoch; what was stopped continues with
--resume, which also adds experts.
"""

import pathlib

from dam_tf.base.trials import check_folder
from dam_tf.base.words import counted
from dam_tf.commands import program
from dam_tf.commands.options import DATA, Options
from dam_tf.config.experts import (
    STORAGES,
    ExpertTraining,
    expert_config,
    training_settings,
)
from dam_tf.config.places import default_folder
from dam_tf.config.settings import Config

OPTIONS = Options(*DATA, "preset", "network", "seed", "epochs", "augmentation")
OPTIONS.integer("experts", 10, "How many.")
OPTIONS.choice(
    "storage", STORAGES, "Of weights in files; bfloat16 takes half the space."
)
OPTIONS.define_config()
OPTIONS.define_output("experts", "runs/<dataset>_experts")


def main() -> None:
    config = expert_config(OPTIONS.config(), OPTIONS.overrides())
    settings = ExpertTraining(OPTIONS["experts"], OPTIONS["storage"])
    train(OPTIONS, config, settings, "experts")


def train(
    options: Options, config: Config, settings: ExpertTraining, what: str
) -> None:
    """Trains networks on a data set and keeps them in a folder.

    Args:
        options: Those of the command.
        config: As `expert_config` makes it.
        settings: How many, and what is kept of them.
        what: How the name of the folder ends where none is given.
    """
    matter = training_settings(config, settings)
    output_dir = options.output_dir(default_folder(config, what))
    keep = options["resume"], options["overwrite"]
    check_folder(output_dir, matter, *keep)
    print(_plan(config, settings, output_dir), flush=True)

    program.import_tensorflow()
    from dam_tf.training.experts import train_experts

    experts = train_experts(config, settings, output_dir, *keep)
    count = counted(len(experts), settings.word)
    print(f"{count} of {experts.epochs} epochs in {output_dir}")


def _plan(config: Config, settings: ExpertTraining, output_dir: pathlib.Path) -> str:
    training = config.evaluation
    count = counted(settings.experts, settings.word)
    mixed = f", cutmix {training.cutmix:g}" if training.cutmix else ""
    return (
        f"Training {count} on {config.dataset.name}, "
        f"{config.network.name} of width {config.network.width}, for {training.epochs} "
        f"epochs each: learning rate {training.learning_rate:g} "
        f"({training.schedule}), momentum {training.momentum:g}, weight decay "
        f"{training.weight_decay:g}, batches of {training.batch_size}, augmentation "
        f"{training.augmentation}{mixed}, seed {config.distillation.seed}, into "
        f"{output_dir}"
    )
