"""Distils an image data set into a few synthetic images per class.

    python tools/distill.py --dataset=cifar10 --ipc=10
    python tools/distill.py --dataset=folder:my_pictures --image_size=64
    python tools/distill.py --dataset=cifar10 --resume
    python tools/distill.py --dataset=imagenet64 --classes_per_step=50

The run lies in --output_dir: the images (a folder that TensorFlow Datasets
opens), a picture of them, metrics, checkpoints and the settings to repeat it.
"""

import pathlib

import _command
import _devices
import _settings
from absl import flags

from dam_tf.config.settings import Config, resolve
from dam_tf.runs.folder import RunFolder

_settings.define(
    "dataset",
    "data_dir",
    "image_size",
    "max_classes",
    "ipc",
    "method",
    "preset",
    "network",
    "init",
    "iterations",
    "batch_real",
    "classes_per_step",
    "seed",
    "checkpoint_every",
    "snapshot_every",
    "models",
    "epochs",
)
_devices.define()
_CONFIG = flags.DEFINE_string(
    "config", None, "TOML file of settings. Default: configs/<dataset>.toml."
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir",
    None,
    "Folder of the run. Default: runs/<dataset>_ipc<k>_<method>_seed<s>.",
)
_RESUME = flags.DEFINE_bool("resume", False, "Continue the run in --output_dir.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace the run in --output_dir.")
_EVALUATE = flags.DEFINE_bool(
    "evaluate", False, "Then train networks on the set and test them."
)


def main() -> None:
    config = _settings.config(_CONFIG.value)
    output_dir = pathlib.Path(
        _OUTPUT_DIR.value or _settings.default_folder(config, config.method.name)
    )
    folder, chief = RunFolder(output_dir), _devices.is_chief()
    if chief:
        folder.check(config, _RESUME.value, _OVERWRITE.value)
    print(_plan(config, output_dir), flush=True)

    strategy = _devices.start()
    from dam_tf import plots
    from dam_tf.data import loading as datasets
    from dam_tf.evaluation import evaluate as evaluation
    from dam_tf.runs import run as distillation

    data = datasets.load_dataset(config.dataset)
    distilled = distillation.distill(
        config,
        output_dir,
        _RESUME.value,
        _OVERWRITE.value,
        data=data,
        strategy=strategy,
    )
    if chief:
        print(
            f"{len(distilled.images)} images lie in {output_dir / 'distilled'}, their "
            f"picture in {folder.preview}"
        )
    if _EVALUATE.value:
        # Not from the folder, which only the chief may see.
        config = resolve(config, distilled.image_shape)
        result = evaluation.evaluate(distilled, config, data, strategy)
        if not chief:
            return
        line = evaluation.record(result, str(output_dir), folder.settings())
        evaluation.save_record(line, folder.evaluation)
        plots.save_confusion(result.confusion, distilled.class_names, folder.confusion)
        print(f"Test accuracy: {result}")


def _plan(config: Config, output_dir: pathlib.Path) -> str:
    settings = config.distillation
    images = "image" if settings.ipc == 1 else "images"
    drawn = settings.classes_per_step
    drawn = f" of {drawn} drawn classes" if drawn else ""
    return (
        f"Distilling {config.dataset.name} into {settings.ipc} {images} per class: "
        f"{config.method.name} (preset {config.preset}) through {config.network.name}, "
        f"{settings.iterations:,} iterations with {settings.batch_real} real images "
        f"per class{drawn}, seed {settings.seed}, into {output_dir}"
    )


if __name__ == "__main__":
    _command.run(main)
