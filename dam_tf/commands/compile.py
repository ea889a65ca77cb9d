"""Compiles a whole run into a program that needs neither TensorFlow nor dam_tf.

    python -m dam_tf compile --dataset=cifar10 --ipc=10 --output_dir=program
    python -m dam_tf compile --dataset=cifar10 --target=tpu --output_dir=program
    python program/run_program.py --help

The folder holds the run as StableHLO, and a file that runs it with JAX, NumPy and
Pillow, on any device that JAX has: copy it there, with the data.
"""

from dam_tf.base.errors import UserError
from dam_tf.commands import program
from dam_tf.commands.options import DATA, EVALUATION, Options
from dam_tf.config.image_counts import in_words

OPTIONS = Options(
    *DATA,
    "ipc",
    "preset",
    "method",
    "network",
    "init",
    "iterations",
    "batch_real",
    "classes_per_step",
    "precision",
    "seed",
    *EVALUATION,
)
OPTIONS.define_config()
OPTIONS.choice("target", ("gpu", "tpu", "cpu"), "The device that the program is for.")
OPTIONS.switch(
    "tf32", True, "Products of float32 may take 10 bits after the point (TF32)."
)
OPTIONS.integer("iterations_per_call", 100, "Iterations that one call does at most.")
OPTIONS.switch(
    "self_test", True, "Run one iteration here, for the other machine to compare with."
)
OPTIONS.text("output_dir", None, "Folder that is written.")
OPTIONS.switch("overwrite", False, "Replace the program in --output_dir.")


def main() -> None:
    if not OPTIONS["output_dir"]:
        raise UserError("--output_dir is missing: the folder to write")
    config, output_dir = OPTIONS.config(), OPTIONS["output_dir"]
    settings, target = config.distillation, OPTIONS["target"]
    print(
        f"Compiling {config.method.name} of {config.dataset.name}, "
        f"{in_words(settings)}, for a {target.upper()}, into {output_dir}",
        flush=True,
    )

    program.import_tensorflow()
    from dam_tf.exports.program.folder import RUNNER, export_program

    folder = export_program(
        config,
        output_dir,
        target,
        tf32=OPTIONS["tf32"],
        iterations_per_call=OPTIONS["iterations_per_call"],
        self_test=OPTIONS["self_test"],
        overwrite=OPTIONS["overwrite"],
    )
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{size / 1e6:.1f} MB lie in {folder}; run: python {folder / RUNNER} --help")
