"""Chooses real images to stand for a data set: a coreset, to compare with.

    python tools/select.py --dataset=cifar10 --ipc=10 --method=herding
    python tools/select.py --dataset=cifar10 --ipc=10 --method=k-center --space=pixels
    python tools/select.py --dataset=cifar10 --method=forgetting --epochs=200

--method is random, herding, k-center or forgetting. What is chosen lies in
--output_dir as a distilled set does, and every other tool takes it.
"""

import pathlib

import _command
import _settings
from absl import flags

from dam_tf.config.settings import Config
from dam_tf.runs.folder import RunFolder

_settings.define(
    "dataset",
    "data_dir",
    "image_size",
    "max_classes",
    "ipc",
    "preset",
    "network",
    "seed",
    selection=("method", "space", "epochs"),
)
_CONFIG = flags.DEFINE_string(
    "config", None, "TOML file of settings. Default: configs/<dataset>.toml."
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir",
    None,
    "Folder of the run. Default: runs/<dataset>_ipc<k>_<method>_seed<s>.",
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace the run in --output_dir.")


def main() -> None:
    config = _settings.config(_CONFIG.value)
    output_dir = pathlib.Path(
        _OUTPUT_DIR.value or _settings.default_folder(config, config.selection.method)
    )
    RunFolder(output_dir).check(config, resume=None, overwrite=_OVERWRITE.value)
    print(_plan(config, output_dir), flush=True)

    _command.import_tensorflow()
    from dam_tf.coresets import select as selection

    chosen = selection.select(config, output_dir, _OVERWRITE.value)
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
    ipc = config.distillation.ipc
    return (
        f"Choosing {ipc} {'image' if ipc == 1 else 'images'} per class of "
        f"{config.dataset.name} {how}, seed {config.distillation.seed}, into "
        f"{output_dir}"
    )


if __name__ == "__main__":
    _command.run(main)
