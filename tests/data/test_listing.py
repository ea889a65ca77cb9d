"""Which files a folder's classes have, in which order, and what is said of the rest."""

import errno
import io
import logging
import os
import pathlib
import re
import socket

import PIL.Image
import pytest

from dam_tf.base.errors import UserError
from dam_tf.config.sections import DatasetConfig
from dam_tf.data.catalog import lookup
from dam_tf.data.sources.folders import folder_tree

PNG = io.BytesIO()
PIL.Image.new("L", (1, 1)).save(PNG, "PNG")
NFC, NFD = "caf\u00e9", "cafe\u0301"


@pytest.fixture
def plant(tmp_path, monkeypatch):
    """Makes files, with no more in them than shows what they are."""
    monkeypatch.chdir(tmp_path)

    def make(*names: str) -> pathlib.Path:
        for name in names:
            file = tmp_path / "pets" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(PNG.getvalue())
        return tmp_path / "pets"

    make("train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/dog/1.png")
    return make


def tree(name: str = "folder:pets", **settings):
    return folder_tree(lookup(name), DatasetConfig(name, **settings))


def files(split, label: int = 0) -> list[str]:
    """Paths from the folder of the class on."""
    return [
        pathlib.Path(*pathlib.Path(file).parts[3:]).as_posix() for file in split[label]
    ]


def line(**settings) -> str:
    ((_, text),) = tree(**settings).notes
    return text


def refused(pattern: str, name: str = "folder:pets") -> None:
    with pytest.raises(UserError, match=pattern) as caught:
        tree(name)
    assert "\n" not in str(caught.value)


def test_files_of_all_levels_are_sorted_together(plant):
    plant("train/cat/a/b/c/2.png", "train/cat/a/10.png", "train/cat/b.png")
    plant("train/cat/images/1.png", "test/cat/x/1.png")
    found = tree()
    assert files(found.train) == [
        "1.png", "a/10.png", "a/b/c/2.png", "b.png", "images/1.png",
    ]  # fmt: skip
    assert files(found.test) == ["1.png", "x/1.png"]
    assert files(found.train, 1) == ["1.png"]
    assert line() == (
        "folder:pets: images in folders within the classes count too: 4 in a, images, x"
    )


def test_one_folder_of_images_in_each_class_goes_without_saying(plant):
    plant("train/cat/images/2.png", "train/dog/images/3.png")
    assert tree().notes == ()


@pytest.mark.parametrize(
    "suffix", ["JPG", "jpeg", "jfif", "Png", "bmp", "gif", "webp", "tif", "TIFF", "ppm"]
)
def test_every_format_of_pillow_is_taken_in_any_case(plant, suffix):
    plant(f"train/cat/a.{suffix}")
    assert files(tree().train) == ["1.png", f"a.{suffix}"]


def test_a_file_without_extension_is_taken_by_what_it_holds(plant):
    root = plant("train/cat/00017", "train/cat/LICENSE")
    (root / "train/cat/LICENSE").write_text("free")
    assert files(tree().train) == ["00017", "1.png"]
    assert line() == "folder:pets: 1 file is left out: 1 without an extension"


def test_what_is_left_out_is_counted_by_kind_in_one_line(plant):
    root = plant(
        "train/cat/a.txt", "test/dog/b.TXT", "train/cat/c.pdf", "train/top.png"
    )
    plant("train/cat/.DS_Store", "train/dog/._1.png", "train/dog/.x.jpg")
    plant("train/cat/Thumbs.db", "train/cat/a.png.part")
    for name in ("train/cat/x.png", "train/dog/y.png"):
        (root / name).symlink_to("gone.png")
    os.mkfifo(root / "train/cat/pipe.png")
    assert line() == (
        "folder:pets: 12 files are left out: 3 hidden, 2 .txt, 2 broken links, "
        "1 .part, 1 .pdf, 1 Thumbs.db, 2 of other kinds"
    )
    (level, _), *_ = tree().notes
    assert level == logging.WARNING, "images may be lost"


def test_many_kinds_are_named_up_to_a_number(plant):
    plant(*(f"train/cat/a.x{number}" for number in range(9)))
    assert line().endswith("1 .x0, 1 .x1, 1 .x2, 1 .x3, 1 .x4, 1 .x5, 3 of other kinds")
    assert tree().notes[0][0] == logging.INFO


@pytest.mark.parametrize(
    "folder",
    ["__MACOSX", "@eaDir", ".ipynb_checkpoints", ".git", "$RECYCLE.BIN", "lost+found"],
)
@pytest.mark.parametrize("place", ["train", "test", "train/cat", "train/cat/young"])
def test_rubbish_is_passed_over(plant, folder, place):
    plant("train/cat/young/2.png", f"{place}/{folder}/cat/1.png")
    found = tree()
    assert found.class_names == ("cat", "dog")
    assert files(found.train) == ["1.png", "young/2.png"]
    assert line().endswith(f"; folders that are passed over: {folder}")


