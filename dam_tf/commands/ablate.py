r"""Reruns one of the paper's ablations and draws its table or figure.

    python -m dam_tf ablate list
    python -m dam_tf ablate power --dataset=digits --iterations=200 --batch_real=16 \
        --epochs=300 --models=2 --set network.width=32 --output_dir=runs/power
    python -m dam_tf ablate networks --dataset=cifar10 --ipcs=1,10 --seeds=0,1,2
    python -m dam_tf ablate task_balance --dataset=cifar10 --values=0.001,0.01,0.1

The second takes a minute or two on two cores. Each variant is distilled and evaluated
with each seed, as a run in --output_dir. The accuracies lie in results.jsonl there,
mean and deviation in table.md, the chart in figure.png. What is finished is kept:
--resume continues, also with more seeds and values.
"""

import functools
import pathlib

from dam_tf.base.files import file_name
from dam_tf.base.trials import check_folder
from dam_tf.commands import program
from dam_tf.commands.options import (
    DATA,
    EVALUATION,
    Action,
    Options,
    numbers,
    run_action,
)
from dam_tf.config.settings import Config
from dam_tf.studies.ablation import ablations

__doc__ += "\nAblations:\n" + "".join(
    f"    {name}: {ablation.varies} ({ablation.reference})\n"
    for name, ablation in ablations.ABLATIONS.items()
)

_BASE = (
    *DATA,
    "ipc",
    "preset",
    "network",
    "init",
    "iterations",
    "batch_real",
    "checkpoint_every",
    *EVALUATION,
)
OPTIONS = Options(*_BASE, takes_words=True)
OPTIONS.items(
    "values", [], "Some of the ablation's variants, or other values of its setting."
)
OPTIONS.items("seeds", "0", "Each makes one set of each variant.")
OPTIONS.items(
    "ipcs", [], "Several numbers of images per class in place of --ipc, as Table 7."
)
OPTIONS.integer("points", 8, "Of a learning curve, after iteration 0.")
_DEFAULTS = ablations.Pretraining()
OPTIONS.integer("pretrained", _DEFAULTS.networks, "Networks trained on the real set.")
OPTIONS.integer("pretrain_epochs", _DEFAULTS.epochs, "Passes over the real set.")
OPTIONS.integer(
    "pretrain_checkpoints",
    _DEFAULTS.checkpoints,
    "Moments of its training at which each of them is kept.",
)
OPTIONS.define_config()
OPTIONS.define_output("study", "runs/ablation_<name>_<dataset>")


def run(name: str) -> None:
    ablation, config = ablations.find_ablation(name), OPTIONS.config()
    seeds = numbers("seeds", OPTIONS["seeds"] or [""], minimum=0)
    ipcs = numbers("ipcs", OPTIONS["ipcs"], minimum=1) or [config.distillation.ipc]
    if ablation.fixed is None:  # the others depend on the network
        ablation.variants(1, OPTIONS["values"])
    pretraining = ablations.Pretraining(
        OPTIONS["pretrained"],
        OPTIONS["pretrain_epochs"],
        OPTIONS["pretrain_checkpoints"],
    )
    folder = OPTIONS.output_dir(
        f"runs/ablation_{name}_{file_name(config.dataset.name)}"
    )
    settings = ablations.study_settings(name, config, OPTIONS["points"], pretraining)
    check_folder(folder, settings, OPTIONS["resume"], OPTIONS["overwrite"])
    print(_plan(ablation, config, seeds, ipcs, folder), flush=True)

    program.import_tensorflow()
    from dam_tf.studies.ablation.report import save_report
    from dam_tf.studies.ablation.study import run_ablation

    results = run_ablation(
        name,
        config,
        folder,
        seeds,
        ipcs,
        OPTIONS["values"],
        OPTIONS["points"],
        pretraining,
        OPTIONS["resume"],
        OPTIONS["overwrite"],
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
        f"{config.evaluation.networks} x {config.network.name} for "
        f"{config.evaluation.epochs:,} epochs each, into {folder}"
    )


def _actions() -> dict[str, Action]:
    shared = {*_BASE, "set", "config", "values", "seeds", "ipcs", "output_dir"}
    shared |= {"resume", "overwrite"}
    actions = {"list": Action(show_all, ())}
    for name, ablation in ablations.ABLATIONS.items():
        own = set()
        if ablation.chart == "curves":
            own.add("points")
        if ablation.pretrains:
            own |= {"pretrained", "pretrain_epochs", "pretrain_checkpoints"}
        actions[name] = Action(functools.partial(run, name), sorted(shared | own))
    return actions


def main() -> None:
    run_action(OPTIONS, _actions())
