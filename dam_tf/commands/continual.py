"""Continual learning: classes arrive step by step, a small buffer remembers them.

    python -m dam_tf continual --dataset=cifar100 --steps=5,10 --ipc=20 \\
        --memory=random,herding,dm,datadam --orders=5

A minute or two on two cores, on digits that ship inside scikit-learn:

    python -m dam_tf continual --dataset=digits --steps=5 --ipc=5 --orders=1 \\
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

from dam_tf.base.trials import check_folder
from dam_tf.base.words import mean_and_deviation
from dam_tf.commands import program
from dam_tf.commands.options import (
    DATA,
    EVALUATION,
    RUN_FOLDER,
    Options,
    choices,
    numbers,
    run_folder,
)
from dam_tf.config.settings import Config, replace
from dam_tf.studies.continual.settings import STATISTICS, ContinualConfig

OPTIONS = Options(
    *DATA,
    "ipc",
    "preset",
    "network",
    "init",
    "iterations",
    "batch_real",
    "seed",
    *EVALUATION,
    selection=("space",),
)
OPTIONS.items(
    "memory",
    "random,herding,dm,datadam",
    "How the buffer is filled: coresets "
    f"({', '.join(choices('selection.method'))}) and methods of distillation "
    f"({', '.join(choices('method.name'))}).",
)
OPTIONS.items(
    "steps", "5", "Into how many steps the classes are split; several: a panel each."
)
OPTIONS.integer("orders", 5, "Random orders of the classes.", minimum=None)
OPTIONS.text(
    "statistics",
    "first_step",
    f"What preprocessing is fitted to: {' or '.join(STATISTICS)} of the training "
    "images. It stays as it is from the first step on; the DC/DSA/DM code "
    "fits it to all.",
)
OPTIONS.define_config()
OPTIONS.define_output("study", RUN_FOLDER.format("continual"))
_IPC = 20  # of the paper, where no flag or file says otherwise


def main() -> None:
    config, study = _config(), _study()
    output_dir = OPTIONS.output_dir(run_folder(config, "continual"))
    settings = study.settings(config)
    check_folder(output_dir, settings, OPTIONS["resume"], OPTIONS["overwrite"])
    print(_plan(config, study, output_dir), flush=True)

    program.import_tensorflow()
    from dam_tf.studies.continual import study as continual

    lines = continual.continual_learning(
        config, study, output_dir, OPTIONS["resume"], OPTIONS["overwrite"]
    )
    _report(lines)
    print(f"Figure: {output_dir / continual.FIGURE}; {output_dir / continual.RESULTS}")


def _config() -> Config:
    config = OPTIONS.config()
    if OPTIONS["config"] is None and "distillation.ipc" not in OPTIONS.overrides():
        config = replace(config, distillation__ipc=_IPC)
    return config


def _study() -> ContinualConfig:
    return ContinualConfig(
        tuple(OPTIONS["memory"]),
        tuple(numbers("steps", OPTIONS["steps"], minimum=1)),
        OPTIONS["orders"],
        OPTIONS["statistics"],
    )


def _plan(config: Config, study: ContinualConfig, output_dir: pathlib.Path) -> str:
    steps = " and ".join(map(str, study.steps))
    orders = "1 class order" if study.orders == 1 else f"{study.orders} class orders"
    return (
        f"Continual learning on {config.dataset.name} in {steps} steps: buffers of "
        f"{config.distillation.ipc} images per class ({', '.join(study.memories)}), "
        f"{orders}, seed {config.distillation.seed}; {config.evaluation.networks} x "
        f"{config.network.name} of {config.evaluation.epochs:,} epochs at each of "
        f"{len(study.keys())} trials, into {output_dir}"
    )


def _report(lines) -> None:
    for line in lines:
        orders = line["orders"]
        mean, deviation = 100 * line["accuracy"][-1], 100 * line["deviation"][-1]
        accuracy = mean_and_deviation(mean, deviation, orders)
        print(
            f"{line['memory']:>12}, {line['steps']} steps: {accuracy} % on all "
            f"{line['classes'][-1]} classes, over {orders} "
            f"order{'s' if orders > 1 else ''}"
        )
