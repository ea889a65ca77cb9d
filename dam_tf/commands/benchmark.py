"""Compares methods, coresets and generators by one protocol: Tables 1, 4 and 11.

    python -m dam_tf benchmark --dataset=cifar10 --methods=all --ipc=1,10 --seeds=0,1,2
    python -m dam_tf benchmark --dataset=cifar10 --plan=mine.toml --resume

A minute or two on two cores, on digits that ship inside scikit-learn:

    python -m dam_tf benchmark --dataset=digits --methods=random,dm,datadam,kip \\
        --iterations=100 --batch_real=32 --epochs=200 --models=2 --set=network.width=32

Each row and number of images per class makes one set for each seed, in a process of its
own, and --models networks are trained on it. Where --iterations is left out, a method
runs as long as it was published with, which may take days. A plan is a TOML file that
gives rows settings of their own; docs/benchmark.md shows one.

--output_dir gets table.md, results.jsonl, figure.png and a folder for each row. What
was stopped or killed goes on with --resume, also with more rows, seeds and images per
class; a cell that fails, as where memory runs out, is kept with the reason. The same
command in several terminals or on several machines, with --resume, shares the cells.
"""

from dam_tf.base.errors import UserError
from dam_tf.base.files import file_name
from dam_tf.base.trials import check_folder
from dam_tf.commands import program
from dam_tf.commands.options import DATA, EVALUATION, Options, numbers
from dam_tf.config.places import with_absolute_paths
from dam_tf.studies.benchmark.study import Extent, run_benchmark, study_settings
from dam_tf.studies.rows import ALL, Base, check_base, find_rows

OPTIONS = Options(*DATA, "preset", "network", "iterations", "batch_real", *EVALUATION)
OPTIONS.items(
    "methods",
    [],
    f"Rows: {ALL}, coresets, methods, generators, whole, or names of some; those of "
    "--plan if left out.",
)
OPTIONS.items("without", [], "Rows that are left out.")
OPTIONS.text("plan", None, "TOML file with settings of single rows.")
OPTIONS.items("ipc", "1", "Synthetic images per class.")
OPTIONS.items("seeds", "0", "Each makes one set of each row.")
_DEFAULTS = Extent()
OPTIONS.integer(
    "whole_epochs", _DEFAULTS.whole_epochs, "Passes over the whole set, of row whole."
)
OPTIONS.integer(
    "experts",
    _DEFAULTS.experts,
    "Trained networks that mtt, tesla, dance and ncfm need.",
)
OPTIONS.integer("expert_epochs", _DEFAULTS.expert_epochs, "Epochs of each of them.")
OPTIONS.switch(
    "plain", False, "Test all sets without augmentation, too, for the score ARS."
)
OPTIONS.switch(
    "own", True, "Test sets by their own recipe, too; that of KIP takes 5,000 steps."
)
OPTIONS.switch("retry", False, "With --resume: do cells anew that have failed.")
OPTIONS.define_config()
OPTIONS.define_output("benchmark", "runs/<dataset>_benchmark")


def main() -> None:
    rows = find_rows(OPTIONS["methods"], OPTIONS["without"], OPTIONS["plan"])
    check_base(OPTIONS.overrides())
    config = OPTIONS.config()
    base = Base(OPTIONS["config"], OPTIONS.overrides())
    extent = Extent(
        tuple(numbers("ipc", OPTIONS["ipc"] or [""], minimum=1)),
        tuple(numbers("seeds", OPTIONS["seeds"] or [""], minimum=0)),
        OPTIONS["whole_epochs"],
        OPTIONS["experts"],
        OPTIONS["expert_epochs"],
        OPTIONS["plain"],
        OPTIONS["own"],
    )
    if OPTIONS["retry"] and not OPTIONS["resume"]:
        raise UserError("--retry does failed cells anew; give --resume with it")
    folder = OPTIONS.output_dir(f"runs/{file_name(config.dataset.name)}_benchmark")
    settings = study_settings(with_absolute_paths(base.config()), extent)
    check_folder(folder, settings, OPTIONS["resume"], OPTIONS["overwrite"])
    networks = config.evaluation
    print(
        f"Benchmark on {config.dataset.name}: {', '.join(row.name for row in rows)}; "
        f"{', '.join(map(str, extent.ipcs))} images per class, seeds "
        f"{', '.join(map(str, extent.seeds))}; {networks.networks} x "
        f"{config.network.name}, {networks.epochs:,} epochs each, into {folder}",
        flush=True,
    )
    program.set_environment()
    kept = OPTIONS["resume"], OPTIONS["overwrite"], OPTIONS["retry"]
    run_benchmark(rows, base, extent, folder, *kept)
    print(f"\n{(folder / 'table.md').read_text(encoding='utf-8')}")
    print(f"Chart: {folder / 'figure.png'}; {folder / 'results.jsonl'}")
