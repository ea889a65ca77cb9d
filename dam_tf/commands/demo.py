"""Distils real handwritten digits and compares them with random real ones.

    python -m dam_tf demo

The 1,797 digits ship inside scikit-learn, so nothing is downloaded. It takes a
few minutes on two cores, and leaves its run in runs/demo.
"""

from dam_tf.commands import program
from dam_tf.commands.options import Options
from dam_tf.config.presets import config_for
from dam_tf.runs.folder import RunFolder

OPTIONS = Options()
OPTIONS.text("output_dir", None, "Folder of the run. Default: runs/demo.")


def main() -> None:
    config = config_for(
        "digits", overrides={"evaluation.models": 3, "evaluation.epochs": 300}
    )
    folder = RunFolder(OPTIONS.output_dir("runs/demo"))
    folder.check(config, resume=False, overwrite=True)
    settings = config.distillation
    print(
        f"Distilling 1,438 handwritten digits into {settings.ipc} image per class, "
        f"in {settings.iterations} iterations; then training networks on them.",
        flush=True,
    )

    program.import_tensorflow()
    from dam_tf.coresets import select as selection
    from dam_tf.data import loading as datasets
    from dam_tf.evaluation import evaluate as evaluation
    from dam_tf.runs import run as distillation

    distilled = distillation.distill(config, folder.path, overwrite=True)
    data = datasets.load_dataset(config.dataset)
    random = selection.random_real_set(data, config, distilled.preprocessing)
    random_preview = folder.path / "random.png"
    random.preview(random_preview)
    results = {}
    for name, subject in (("random real", random), ("distilled", distilled)):
        print(f"Training {config.evaluation.models} networks on {name} images.")
        results[name] = evaluation.evaluate(subject, config, data)
    print(f"\nTest accuracy after training on {len(distilled.images)} images:")
    for name, result in results.items():
        print(f"  {name:12} {result}")
    print(f"Pictures: {random_preview} (random real), {folder.preview} (distilled)")
