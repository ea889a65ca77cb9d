"""Writes programs, and what TensorFlow makes of them, for the tests that run in jax.

.venv/bin/python tests/jax/record.py build/jax
"""

import io
import pathlib
import shutil
import sys
import tarfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "benchmarks"))

from dam_tf.commands import program

program.import_tensorflow()

import numpy as np  # noqa: E402
import PIL.Image  # noqa: E402
from _accelerator_prepare import prepare_folder  # noqa: E402

from dam_tf import make_config  # noqa: E402
from dam_tf.data.loading import load_dataset  # noqa: E402
from dam_tf.exports.program.folder import export_program  # noqa: E402
from tests.jax.toy import write_toy  # noqa: E402

SETTINGS = {
    "dataset.name": "digits",
    "dataset.max_classes": 3,
    "dataset.preprocessing": "zca",
    "network.width": 8,
    "network.depth": 1,
    "distillation.ipc": 2,
    "distillation.batch_real": 8,
    "distillation.iterations": 6,
    "evaluation.networks": 2,
    "evaluation.epochs": 4,
}


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_toy(folder)
    config = make_config(overrides=SETTINGS)
    data = load_dataset(config.dataset)
    np.savez(
        folder / "digits.npz",
        x_train=data.train.images,
        y_train=data.train.labels,
        x_test=data.test.images,
        y_test=data.test.labels,
    )
    target = {"target": "cpu", "iterations_per_call": 5}
    export_program(config, folder / "datadam", data=data, **target)
    write_archive(folder / "pictures.tar.xz")
    prepare_folder(folder / "pictures.tar.xz", folder / "accelerator", tiny=True)


def write_archive(path: pathlib.Path) -> None:
    """Writes JPEG files of 8x8 pixels, of three classes that differ in brightness."""
    random = np.random.default_rng(0)
    names = [
        (split, label, row)
        for split, rows in (("train", 12), ("test", 4))
        for label in range(3)
        for row in range(rows)
    ]
    with tarfile.open(path, "w:xz") as tar:
        for split, label, row in names:
            pixels = random.normal(60 + 60 * label, 30, [8, 8, 3]).clip(0, 255)
            content = io.BytesIO()
            PIL.Image.fromarray(pixels.astype(np.uint8)).save(content, "JPEG")
            info = tarfile.TarInfo(f"{split}/class_{label}/{row:04}.jpg")
            info.size = content.tell()
            content.seek(0)
            tar.addfile(info, content)


if __name__ == "__main__":
    main()
