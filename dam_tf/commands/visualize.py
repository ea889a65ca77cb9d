"""Draws runs: their images, how these came about, how they learned.

    python -m dam_tf visualize grid --runs=runs/a,runs/b
    python -m dam_tf visualize evolution --runs=runs/a --columns=6 --classes=cat,dog
    python -m dam_tf visualize tsne --runs=runs/a,runs/b --network=resnet18 --epochs=10
    python -m dam_tf visualize curves --runs=runs/a,runs/b --models=2 --epochs=200

grid: the images with the names of their classes (Figures 21 to 29).
evolution: the images of chosen iterations, as a strip and as an animated GIF (Figure
10); the run must have been distilled with --snapshot_every.
tsne: real and synthetic images in the embedding of a network that is trained on all
real images (Figures 5 and 16).
curves: losses, and the accuracy of networks trained on the snapshots (Figures 3 and
9); --points=0 for losses alone.

Pictures, and JSON lines of what they show, lie in --output_dir. What tsne and curves
have finished is kept there, and --resume continues.
"""

import pathlib

from dam_tf.base.errors import UserError
from dam_tf.base.output import check_no_file
from dam_tf.base.trials import check_folder
from dam_tf.commands import program
from dam_tf.commands.options import Action, Options, run_action
from dam_tf.runs.folder import find_run, find_runs

OPTIONS = Options(
    "network", "models", "epochs", "augmentation", "seed", takes_words=True
)
OPTIONS.items("runs", [], "Folders of runs.", paths=True)
OPTIONS.integer(
    "per_class", None, "Images of a class: at most this many (grid: 10, evolution: 2)."
)
OPTIONS.integer("columns", 8, "evolution: the most iterations in the strip.", minimum=2)
OPTIONS.items("at", [], "evolution: the iterations in the strip.")
OPTIONS.items("classes", [], "evolution: names of the classes to show.")
OPTIONS.integer(
    "real_per_class",
    None,
    "tsne: real images of each class. Default: 200, but 2,000 in all.",
)
OPTIONS.number("perplexity", 30.0, "tsne: its perplexity.", minimum=1)
OPTIONS.integer(
    "points", 8, "curves: iterations that are evaluated of each run.", minimum=0
)
OPTIONS.define_output("study", "runs/pictures_<first run>")

_TSNE_EPOCHS = 10  # passes over all real images, unless --epochs says otherwise


def grid() -> None:
    folder = _begin("Drawing the images of")
    from dam_tf.studies import pictures as visualization

    paths = visualization.save_grids(_runs(), folder, OPTIONS["per_class"] or 10)
    _say(*paths)


def evolution() -> None:
    try:
        at = [int(number) for number in OPTIONS["at"]]
    except ValueError:
        raise UserError(
            f"--at={','.join(OPTIONS['at'])} must be whole numbers"
        ) from None
    folder = _begin("Drawing how the images came about of")
    from dam_tf.studies import pictures as visualization

    paths = visualization.save_evolutions(
        _runs(),
        folder,
        OPTIONS["per_class"] or 2,
        OPTIONS["columns"],
        at,
        OPTIONS["classes"],
    )
    _say(*paths)


def tsne() -> None:
    overrides = {"evaluation.epochs": _TSNE_EPOCHS, **OPTIONS.overrides()}
    folder = _begin("Training a network on all real images, to show among them", "tsne")
    from dam_tf.studies import pictures as visualization

    path = visualization.save_tsne(
        _runs(),
        folder,
        overrides,
        OPTIONS["real_per_class"],
        OPTIONS["perplexity"],
        OPTIONS["resume"],
        OPTIONS["overwrite"],
    )
    _say(path)


def curves() -> None:
    overrides = OPTIONS.overrides()
    what = "losses" if OPTIONS["points"] == 0 else "losses and accuracies"
    folder = _begin(f"Drawing {what} against iterations of", "curves")
    from dam_tf.studies import pictures as visualization

    path = visualization.save_learning_curves(
        _runs(),
        folder,
        overrides,
        OPTIONS["points"],
        OPTIONS["resume"],
        OPTIONS["overwrite"],
    )
    _say(path)


def _begin(doing: str, study: str = "") -> pathlib.Path:
    """Checks what can be checked, says what will be done, and imports TensorFlow.

    A study has a folder of its own; pictures that are soon drawn share one.
    """
    runs = OPTIONS["runs"]
    if not runs:
        raise UserError("--runs is missing: the folders of runs")
    for name in runs:
        find_run(name).settings(OPTIONS.overrides())
    first = find_run(runs[0]).path.resolve().name
    name = f"{study or 'pictures'}_{first}"
    folder = OPTIONS.output_dir(f"runs/{name}")
    check_no_file(folder)
    if study and not (OPTIONS["resume"] or OPTIONS["overwrite"]):
        check_folder(folder, None, resume=False, overwrite=False)
    print(f"{doing} {', '.join(runs)}, into {folder}", flush=True)
    program.import_tensorflow()
    return folder


def _runs() -> dict:
    return find_runs(OPTIONS["runs"])


def _say(*paths) -> None:
    for path in paths:
        print(f"Picture: {path}")


_SHARED = ("runs", "output_dir")
_STUDY = (*_SHARED, "set", "seed", "epochs", "augmentation", "resume", "overwrite")

_ACTIONS = {
    "grid": Action(grid, (*_SHARED, "per_class")),
    "evolution": Action(evolution, (*_SHARED, "per_class", "columns", "at", "classes")),
    "tsne": Action(tsne, (*_STUDY, "network", "real_per_class", "perplexity")),
    "curves": Action(curves, (*_STUDY, "network", "models", "points")),
}


def main() -> None:
    run_action(OPTIONS, _ACTIONS)
