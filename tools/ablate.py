r"""Reruns one of the paper's ablations, at any scale, and draws its table or figure.

    python tools/ablate.py list
    python tools/ablate.py power --dataset=digits --iterations=200 --batch_real=16 \
        --epochs=300 --models=2 --set network.width=32 --output_dir=runs/power
    python tools/ablate.py networks --dataset=cifar10 --ipcs=1,10 --seeds=0,1,2
    python tools/ablate.py task_balance --dataset=cifar10 --values=0.001,0.01,0.1

The second takes a minute or two on two cores. Each variant is distilled and evaluated
with each seed, as a run in --output_dir. The accuracies lie in results.jsonl there,
mean and deviation in table.md, the chart in figure.png. What is finished is kept:
--resume continues, also with more seeds and values.
"""

import functools
import pathlib
import re

import _command
import _settings
from absl import flags

from dam_tf.base.errors import UserError
from dam_tf.base.trials import check_folder
from dam_tf.config.settings import Config
from dam_tf.studies.ablation import ablations

__doc__ += "\nAblations:\n" + "".join(
    f"    {name}: {ablation.varies} ({ablation.reference})\n"
    for name, ablation in ablations.ABLATIONS.items()
)

_BASE = (
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
    "checkpoint_every",
    "models",
    "epochs",
    "schedule",
    "augmentation",
)
_settings.define(*_BASE)
_VALUES = flags.DEFINE_list(
    "values", [], "Some of the ablation's variants, or other values of its setting."
)
_SEEDS = flags.DEFINE_list("seeds", ["0"], "Each makes one set of each variant.")
_IPCS = flags.DEFINE_list(
    "ipcs", [], "Several numbers of images per class in place of --ipc, as Table 7."
)
_POINTS = flags.DEFINE_integer(
    "points", 8, "Of a learning curve, after iteration 0.", lower_bound=1
)
_DEFAULTS = ablations.Pretraining()
_PRETRAINED = flags.DEFINE_integer(
    "pretrained", _DEFAULTS.networks, "Networks trained on the real set.", lower_bound=1
)
_PRETRAIN_EPOCHS = flags.DEFINE_integer(
    "pretrain_epochs", _DEFAULTS.epochs, "Passes over the real set.", lower_bound=1
)
_PRETRAIN_CHECKPOINTS = flags.DEFINE_integer(
    "pretrain_checkpoints",
    _DEFAULTS.checkpoints,
    "Moments of its training at which each of them is kept.",
    lower_bound=1,
)
_CONFIG = flags.DEFINE_string(
    "config", None, "TOML file of settings. Default: configs/<dataset>.toml."
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Folder of the study. Default: runs/ablation_<name>_<dataset>."
)
_RESUME = flags.DEFINE_bool("resume", False, "Continue the study in --output_dir.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace the one in --output_dir.")


def run(name: str) -> None:
    ablation, config = ablations.find_ablation(name), _settings.config(_CONFIG.value)
    seeds = _numbers(_SEEDS.value or [""], "seeds", minimum=0)
    ipcs = _numbers(_IPCS.value, "ipcs", minimum=1) or [config.distillation.ipc]
    if ablation.fixed is None:  # the others depend on the network
        ablation.variants(1, _VALUES.value)
    pretraining = ablations.Pretraining(
        _PRETRAINED.value, _PRETRAIN_EPOCHS.value, _PRETRAIN_CHECKPOINTS.value
    )
    folder = pathlib.Path(_OUTPUT_DIR.value or _default_folder(name, config))
    settings = ablations.study_settings(name, config, _POINTS.value, pretraining)
    check_folder(folder, settings, _RESUME.value, _OVERWRITE.value)
    print(_plan(ablation, config, seeds, ipcs, folder), flush=True)

    _command.import_tensorflow()
    from dam_tf.studies.ablation.report import save_report
    from dam_tf.studies.ablation.study import run_ablation

    results = run_ablation(
        name,
        config,
        folder,
        seeds,
        ipcs,
        _VALUES.value,
        _POINTS.value,
        pretraining,
        _RESUME.value,
        _OVERWRITE.value,
    )
    print(f"\n{save_report(ablation, results, folder)}")
    print(f"Test accuracy in %; the chart lies in {folder / 'figure.png'}")


def show_all() -> None:
    width = max(map(len, ablations.ABLATIONS))
    for name, ablation in ablations.ABLATIONS.items():
        print(f"{name:{width}}  {ablation.reference}: {ablation.varies}")
        variants = ", ".join(variant.name for variant in ablation.variants(3))
        print(f"{'':{width}}  variants: {variants}")
        print(f"{'':{width}}  the paper: {ablation.scale}")
        print(f"{'':{width}}  here: {ablation.note}")


def _plan(
    ablation: ablations.Ablation,
    config: Config,
    seeds: list[int],
    ipcs: list[int],
    folder: pathlib.Path,
) -> str:
    settings = config.distillation
    return (
        f"Ablation of {ablation.varies} ({ablation.reference}) on "
        f"{config.dataset.name}: {settings.iterations:,} iterations with "
        f"{settings.batch_real} real images per class, IPC "
        f"{', '.join(map(str, ipcs))}, seeds {', '.join(map(str, seeds))}, "
        f"{config.evaluation.models} x {config.network.name} for "
        f"{config.evaluation.epochs:,} epochs each, into {folder}"
    )


def _default_folder(name: str, config: Config) -> str:
    dataset = re.sub(r"[^\w.-]+", "-", config.dataset.name).strip("-")
    return f"runs/ablation_{name}_{dataset}"


def _numbers(texts: list[str], flag: str, minimum: int) -> list[int]:
    try:
        numbers = [int(text) for text in texts]
    except ValueError:
        numbers = []
    if len(set(numbers)) < len(texts) or min(numbers, default=minimum) < minimum:
        raise UserError(
            f"--{flag}={','.join(texts)} must be different whole numbers, at least "
            f"{minimum}"
        )
    return numbers


def _commands() -> dict[str, _command.Command]:
    shared = {*_BASE, "set", "config", "values", "seeds", "ipcs", "output_dir"}
    shared |= {"resume", "overwrite"}
    commands = {"list": _command.Command(show_all, ())}
    for name, ablation in ablations.ABLATIONS.items():
        own = set()
        if ablation.chart == "curves":
            own.add("points")
        if ablation.pretrains:
            own |= {"pretrained", "pretrain_epochs", "pretrain_checkpoints"}
        commands[name] = _command.Command(
            functools.partial(run, name), sorted(shared | own)
        )
    return commands


if __name__ == "__main__":
    _command.run_command(_commands())
