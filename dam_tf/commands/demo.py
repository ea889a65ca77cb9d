"""Distils real handwritten digits and compares them with random real ones.

    python -m dam_tf demo

The 1,797 digits ship inside scikit-learn, so nothing is downloaded. The demonstration
takes about a minute on two cores. It leaves two runs in --output_dir, one of random
real images and one of distilled images, and beside them report.html, which shows both.
"""

from dam_tf.base.json_lines import append_json
from dam_tf.commands import program
from dam_tf.commands.options import Options
from dam_tf.config.presets import make_config
from dam_tf.runs.folder import RunFolder

OPTIONS = Options()
OPTIONS.text(
    "output_dir", None, "Folder of both runs and the report. Default: runs/demo."
)

# Half the usual width, and no compiler, which such short work would not repay.
_SETTINGS = {
    "network.width": 64,
    "distillation.jit": "none",
    "selection.method": "random",
    "evaluation.networks": 3,
    "evaluation.epochs": 300,
}


def main() -> None:
    config = make_config(overrides={"dataset.name": "digits", **_SETTINGS})
    output_dir = OPTIONS.output_dir("runs/demo")
    random, distilled = (
        RunFolder(output_dir / name) for name in ("random_real", "datadam")
    )
    for folder in (random, distilled):
        folder.check(config, resume=False, overwrite=True)
    settings = config.distillation
    print(
        f"Distilling 1,438 handwritten digits into {settings.ipc} image per class, in "
        f"{settings.iterations} iterations. Then {config.evaluation.networks} networks "
        "train on random real images, and as many on the distilled ones. This takes "
        "about a minute.",
        flush=True,
    )

    program.import_tensorflow()
    from dam_tf import report
    from dam_tf.coresets import select as selection
    from dam_tf.data import loading as datasets
    from dam_tf.evaluation.evaluate import evaluate
    from dam_tf.runs import run as distillation

    data = datasets.load_dataset(config.dataset)
    distillation.distill(config, distilled.path, overwrite=True, data=data)
    selection.select(config, random.path, overwrite=True)
    results = {}
    for name, folder in (("random real", random), ("distilled", distilled)):
        print(f"Training {config.evaluation.networks} networks on {name} images.")
        result = evaluate(folder.path, data=data)
        random_real = results["random real"].mean if results else None
        measures = result.compare(random_real=random_real)
        line = result.record(str(folder.path), folder.settings(), measures)
        append_json(folder.evaluation, line)
        results[name] = result
    page = report.write_report(
        [random.path, distilled.path], output_dir / "report.html"
    )
    print(f"\nTest accuracy after training on {len(data.class_names)} images:")
    for name, result in results.items():
        print(f"  {name:12} {result}")
    print(f"Pictures: {random.preview} (random real), {distilled.preview} (distilled)")
    print(f"The page {page} shows both, and what they cost: open it in a browser.")
