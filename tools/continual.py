"""Continual learning: classes arrive step by step, a small buffer remembers them.

    python tools/continual.py --dataset=cifar100 --steps=5,10 --ipc=20 \\
        --memory=random,herding,dm,datadam --orders=5

A minute or two on two cores, on digits that ship inside scikit-learn:

    python tools/continual.py --dataset=digits --steps=5 --ipc=5 --orders=1 \\
        --memory=random,datadam --iterations=40 --batch_real=32 --models=1 \\
        --epochs=100 --set=network.width=16 --set=evaluation.learning_rate=0.05

At each step --ipc images of each new class join the buffer, chosen (random, herding,
k-center, forgetting) or distilled (datadam, dm, ...) from the data of that step
alone; networks are trained on the buffer from scratch and tested on all classes seen
so far. Where the classes do not divide by the steps, the first steps have one more.

--output_dir gets results.jsonl (mean and deviation over the class orders, with the
settings), accuracy.png like Figure 7 of the paper, trials.jsonl (every step of every
order) and buffers/. What was stopped continues with --resume, which may also add
memories, steps and orders.
"""

import pathlib
import re

import _command
import _settings
from absl import flags

from dam_tf.base.errors import UserError
from dam_tf.base.trials import check_folder
from dam_tf.config.settings import Config, replace
from dam_tf.studies.continual.settings import STATISTICS, ContinualConfig

_settings.define(
    "dataset",
    "data_dir",
    "image_size",
    "max_classes",
    "ipc",
    "preset",
    "network",
    "init",
    "iterations",
    "batch_real",
    "seed",
    "models",
    "epochs",
    "schedule",
    "augmentation",
    selection=("space",),
)
_MEMORY = flags.DEFINE_list(
    "memory",
    "random,herding,dm,datadam",
    "How the buffer is filled: coresets (random, herding, k-center, forgetting) and "
    "methods of distillation (datadam, dm, feature_map, pixel_mmd).",
)
_STEPS = flags.DEFINE_list(
    "steps", "5", "Into how many steps the classes are split; several: a panel each."
)
_ORDERS = flags.DEFINE_integer("orders", 5, "Random orders of the classes.")
_STATISTICS = flags.DEFINE_string(
    "statistics",
    "first_step",
    f"What preprocessing is fitted to: {' or '.join(STATISTICS)} of the training "
    "images. It stays as it is from the first step on; the lineage fits it to all.",
)
_CONFIG = flags.DEFINE_string(
    "config", None, "TOML file of settings. Default: configs/<dataset>.toml."
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir",
    None,
    "Folder of the study. Default: runs/<dataset>_ipc<k>_continual_seed<s>.",
)
_RESUME = flags.DEFINE_bool("resume", False, "Continue the study in --output_dir.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace the study there.")
_IPC = 20  # of the paper, where no flag or file says otherwise


def main() -> None:
    config, study = _config(), _study()
    output_dir = pathlib.Path(
        _OUTPUT_DIR.value or _settings.default_folder(config, "continual")
    )
    settings = study.settings(config)
    check_folder(output_dir, settings, _RESUME.value, _OVERWRITE.value)
    print(_plan(config, study, output_dir), flush=True)

    _command.import_tensorflow()
    from dam_tf.studies.continual import study as continual

    lines = continual.continual_learning(
        config, study, output_dir, _RESUME.value, _OVERWRITE.value
    )
    _report(lines)
    print(f"Figure: {output_dir / continual.FIGURE}; {output_dir / continual.RESULTS}")


def _config() -> Config:
    config = _settings.config(_CONFIG.value)
    if _CONFIG.value is None and "distillation.ipc" not in _settings.overrides():
        config = replace(config, distillation__ipc=_IPC)
    return config


def _study() -> ContinualConfig:
    for text in _STEPS.value:
        if not re.fullmatch(r"\d+", text):
            raise UserError(f"--steps must be whole numbers, as in 5,10, not {text!r}")
    return ContinualConfig(
        tuple(_MEMORY.value),
        tuple(int(text) for text in _STEPS.value),
        _ORDERS.value,
        _STATISTICS.value,
    )


def _plan(config: Config, study: ContinualConfig, output_dir: pathlib.Path) -> str:
    steps = " and ".join(map(str, study.steps))
    orders = "1 class order" if study.orders == 1 else f"{study.orders} class orders"
    return (
        f"Continual learning on {config.dataset.name} in {steps} steps: buffers of "
        f"{config.distillation.ipc} images per class ({', '.join(study.memories)}), "
        f"{orders}, seed {config.distillation.seed}; {config.evaluation.models} x "
        f"{config.network.name} of {config.evaluation.epochs:,} epochs at each of "
        f"{len(study.keys())} trials, into {output_dir}"
    )


def _report(lines) -> None:
    for line in lines:
        orders = line["orders"]
        mean, deviation = 100 * line["accuracy"][-1], 100 * line["deviation"][-1]
        print(
            f"{line['memory']:>12}, {line['steps']} steps: {mean:.1f} ± "
            f"{deviation:.1f} % on all {line['classes'][-1]} classes, over {orders} "
            f"order{'s' if orders > 1 else ''}"
        )


if __name__ == "__main__":
    _command.run(main)
