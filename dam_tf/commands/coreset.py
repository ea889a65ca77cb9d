"""Chooses real images to stand for a data set: a coreset, to compare with.

    python -m dam_tf coreset --dataset=cifar10 --ipc=10 --method=herding
    python -m dam_tf coreset --dataset=cifar10 --ipc=10 --method=k-center --space=pixels
    python -m dam_tf coreset --dataset=cifar10 --method=forgetting --epochs=200

What is chosen lies in --output_dir as a distilled set does, and every other command
takes it.
"""

import pathlib

from dam_tf.commands import program
from dam_tf.commands.options import DATA, RUN_FOLDER, Options, run_folder
from dam_tf.config.image_counts import in_words
from dam_tf.config.settings import Config
from dam_tf.runs.folder import RunFolder

OPTIONS = Options(
    *DATA,
    "ipc",
    "images_per_class",
    "preset",
    "network",
    "seed",
    selection=("method", "space", "epochs"),
)
OPTIONS.define_config()
OPTIONS.define_output("run", RUN_FOLDER.format("<method>"), resume=False)


def main() -> None:
    config = OPTIONS.config()
    output_dir = OPTIONS.output_dir(run_folder(config, config.selection.method))
    RunFolder(output_dir).check(config, resume=None, overwrite=OPTIONS["overwrite"])
    print(_plan(config, output_dir), flush=True)

    program.import_tensorflow()
    from dam_tf.coresets.select import select

    chosen = select(config, output_dir, OPTIONS["overwrite"])
    print(
        f"{len(chosen.images)} images lie in {output_dir / 'distilled'}, their "
        f"picture in {RunFolder(output_dir).preview}"
    )


def _plan(config: Config, output_dir: pathlib.Path) -> str:
    settings, network = config.selection, config.network.name
    epochs = "1 epoch" if settings.epochs == 1 else f"{settings.epochs:,} epochs"
    trained = f"of a {network} trained on all images for {epochs}"
    where = {
        "pixels": "pixels",
        "random": f"the embedding of a random {network}",
        "trained": f"the embedding {trained}",
    }[settings.space]
    how = {
        "random": "at random",
        "herding": f"by herding in {where}",
        "k-center": f"by k-center in {where}",
        "forgetting": f"by the forgetting events {trained}",
    }[settings.method]
    return (
        f"Choosing {in_words(config.distillation)} of "
        f"{config.dataset.name} {how}, seed {config.distillation.seed}, into "
        f"{output_dir}"
    )
