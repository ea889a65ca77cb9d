"""Distils an image data set into a few synthetic images per class.

    python -m dam_tf distill --dataset=cifar10 --ipc=10
    python -m dam_tf distill --dataset=folder:my_pictures --image_size=64
    python -m dam_tf distill --dataset=cifar10 --resume
    python -m dam_tf distill --dataset=imagenet64 --classes_per_step=50

The run lies in --output_dir: the images (a folder that TensorFlow Datasets
opens), a picture of them, metrics, checkpoints and the settings to repeat it.
"""

import functools
import pathlib

from dam_tf.base.output import write_results
from dam_tf.commands import devices
from dam_tf.commands.options import DATA, RUN_FOLDER, Options, run_folder
from dam_tf.commands.results import in_training_words, kept_in, label_types
from dam_tf.config.image_counts import in_words
from dam_tf.config.places import with_absolute_paths
from dam_tf.config.settings import Config, replace, resolve
from dam_tf.runs.folder import RunFolder

OPTIONS = Options(
    *DATA,
    "ipc",
    "images_per_class",
    "method",
    "preset",
    "network",
    "init",
    "extends",
    "iterations",
    "batch_real",
    "classes_per_step",
    "seed",
    "checkpoint_every",
    "snapshot_every",
    "models",
    "epochs",
)
devices.define(OPTIONS)
OPTIONS.define_config()
OPTIONS.define_output("run", RUN_FOLDER.format("<method>"))
OPTIONS.switch("evaluate", False, "Then train networks on the set and test them.")


def main() -> None:
    config = OPTIONS.config()
    output_dir = OPTIONS.output_dir(run_folder(config, config.method.name))
    folder, chief = RunFolder(output_dir), devices.is_chief(OPTIONS)
    if chief:
        folder.check(config, OPTIONS["resume"], OPTIONS["overwrite"])
    print(_plan(config, output_dir), flush=True)

    strategy = devices.start(OPTIONS)
    from dam_tf.data.loading import load_dataset
    from dam_tf.evaluation.evaluate import evaluate
    from dam_tf.runs.checks import check_distillation
    from dam_tf.runs.run import distill
    from dam_tf.training.experts import train_missing

    replicas = strategy.num_replicas_in_sync if strategy else 1
    config = with_absolute_paths(config)
    given = {"replicas": replicas, "trains": True}
    check = functools.partial(check_distillation, config, **given)
    data = load_dataset(config.dataset, check)
    distilled = distill(
        config,
        output_dir,
        OPTIONS["resume"],
        OPTIONS["overwrite"],
        data=data,
        strategy=strategy,
        train=train_missing,
    )
    if chief:
        stored = "" if distilled.stored is None else f" (of {distilled.size} stored)"
        print(
            f"{len(distilled.images)} images{stored} lie in "
            f"{output_dir / 'distilled'}, their picture in {folder.preview}"
        )
    if not OPTIONS["evaluate"]:
        return
    # Not from the folder, which only the chief may see.
    config, soft = resolve(config, distilled.image_shape), distilled.soft_labels
    kinds = ["hard"] if soft is None else label_types(config.evaluation)
    for kind in kinds:
        config = replace(config, evaluation__label_type=kind)
        result = evaluate(distilled, config, data, strategy)
        if not chief:
            continue
        labels = "" if soft is None else kind
        how = in_training_words([], labels, config.evaluation.cutmix)
        print(f"Test accuracy{how}: {result}", flush=True)
        own = folder.settings({"evaluation.label_type": kind})
        names, draws = distilled.class_names, kind == kinds[0]
        write_results(kept_in(folder, result, own, names, draws))


def _plan(config: Config, output_dir: pathlib.Path) -> str:
    settings = config.distillation
    images = in_words(settings)
    if settings.formation != "raw":
        images += f" ({settings.formation})"
    beside = f", beside those of {settings.extends}" if settings.extends else ""
    drawn = settings.classes_per_step
    drawn = f" of {drawn} drawn classes" if drawn else ""
    real = f" with {settings.batch_real} real images per class{drawn}"
    if not config.method.reads_batches:
        real = ""
    return (
        f"Distilling {config.dataset.name} into {images}{beside}"
        f": {config.method.name} (preset {config.preset}) through "
        f"{config.network.name}, {settings.iterations:,} iterations{real}, seed "
        f"{settings.seed}, into {output_dir}"
    )
