"""What is said where data were named in the wrong way."""

import os
import pathlib

import numpy as np
import pytest

from dam_tf.base.errors import UserError
from dam_tf.config.sections import DatasetConfig
from dam_tf.data.catalog import lookup
from dam_tf.data.loading import open_source


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> None:
    for name in names:
        file = pathlib.Path(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def said(name: str) -> str:
    """The message that refuses a data set, without what is before the hint."""
    with pytest.raises(UserError) as caught:
        open_source(DatasetConfig(name))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("my_pictures", "it is a folder; write --dataset=folder:my_pictures"),
        ("./my, pets", "it is a folder; write '--dataset=folder:./my, pets'"),
        ("data.npz", "it is an npz file; write --dataset=npz:data.npz"),
        ("dir:my_pictures", "it is a folder; write --dataset=folder:my_pictures"),
        ("pets.tar.gz", "it is an archive; unpack it and give its folder, as folder:"),
        ("pets.csv", "give a folder of images as folder:PATH, or arrays in a file as"),
        ("tiny", "write --dataset=tiny_imagenet --data_dir=tiny"),
    ],
)
def test_bare_path(name, hint):
    touch("my_pictures/train/cat/1.png", "my, pets/x", "data.npz", "pets.tar.gz")
    touch("pets.csv", "tiny/train/n01/1.png", "tiny/wnids.txt")
    assert said(name).startswith(f"unknown data set {name!r}: ") and hint in said(name)


def test_absolute_path_and_home(place, monkeypatch):
    monkeypatch.setenv("HOME", str(place))
    touch("pets/train/cat/1.png")
    assert said(str(place / "pets")).endswith(f"--dataset=folder:{place}/pets")
    assert said("~/pets").endswith("write '--dataset=folder:~/pets'")


def test_name_that_is_nowhere_is_told_what_there_is():
    assert "choose one of: digits" in said("my_pictures")
    assert "does not exist; give a folder that holds train/" in said("folder:pets")


def test_catalog_wins_over_a_folder_of_its_name():
    touch("digits/train/cat/1.png")
    assert lookup("digits").kind == "digits"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("folder:data.npz", "is a file; it is an npz file; write --dataset=npz:data."),
        ("folder:pets.zip", "is a file; it is an archive; unpack it and give its fold"),
        ("folder:notes.csv", "is a file; give a folder of images as folder:PATH, or"),
        ("npz:pets", "it is a folder; write --dataset=folder:pets"),
        ("npz:pets.zip", "is no npz file: it is an archive; unpack it"),
    ],
)
def test_wrong_kind(name, hint):
    touch("data.npz", "pets.zip", "notes.csv", "pets/train/cat/1.png")
    assert hint in said(name)


TINY = [f"train/n0000000{k}/images/{k}.JPEG" for k in (1, 2)]


@pytest.mark.parametrize(
    ("files", "hint"),
    [
        (
            [*TINY, "val/images/1.JPEG", "val/val_annotations.txt"],
            "Tiny ImageNet: write --dataset=tiny_imagenet --data_dir=here",
        ),
        (
            [*TINY, "wnids.txt", "test/images/1.JPEG"],
            "Tiny ImageNet: write --dataset=tiny_imagenet --data_dir=here",
        ),
        (
            [*TINY, "val/ILSVRC2012_val_00000001.JPEG"],
            "looks like ImageNet: for its subsets write --dataset=imagenette, "
            "imagewoof or imagesquawk and --data_dir=here",
        ),
        (
            ["cat/1.jpg", "dog/1.jpg", "notes/x.txt"],
            "as if cat, dog were classes: move their folders into here/train, ",
        ),
        (["pets/train/cat/1.jpg"], "did you mean --dataset=folder:here/pets?"),
        (["train/train/cat/1.jpg"], "did you mean --dataset=folder:here/train?"),
        (["x/y", "a.npz"], "a.npz lies there: it is an npz file; write --dataset=npz:"),
        (["pets.zip"], "pets.zip lies there: it is an archive; unpack it"),
    ],
)
def test_layout(files, hint):
    touch(*(f"here/{file}" for file in files))
    assert hint in said("folder:here")


@pytest.mark.parametrize(
    ("beside", "hint"),
    [
        ((), "it looks like ImageNet: for its subsets write --dataset=imagenette, "),
        (("wnids.txt",), "it looks like Tiny ImageNet: write --dataset=tiny_imagenet "),
    ],
)
def test_wordnet_ids_are_read_and_the_better_way_is_said(beside, hint):
    touch(*(f"here/{file}" for file in (*TINY, *beside)))
    ((_, line),) = open_source(DatasetConfig("folder:here")).notes
    assert line.startswith("folder:here: classes are called by their WordNet ids; it")
    assert hint in line


def test_layout_without_a_hint():
    touch("here/notes.txt")
    assert said("folder:here").endswith("(or val/, validation/)")


@pytest.mark.parametrize("name", ["folder", "npz"])
def test_path_that_is_not_utf8_is_refused(name):
    assert "is not UTF-8; rename the folder" in said(f"{name}:caf\udce9")


def test_names_of_classes_are_checked_for_every_source(monkeypatch):
    from dam_tf.data import loading
    from dam_tf.data.source import Contents, Source, SplitContents

    nothing = SplitContents(np.zeros(2, np.int64), lambda first: iter(()))
    contents = Contents(("cat\t", "dog"), (8, 8, 1), nothing)
    source = Source("pets", "", lambda: contents)
    monkeypatch.setattr(loading, "open_source", lambda config: source)
    with pytest.raises(UserError, match=r"class name 'cat\\t' .* rename it"):
        loading.load_dataset(DatasetConfig("digits", cache="memory"))
    assert os.listdir() == []