def test_links_are_followed(plant, tmp_path):
    root = plant()
    far = tmp_path / "far"
    far.mkdir()
    for name in ("9.png", "8.png"):
        (far / name).write_bytes(PNG.getvalue())
    (root / "train/cat/link.png").symlink_to(far / "9.png")
    (root / "train/cat/more").symlink_to(far)
    (root / "train/eel").symlink_to(far)
    (root / "test/eel").symlink_to(far)
    found = tree()
    assert found.class_names == ("cat", "dog", "eel")
    assert files(found.train) == ["1.png", "link.png", "more/8.png", "more/9.png"]
    assert files(found.train, 2) == ["8.png", "9.png"]


@pytest.mark.parametrize("target", [".", "..", "../..", "a", "a/b", "/"])
def test_links_in_a_circle_end(plant, target):
    root = plant("train/cat/a/b/2.png")
    (root / "train/cat/round").symlink_to(target)
    assert files(tree().train) == ["1.png", "a/b/2.png"]
    assert line().endswith("; 1 file is left out: 1 folder linked again")


def test_a_link_to_itself_is_broken(plant):
    root = plant()
    (root / "train/cat/self").symlink_to("self")
    (root / "train/loop").symlink_to("loop")
    assert tree().class_names == ("cat", "dog")
    assert line() == "folder:pets: 2 files are left out: 2 broken links"


def test_what_is_no_file_is_never_opened(plant):
    root = plant()
    os.mkfifo(root / "train/cat/pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("pets/train/cat/socket")
        assert line() == "folder:pets: 2 files are left out: 2 special files"


def test_images_beside_the_classes_are_said_to_be_left_out(plant):
    plant("train/1.png", "train/2.jpg", "test/notes.md")
    assert line() == (
        "folder:pets: 3 files are left out: 2 outside of class folders, 1 .md"
    )


def test_class_that_has_no_image_is_named_with_what_it_has(plant):
    root = plant("train/eel/a.txt", "train/eel/b.txt", "test/eel/1.png")
    (root / "train/eel/c.png").symlink_to("gone")
    refused(r"class 'eel' has no image in pets/train/eel \(it holds: 2 .txt, 1 broken")
    for file in (root / "train/eel").iterdir():
        file.unlink()
    refused(r"class 'eel' has no image in pets/train/eel \(it holds: nothing\); add")


@pytest.mark.parametrize("folder", ["train", "cat", "young"])
def test_folder_that_cannot_be_read_is_named(plant, monkeypatch, folder):
    plant("train/cat/young/2.png")
    original = os.scandir

    def scandir(path):
        if pathlib.Path(path).name == folder:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    refused(rf"cannot read the folder pets/.*{folder} \(Permission denied\); make it")


def test_a_second_folder_of_test_images_is_said(plant):
    plant("val/cat/1.png", "val/dog/2.png")
    assert line() == "folder:pets: test/ is tested on; val/ is not read"


# Names of classes.


@pytest.mark.parametrize(("train", "test"), [(NFC, NFD), (NFD, NFC), (NFD, NFD)])
def test_two_forms_of_a_name_are_one_class(plant, train, test):
    plant(f"train/{train}/1.png", f"test/{test}/1.png")
    found = tree()
    assert found.class_names == (NFC, "cat", "dog") and found.notes == ()
    assert [len(split[0]) for split in (found.train, found.test)] == [1, 1]


def test_two_folders_of_one_name_are_refused(plant):
    plant(f"train/{NFC}/1.png", f"train/{NFD}/1.png")
    refused(
        r"pets/train has two folders of the class 'café': 'cafe\\u0301' and 'caf\\xe9'"
    )


def test_spaces_around_a_name_are_left_out_and_said(plant):
    plant("train/eel /1.png", "test/eel/1.png")
    assert tree().class_names == ("cat", "dog", "eel")
    assert line() == (
        "folder:pets: spaces around the names of classes are left out: 'eel '"
    )
    plant("train/eel/1.png")
    refused("two folders of the class 'eel': 'eel' and 'eel '")


@pytest.mark.parametrize("name", ["a\tb", "a\nb", "a\rb", "a\x1bb", "a\u2028b", " "])
def test_names_that_are_no_text_are_refused(plant, name):
    plant(f"train/{name}/1.png", f"test/{name}/1.png")
    refused(
        rf"class folder {re.escape(repr(name))} in pets/.*: class name .* rename it"
    )


def test_class_folder_that_is_not_utf8_is_refused(plant):
    root = plant()
    os.makedirs(os.fsencode(root) + b"/train/caf\xe9")
    refused(r"the class folder b'caf\\xe9' in pets/train is not .* example to 'café'")


def test_names_that_differ_by_case_are_two_classes(plant):
    plant("train/Cat/1.png", "test/Cat/1.png")
    assert tree().class_names == ("Cat", "cat", "dog")


def test_latin_1_file_names_are_listed(plant):
    name = os.fsencode(plant()) + b"/train/cat/caf\xe9.png"
    with open(name, "wb") as file:
        file.write(PNG.getvalue())
    assert [os.fsencode(file) for file in tree().train[0]][-1].endswith(b"caf\xe9.png")


def test_long_tail_is_listed_as_it_is(plant):
    plant(*(f"train/dog/{number}.png" for number in range(9)))
    assert [len(of_class) for of_class in tree().train] == [1, 9]
