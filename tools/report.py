"""Writes one page about runs: what ran, images, losses, accuracy, cost, commands.

    python tools/report.py runs/cifar10_ipc1_datadam_seed0
    python tools/report.py runs/a runs/b runs/continual --output=both.html

The page is one HTML file with everything in it; it opens from disk, on a phone too.
Several runs stand side by side. Folders of other applications (settings.json and
pictures) are shown as well.
"""

import pathlib

import _command
from absl import flags

from dam_tf.base.errors import UserError
from dam_tf.runs.folder import find_run

_RUNS = flags.DEFINE_list("runs", [], "More folders, or the same ones as a flag.")
_OUTPUT = flags.DEFINE_string(
    "output", None, "The page. Default: report.html in the first folder."
)


def main(words: list[str]) -> None:
    paths = [*words, *_RUNS.value]
    if not paths:
        raise UserError("say which: report.py RUN [RUN ...]")
    for path in paths:
        if not pathlib.Path(path).is_dir():
            raise UserError(f"no such folder: {path}")
    output = pathlib.Path(_OUTPUT.value or _first(paths[0]) / "report.html")
    if output.is_dir():
        raise UserError(f"--output={output} is a folder; name a file")
    print(f"Reporting on {', '.join(paths)}", flush=True)

    _command.import_tensorflow()
    from dam_tf import report

    print(f"Page: {report.write_report(paths, output)}")


def _first(path: str) -> pathlib.Path:
    try:
        return find_run(path).path
    except UserError:
        return pathlib.Path(path)


if __name__ == "__main__":
    _command.run_with_words(main)
