"""Writes one page about runs: images, losses, accuracy, cost, commands.

    python -m dam_tf report runs/cifar10_ipc1_datadam_seed0
    python -m dam_tf report runs/a runs/b runs/continual --output_dir=both

The page is one HTML file with everything in it; it opens from disk, on a phone too.
Several runs stand side by side. Folders of studies (settings.json and pictures)
are shown as well.
"""

import pathlib

from dam_tf.base.errors import UserError
from dam_tf.base.output import check_no_file
from dam_tf.commands import program
from dam_tf.commands.options import Options
from dam_tf.runs.folder import find_run

OPTIONS = Options(takes_words=True)
OPTIONS.items("runs", [], "More folders, or the same ones as a flag.", paths=True)
OPTIONS.text(
    "output_dir",
    None,
    "Folder that gets report.html, or a file that ends in .html. Default: the first "
    "of the folders.",
)
OPTIONS.alias("output", "output_dir")


def main() -> None:
    paths = [*OPTIONS.words, *OPTIONS["runs"]]
    if not paths:
        raise UserError("say which: report RUN [RUN ...]")
    for path in paths:
        if not pathlib.Path(path).is_dir():
            raise UserError(f"no such folder: {path}")
    output = OPTIONS.output_dir(str(_first(paths[0])))
    if output.suffix != ".html":
        output = output / "report.html"
    if output.is_dir():
        raise UserError(f"{output} is a folder; choose another with --output_dir")
    check_no_file(output.parent)
    print(f"Reporting on {', '.join(paths)}", flush=True)

    program.import_tensorflow()
    from dam_tf import report

    print(f"Page: {report.write_report(paths, output)}")


def _first(path: str) -> pathlib.Path:
    try:
        return find_run(path).path
    except UserError:
        return pathlib.Path(path)
