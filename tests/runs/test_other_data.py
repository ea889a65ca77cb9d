"""A run of pictures in folders, resumed: on the same, on moved or on changed ones."""

import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from dam_tf.config.settings import read_config
from dam_tf.synthetic.distilled_set import DistilledSet
from tests.tools.running import call

pytestmark = pytest.mark.usefixtures("eagerly")

ALWAYS = ["--ipc=1", "--batch_real=2", "--output_dir=run", "--set=network.width=4"]
ALWAYS += ["--set=network.depth=1", "--set=distillation.jit=none"]
PETS = "--dataset=folder:pets"


def draw(file: pathlib.Path, shade: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(shade).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(file)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A folder with pictures of three classes, and a finished run of them."""
    folder = tmp_path_factory.mktemp("original")
    for k, name in enumerate(("ant", "bee", "cat")):
        for split in ("train", "test"):
            for number in range(3):
                shade = 100 * k + 10 * number + (split == "test")
                draw(folder / "pets" / split / name / f"{number}.png", shade)
    result = call("distill", PETS, *ALWAYS, "--iterations=2", folder=folder)
    assert result.returncode == 0, result.stderr
    told = "pets: 3 classes, train 9 (3 a class), test 9 (3 a class), 8x8x3"
    assert told in result.stderr
    return folder


@pytest.fixture
def place(original, tmp_path):
    return shutil.copytree(original, tmp_path / "place")


def go_on(folder, *flags):
    words = [*ALWAYS, "--iterations=3", "--resume", *flags]
    return call("distill", *words, folder=folder)


def rename_class(place):
    for split in ("train", "test"):
        (place / "pets" / split / "ant").rename(place / "pets" / split / "wasp")


def add_picture(place):
    draw(place / "pets" / "train" / "bee" / "new.png", 77)


def change_picture(place):
    draw(place / "pets" / "train" / "bee" / "1.png", 78)


def nothing(place):
    pass


@pytest.mark.parametrize(
    ("change", "flags", "message"),
    [
        (rename_class, [], "class 'ant' is gone, class 'wasp' is new; give the same"),
        (add_picture, [], "class 'bee' has 4 training images, not 3; give the same"),
        (change_picture, [], "the pixels of the training images differ; give the same"),
        (nothing, ["--image_size=16"], "dataset.image_size = 16: the run was started"),
        (nothing, ["--max_classes=2"], "dataset.max_classes = 2: the run was started"),
        (nothing, ["--set=network.norm=batch"], "network.norm = 'batch': the run was"),
    ],
)
def test_what_differs_is_named_and_nothing_changes(place, change, flags, message):
    change(place)
    before = {path: path.stat().st_mtime_ns for path in (place / "run").rglob("*")}
    result = go_on(place, PETS, *flags)
    assert result.returncode == 2
    assert message in result.stderr.splitlines()[-1]
    after = {path: path.stat().st_mtime_ns for path in (place / "run").rglob("*")}
    assert after == before


def test_moved_data_are_the_same_and_are_found_from_anywhere(original, place):
    """The run says where they lie now, whole, so that evaluating finds them."""
    stored = read_config(original / "run" / "config.toml").dataset.name
    assert stored == f"folder:{original / 'pets'}"
    (place / "pets").rename(place / "animals")
    (place / "elsewhere").mkdir()
    flags = ["--dataset=folder:../animals", f"--output_dir={place / 'run'}"]
    result = go_on(place / "elsewhere", *flags)
    assert result.returncode == 0, result.stderr
    now = f"folder:{place / 'animals'}"
    assert f"were {stored} and are {now} now: the same" in result.stderr
    assert read_config(place / "run" / "config.toml").dataset.name == now
    assert DistilledSet.load(place / "run").name == now
    words = [f"--distilled={place / 'run'}", "--models=1", "--epochs=1"]
    result = call("evaluate", *words, folder=place / "elsewhere")
    assert result.returncode == 0, result.stderr


def test_a_finished_run_is_never_begun_again(place):
    """Its checkpoints were removed to save space, or it never had any: a coreset."""
    shutil.rmtree(place / "run" / "checkpoints")
    result = go_on(place, PETS)
    assert result.returncode == 2
    assert "no checkpoint that it could go on from" in result.stderr
    assert (place / "run" / "distilled" / "metadata.json").is_file()
