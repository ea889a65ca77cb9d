"""Writes a distilled set in the formats of other programs.

    python -m dam_tf export --distilled=runs/digits --format=npz,png --output_dir=digits
    python -m dam_tf export --distilled=runs/digits --format=saved_model \\
        --output_dir=classifier --epochs=300

tfrecord: TensorFlow; npz: PyTorch, JAX, NumPy; png: folders of pictures; parquet:
Hugging Face datasets; saved_model: a classifier trained on the set, from uint8
pixels to probabilities, which needs TensorFlow alone. png and parquet hold 8 bits:
--pixels says what becomes of pixels outside 0..1.
"""

from dam_tf.base.errors import UserError
from dam_tf.commands import program
from dam_tf.commands.options import Options
from dam_tf.runs.folder import find_run

OPTIONS = Options("network", "seed", "epochs")
OPTIONS.text("distilled", None, "Folder of a run.")
OPTIONS.items("format", [], "What to write, of the above.")
OPTIONS.text("pixels", "clipped", "Of png and parquet: clipped to 0..1, or scaled.")
OPTIONS.text("output_dir", None, "Gets a folder for each format.")
OPTIONS.alias("output", "output_dir")
OPTIONS.switch("overwrite", False, "Replace the export in --output_dir.")


def main() -> None:
    if not OPTIONS["distilled"]:
        raise UserError("--distilled is missing: the folder of a run")
    if not OPTIONS["output_dir"]:
        raise UserError("--output_dir is missing: the folder to write")
    run = find_run(OPTIONS["distilled"])
    config = run.settings(OPTIONS.overrides())
    output_dir = OPTIONS["output_dir"]
    print(f"Exporting {OPTIONS['distilled']} into {output_dir}", flush=True)

    program.import_tensorflow()
    from dam_tf.exports import formats as exporting
    from dam_tf.synthetic.distilled_set import DistilledSet

    distilled = DistilledSet.load(run.path)
    formats = [name.strip() for name in OPTIONS["format"]]
    paths = exporting.export(
        distilled,
        formats,
        output_dir,
        config,
        OPTIONS["overwrite"],
        OPTIONS["pixels"],
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
