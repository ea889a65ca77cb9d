"""Gives the images of a set the soft labels of trained networks.

    python -m dam_tf pretrain --dataset=cifar10 --networks=5 --epochs=20
    python -m dam_tf relabel --distilled=runs/cifar10_ipc10_dm_seed0 \\
        --teacher=runs/cifar10_pool --output_dir=runs/dm_soft
    python -m dam_tf evaluate --distilled=runs/dm_soft

The label of an image is the mean of the networks' probabilities at --temperature. The
set lies in --output_dir as a run does, and every other command takes it; the run that
it comes from stays as it is. `evaluate` trains networks on the soft labels, and others
on the hard ones beside them, since soft labels alone make many a set look better.
"""

import pathlib

from dam_tf.base.errors import UserError
from dam_tf.commands import program
from dam_tf.commands.options import Options
from dam_tf.runs.folder import RunFolder, find_run

OPTIONS = Options()
OPTIONS.text("distilled", None, "Folder of a run: of a method, coreset or generator.")
OPTIONS.text("teacher", None, "Folder of networks, of `pretrain` or `experts`.")
OPTIONS.number("temperature", 1.0, "The larger, the softer labels are.", minimum=0.0)
OPTIONS.define_output("run", "runs/<distilled>_relabelled", resume=False)


def main() -> None:
    for flag, what in (("distilled", "a run"), ("teacher", "trained networks")):
        if not OPTIONS[flag]:
            raise UserError(f"--{flag} is missing: the folder of {what}")
    run, teacher = find_run(OPTIONS["distilled"]), OPTIONS["teacher"]
    output_dir = OPTIONS.output_dir(f"runs/{run.path.resolve().name}_relabelled")
    folder = RunFolder(output_dir)
    folder.check(run.settings(), resume=None, overwrite=OPTIONS["overwrite"])
    print(
        f"Labelling {run.path} by the networks in {pathlib.Path(teacher)}, into "
        f"{output_dir}",
        flush=True,
    )

    program.import_tensorflow()
    from dam_tf.training.relabel import relabel

    kept = OPTIONS["temperature"], OPTIONS["overwrite"]
    new = relabel(run.path, teacher, output_dir, *kept)
    print(f"{len(new.images)} images with soft labels lie in {folder.distilled}")
