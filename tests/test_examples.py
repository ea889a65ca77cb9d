"""The programs of examples/, where dam_tf cannot be imported."""

import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

from dam_tf.data.preprocessing.preprocessing import fit_preprocessing
from dam_tf.exports.formats import export
from dam_tf.synthetic.distilled_set import DistilledSet
from tests.tiny_data import tiny_config

EXAMPLES = pathlib.Path(__file__).resolve().parent.parent / "examples"
NAMES = ("left", "middle", "right")

# Runs one program after another, as `python program arguments` would.
DRIVER = """
import json, runpy, sys
sys.modules["dam_tf"] = None  # an import of it fails from now on
for program, *arguments in json.load(sys.stdin):
    sys.argv = [program, *arguments]
    runpy.run_path(program, run_name="__main__")
"""


def stripes(rng, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a bright stripe, whose place is the class."""
    labels = np.arange(count) % 3
    images = rng.integers(0, 120, (count, 8, 8, 3), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 1 + 2 * label : 3 + 2 * label] += 130
    return images, labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    """An export, and real images as arrays and as files."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("downstream")
    images, labels = stripes(rng, 12)
    preprocessing = fit_preprocessing("standardize", images)
    distilled = DistilledSet(
        images / np.float32(255), labels, NAMES, preprocessing, "stripes"
    )
    config = tiny_config(
        network__norm="none",
        evaluation__epochs=60,
        evaluation__learning_rate=0.1,
        evaluation__augmentation="none",
    )
    export(distilled, ["tfrecord", "saved_model"], folder / "export", config)
    images, labels = stripes(rng, 30)
    np.savez(folder / "test.npz", x_test=images, y_test=labels)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / "test" / NAMES[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(image).save(path)
    return folder


@pytest.mark.slow
def test_programs_downstream_need_no_dam_tf(folder):
    keras_example = str(EXAMPLES / "downstream_keras.py")
    saved_model_example = str(EXAMPLES / "downstream_saved_model.py")
    distilled, model = "--distilled=export/tfrecord", "--model=export/saved_model"
    picture = "test/middle/1.png"
    programs = [
        [keras_example, distilled, "--test=test.npz", "--epochs=20"],
        [keras_example, distilled, "--test=test", "--epochs=1"],
        [saved_model_example, model, picture, "test.npz"],
    ]
    result = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps(programs),
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 5, result.stdout
    assert all(re.fullmatch(r"Test .*: [\d.]+ %, .* 12 images", x) for x in lines[:2])
    assert percentage(lines[0]) > 60, "33 is chance"
    assert re.fullmatch(rf"{picture}: middle \(\d+ %\)", lines[2])
    assert re.fullmatch(r"test.npz: \d+ left, \d+ middle, \d+ right", lines[3])
    assert percentage(lines[4]) > 60


def percentage(line: str) -> float:
    return float(re.search(r"([\d.]+) %", line)[1])


def test_examples_import_nothing_of_ours():
    programs = sorted(EXAMPLES.glob("*.py"))
    assert len(programs) >= 4
    for program in programs:
        assert not re.search(r"^\s*(import|from) dam_tf", program.read_text(), re.M)
