"""Trains networks on a distilled set and tests them on real images.

    python tools/evaluate.py --distilled=runs/cifar10_ipc1_datadam_seed0
    python tools/evaluate.py --distilled=random --dataset=cifar10 --ipc=1

Prints the mean accuracy of the networks' last epochs and its deviation, and
appends them, with the settings that made them, to the run's evaluation.jsonl.
"""

import _command
import _settings
from absl import flags

from dam_tf.config import Config
from dam_tf.errors import UserError
from dam_tf.run_folder import RunFolder, find_run

_settings.define(
    "dataset",
    "data_dir",
    "image_size",
    "max_classes",
    "ipc",
    "preset",
    "network",
    "seed",
    "models",
    "epochs",
)
_DISTILLED = flags.DEFINE_string(
    "distilled", None, "Folder of a run, or `random` for random real images."
)
_JSON = flags.DEFINE_string("json", None, "Also append the result to this file.")
_CONFIG = flags.DEFINE_string(
    "config", None, "With --distilled=random: TOML file of settings."
)


def main() -> None:
    what = _DISTILLED.value
    if not what:
        raise UserError("--distilled is missing: the folder of a run, or random")
    if what == "random":
        config, outputs = _settings.config(_CONFIG.value), []
        subject = f"{config.distillation.ipc} random real images per class"
    else:
        folder = find_run(what)
        config, outputs = _settings_of(folder), [folder.evaluation]
        subject = what
    settings = config.evaluation
    print(
        f"Evaluating {subject} on {config.dataset.name}: {settings.models} x "
        f"{config.network.name}, {settings.epochs:,} epochs each",
        flush=True,
    )

    _command.import_tensorflow()
    from dam_tf import datasets, evaluation

    data = datasets.load_dataset(config.dataset)
    distilled = evaluation.random_real_set(data, config) if what == "random" else what
    result = evaluation.evaluate(distilled, config, data)
    line = evaluation.record(result, what, config)
    evaluation.save_record(line, *outputs, *([_JSON.value] if _JSON.value else []))
    print(f"Test accuracy: {result}")


def _settings_of(run: RunFolder) -> Config:
    overrides = _settings.overrides()
    if fixed := sorted(overrides.keys() & {"distillation.ipc", "preset"}):
        raise UserError(
            f"{fixed[0]} is that of the run in {run.path}; it can be chosen with "
            "--distilled=random only"
        )
    return run.settings(overrides)


if __name__ == "__main__":
    _command.run(main)
