"""Draws runs: their images, how these came about, where they lie, how they learned.

    python tools/visualize.py grid --runs=runs/a,runs/b
    python tools/visualize.py evolution --runs=runs/a --columns=6 --classes=cat,dog
    python tools/visualize.py tsne --runs=runs/a,runs/b --network=resnet18 --epochs=10
    python tools/visualize.py curves --runs=runs/a,runs/b --models=2 --epochs=200

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

import _command
import _settings
from absl import flags

from dam_tf.base.errors import UserError
from dam_tf.base.trials import check_folder
from dam_tf.runs.folder import find_run

_settings.define("network", "models", "epochs", "augmentation", "seed")
_RUNS = flags.DEFINE_list("runs", [], "Folders of runs.")
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Folder of the pictures. Default: runs/pictures_<first run>."
)
_PER_CLASS = flags.DEFINE_integer(
    "per_class",
    None,
    "Images of a class: at most this many (grid: 10, evolution: 2).",
    lower_bound=1,
)
_COLUMNS = flags.DEFINE_integer(
    "columns", 8, "evolution: the most iterations in the strip.", lower_bound=2
)
_AT = flags.DEFINE_list("at", [], "evolution: the iterations in the strip.")
_CLASSES = flags.DEFINE_list("classes", [], "evolution: names of the classes to show.")
_REAL = flags.DEFINE_integer(
    "real_per_class",
    None,
    "tsne: real images of each class. Default: 200, but 2,000 in all.",
    lower_bound=1,
)
_PERPLEXITY = flags.DEFINE_float("perplexity", 30.0, "tsne: its perplexity.", 1.0)
_POINTS = flags.DEFINE_integer(
    "points", 8, "curves: iterations that are evaluated of each run.", lower_bound=0
)
_RESUME = flags.DEFINE_bool("resume", False, "Continue the study in --output_dir.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace that study.")

_TSNE_EPOCHS = 10  # passes over all real images, unless --epochs says otherwise


def grid() -> None:
    folder = _begin("Drawing the images of")
    from dam_tf.studies import pictures as visualization

    paths = visualization.save_grids(_runs(), folder, _PER_CLASS.value or 10)
    _say(*paths)


def evolution() -> None:
    try:
        at = [int(number) for number in _AT.value]
    except ValueError:
        raise UserError(f"--at={','.join(_AT.value)} must be whole numbers") from None
    folder = _begin("Drawing how the images came about of")
    from dam_tf.studies import pictures as visualization

    paths = visualization.save_evolutions(
        _runs(), folder, _PER_CLASS.value or 2, _COLUMNS.value, at, _CLASSES.value
    )
    _say(*paths)


def tsne() -> None:
    overrides = {"evaluation.epochs": _TSNE_EPOCHS, **_settings.overrides()}
    folder = _begin("Training a network on all real images, to show among them", "tsne")
    from dam_tf.studies import pictures as visualization

    path = visualization.save_tsne(
        _runs(),
        folder,
        overrides,
        _REAL.value,
        _PERPLEXITY.value,
        _RESUME.value,
        _OVERWRITE.value,
    )
    _say(path)


def curves() -> None:
    overrides = _settings.overrides()
    what = "losses" if _POINTS.value == 0 else "losses and accuracies"
    folder = _begin(f"Drawing {what} against iterations of", "curves")
    from dam_tf.studies import pictures as visualization

    path = visualization.save_learning_curves(
        _runs(), folder, overrides, _POINTS.value, _RESUME.value, _OVERWRITE.value
    )
    _say(path)


def _begin(doing: str, study: str = "") -> pathlib.Path:
    """Checks what can be checked, says what will be done, and imports TensorFlow.

    A study has a folder of its own; pictures that are soon drawn share one.
    """
    runs = _RUNS.value
    if not runs:
        raise UserError("--runs is missing: the folders of runs")
    for name in runs:
        find_run(name).settings(_settings.overrides())
    first = find_run(runs[0]).path.resolve().name
    name = f"{study or 'pictures'}_{first}"
    folder = pathlib.Path(_OUTPUT_DIR.value or f"runs/{name}")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output folder {folder} is a file")
    if study and not (_RESUME.value or _OVERWRITE.value):
        check_folder(folder, {}, resume=False, overwrite=False)
    print(f"{doing} {', '.join(runs)}, into {folder}", flush=True)
    _command.import_tensorflow()
    return folder


def _runs() -> dict:
    from dam_tf.studies.pictures.runs import find_runs

    return find_runs(_RUNS.value)


def _say(*paths) -> None:
    for path in paths:
        print(f"Picture: {path}")


_SHARED = ("runs", "output_dir")
_STUDY = (*_SHARED, "set", "seed", "epochs", "augmentation", "resume", "overwrite")

if __name__ == "__main__":
    _command.run_command(
        {
            "grid": _command.Command(grid, (*_SHARED, "per_class")),
            "evolution": _command.Command(
                evolution, (*_SHARED, "per_class", "columns", "at", "classes")
            ),
            "tsne": _command.Command(
                tsne, (*_STUDY, "network", "real_per_class", "perplexity")
            ),
            "curves": _command.Command(
                curves, (*_STUDY, "network", "models", "points")
            ),
        }
    )
