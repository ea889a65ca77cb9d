"""Writes programs, and what TensorFlow makes of them, for the tests that run in jax.

.venv/bin/python tests/jax/record.py build/jax
"""

import pathlib
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from dam_tf.commands import program

program.import_tensorflow()

import numpy as np  # noqa: E402

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


if __name__ == "__main__":
    main()
