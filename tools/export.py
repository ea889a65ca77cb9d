"""Writes a distilled set in the formats of other programs.

    python tools/export.py --distilled=runs/digits --format=npz,png --output=digits
    python tools/export.py --distilled=runs/digits --format=saved_model \\
        --output=classifier --epochs=300

tfrecord: TensorFlow; npz: PyTorch, JAX, NumPy; png: folders of pictures; parquet:
Hugging Face datasets; saved_model: a classifier trained on the set, from uint8
pixels to probabilities, which needs TensorFlow alone.
"""

import _command
import _settings
from absl import flags

from dam_tf.base.errors import UserError
from dam_tf.runs.folder import find_run

_settings.define("network", "seed", "epochs")
_DISTILLED = flags.DEFINE_string("distilled", None, "Folder of a run.")
_FORMAT = flags.DEFINE_list(
    "format", [], "What to write: tfrecord, npz, png, parquet, saved_model."
)
_OUTPUT = flags.DEFINE_string("output", None, "Gets a folder for each format.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace the export in --output.")


def main() -> None:
    if not _DISTILLED.value:
        raise UserError("--distilled is missing: the folder of a run")
    if not _OUTPUT.value:
        raise UserError("--output is missing: the folder to write")
    run = find_run(_DISTILLED.value)
    config = run.settings(_settings.overrides())

    _command.import_tensorflow()
    from dam_tf.exports import formats as exporting
    from dam_tf.synthetic import distilled_set

    distilled = distilled_set.DistilledSet.load(run.path)
    formats = [name.strip() for name in _FORMAT.value]
    paths = exporting.export(
        distilled, formats, _OUTPUT.value, config, _OVERWRITE.value
    )
    count = len(distilled.images)
    for name, path in paths.items():
        what = (
            f"{config.network.name} trained on {count} images for "
            f"{config.evaluation.epochs:,} epochs"
            if name == "saved_model"
            else f"{count} images"
        )
        print(f"{name}: {what}, in {path}")


if __name__ == "__main__":
    _command.run(main)
