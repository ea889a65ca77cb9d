"""A Keras 2 program reads what dam_tf and TensorFlow 2.21 wrote."""

import pathlib
import re
import subprocess
import sys

import numpy as np
import tensorflow as tf

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "downstream_addons.py"


def test_saved_models_give_what_they_gave(recorded):
    with np.load(recorded / "expected.npz", allow_pickle=False) as arrays:
        expected = dict(arrays)
    export = recorded / "export"
    model = tf.saved_model.load(str(export / "saved_model"))
    with np.load(recorded / "test.npz", allow_pickle=False) as arrays:
        images = tf.constant(arrays["x_test"][:50])
    found = model.signatures["serving_default"](images=images)["probabilities"]
    np.testing.assert_allclose(found, expected["probabilities"], atol=1e-5)
    names = model.signatures["class_names"]()["class_names"].numpy()
    assert [name.decode() for name in names] == [str(digit) for digit in range(10)]

    folder = export / "tfrecord" / "preprocessing" / "saved_model"
    preprocessing = tf.saved_model.load(str(folder))
    images = tf.constant(expected["images"])
    found = preprocessing.signatures["serving_default"](images=images)["images"]
    np.testing.assert_allclose(found, expected["model_images"], atol=1e-4)
    back = preprocessing.signatures["inverse"](images=found)["images"]
    np.testing.assert_allclose(back, images, atol=1e-4)


def test_the_example_trains_on_the_records(recorded, tmp_path):
    export = recorded / "export"
    command = [sys.executable, EXAMPLE, f"--distilled={export / 'tfrecord'}"]
    command += [f"--test={recorded / 'test.npz'}", f"--model={export / 'saved_model'}"]
    result = subprocess.run(
        [*map(str, command), "--epochs=80"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    own, exported = re.findall(r"Test accuracy.*: ([\d.]+) %", result.stdout)
    # Ten classes, so 10 % by chance; trained for a few seconds on 100 images.
    assert float(own) > 30
    assert float(exported) > 30
