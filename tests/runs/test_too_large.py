"""Photographs as a camera makes them: refused before one of them is decoded."""

import functools

import numpy as np
import pytest
from PIL import Image

import dam_tf
from dam_tf.base.errors import UserError
from dam_tf.commands import program
from dam_tf.config.settings import read_config
from dam_tf.methods import memory as methods_memory
from dam_tf.studies.ablation.study import run_ablation
from dam_tf.studies.continual.settings import ContinualConfig
from dam_tf.studies.continual.study import continual_learning
from dam_tf.training import memory as training_memory

TAKES = "images of 2000x3000 .* this machine has 25 GB; give --image_size"


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    root = tmp_path_factory.mktemp("photographs")
    picture = Image.new("RGB", (3000, 2000))
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            picture.save(root / split / name / "0.png", compress_level=1)
    return f"folder:{root}"


@pytest.fixture(autouse=True)
def nothing_is_read(monkeypatch):
    def fail(*_):
        raise AssertionError("images were read")

    for name in ("_in_memory", "build_cache"):
        monkeypatch.setattr(f"dam_tf.data.loading.{name}", fail)
    for module in (methods_memory, training_memory):
        monkeypatch.setattr(module, "available_bytes", lambda: 25_300_000_000)


def learn(config, folder):
    continual_learning(config, ContinualConfig(("random",), steps=(1,)), folder)


@pytest.mark.parametrize(
    "work",
    [
        dam_tf.distill,
        dam_tf.select,
        lambda config, folder: dam_tf.evaluate_whole_set(config),
        functools.partial(run_ablation, "loss"),
        learn,
    ],
    ids=["distill", "select", "evaluate_whole_set", "run_ablation", "continual"],
)
def test_refused_in_python(photographs, work, tmp_path):
    config = read_config(overrides={"dataset.name": photographs})
    with pytest.raises(UserError, match=TAKES):
        work(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["distill"],
        ["coreset", "--method=herding"],
        ["evaluate", "--distilled=random"],
        ["evaluate", "--whole_dataset"],
    ],
    ids=" ".join,
)
def test_refused_on_the_command_line(photographs, words, tmp_path, capsys):
    name, *flags = words
    if name != "evaluate":
        flags.append(f"--output_dir={tmp_path / 'out'}")
    assert program.run(name, [f"--dataset={photographs}", *flags]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "this machine has 25 GB; give --image_size (at most " in last
    assert not (tmp_path / "out").exists()


def test_arrays_are_refused_too():
    images = np.zeros([2, 2000, 3000, 3], np.uint8)
    with pytest.raises(UserError, match=f"distilling {TAKES}"):
        dam_tf.distill(images, [0, 1])
    grey = np.broadcast_to(np.float32(0.5), (2, 2000, 3000, 3))
    with pytest.raises(UserError, match=f"training .* {TAKES}"):
        dam_tf.evaluate(dam_tf.DistilledSet(grey, [0, 1], ("0", "1")), images, [0, 1])
