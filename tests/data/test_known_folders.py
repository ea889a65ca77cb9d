"""Folders of a layout that is known: Tiny ImageNet and subsets of ImageNet."""

import shutil

import numpy as np
import pytest

from dam_tf.base.errors import UserError
from dam_tf.data.catalog import IMAGENETTE, IMAGEWOOF
from tests.data.test_folders import shades

WORDS = "n01\tgoldfish, Carassius auratus\nn02\tcrane\nn03\tcrane\nn99\tother\n"


@pytest.fixture
def make_tiny(make_tree, shade, write):
    """Makes a tree like Tiny ImageNet's, of three classes."""

    def make(inner="images"):
        root = make_tree(classes=("n01", "n02", "n03"), inner=inner)
        (root / "train" / "n01" / "n01_boxes.txt").write_text("0.JPEG\t0\t0\t3\t3\n")
        shutil.rmtree(root / "test")
        lines = []
        for number, name in enumerate(("n03", "n01", "n02", "n03")):
            write(root / "val" / "images" / f"val_{number}.JPEG", shade(30 * number))
            lines.append(f"val_{number}.JPEG\t{name}\t0\t0\t62\t62\n")
        (root / "val" / "val_annotations.txt").write_text("".join(lines))
        (root / "words.txt").write_text(WORDS)
        return root

    return make


@pytest.mark.parametrize("inner", ["images", ""])
def test_tiny_imagenet(make_tiny, load, inner):
    data = load("tiny_imagenet", data_dir=str(make_tiny(inner)))
    assert data.class_names == ("goldfish", "crane (n02)", "crane (n03)")
    assert data.train.offsets.tolist() == [0, 3, 6, 10]
    assert shades(data.train.class_images(2)) == [120, 121, 122, 123]
    assert data.test.offsets.tolist() == [0, 1, 2, 4]
    assert np.abs(np.subtract(shades(data.test.images), [30, 60, 0, 90])).max() <= 9


def test_images_that_the_annotations_lack_are_said(make_tiny, load, shade, write, said):
    root = make_tiny()
    write(root / "val" / "images" / "more.JPEG", shade(1))
    load("tiny_imagenet", data_dir=str(root))
    (line,) = said()
    assert line == "tiny_imagenet: 1 file is left out: 1 not in val_annotations.txt"


def test_tiny_imagenet_inside_data_dir_and_resized(make_tiny, load, tmp_path):
    make_tiny().rename(tmp_path / "tiny-imagenet-200")
    data = load("tiny_imagenet", data_dir=str(tmp_path), image_size=4, max_classes=2)
    assert data.train.images.shape == (6, 4, 4, 3) and len(data.test.images) == 2


def test_tiny_imagenet_with_sorted_val(make_tree, load):
    root = make_tree(classes=("n01", "n02"), inner="images", test_name="val")
    data = load("tiny_imagenet", data_dir=str(root))
    assert data.class_names == ("n01", "n02") and len(data.test.images) == 4


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (
            lambda root: (root / "val/val_annotations.txt").unlink(),
            "annotations.txt is m",
        ),
        (
            lambda root: (root / "val/val_annotations.txt").write_text(
                "val_0.JPEG n03\n"
            ),
            "line 1: expected 'file<TAB>wnid",
        ),
        (
            lambda root: (root / "val/val_annotations.txt").write_text(
                "val_0.JPEG\tn7\n"
            ),
            "line 1: expected .* not 'val_0.JPEG.tn7'",
        ),
        (
            lambda root: (root / "val/images/val_1.JPEG").unlink(),
            "line 2: no such image: .*val_1.JPEG",
        ),
        (
            lambda root: (root / "val/val_annotations.txt").write_text(
                "val_1.JPEG\tn01\n"
            ),
            "class 'n02' has no image in .*val_annotations.txt",
        ),
        (lambda root: shutil.rmtree(root / "train"), "found no train/ in"),
    ],
)
def test_broken_tiny_imagenet(make_tiny, load, change, pattern):
    root = make_tiny()
    change(root)
    with pytest.raises(UserError, match=pattern):
        load("tiny_imagenet", data_dir=str(root))


@pytest.mark.parametrize("name", ["tiny_imagenet", "imagewoof", "imagesquawk"])
def test_local_sets_need_a_folder(load, name):
    with pytest.raises(UserError, match=rf"{name} is read from local .*--data_dir"):
        load(name)


def test_subset_of_imagenet(make_tree, load):
    classes = ("n00000001", *IMAGENETTE, "n99999999")  # and two that it leaves out
    root = make_tree(classes=classes, train=1, test=1, test_name="val")
    data = load("imagenette", data_dir=str(root), image_size=4)
    assert data.class_names == tuple(IMAGENETTE.values())
    assert data.train.images.shape == (10, 4, 4, 3)
    assert shades(data.train.images) == list(range(110, 210, 10))


def test_subset_of_imagenet_is_128x128(make_tree, load):
    root = make_tree(classes=tuple(IMAGEWOOF), train=1, test=1, test_name="val")
    data = load("imagewoof", data_dir=str(root), max_classes=2)
    assert data.image_shape == (128, 128, 3)
    assert data.class_names == ("Australian terrier", "Border terrier")


def test_incomplete_subset_of_imagenet(make_tree, load):
    root = make_tree(classes=tuple(IMAGEWOOF), train=1, test=1, test_name="val")
    shutil.rmtree(root / "val" / "n02086240")
    with pytest.raises(UserError, match=r"class 'n02086240' has no folder .*val"):
        load("imagewoof", data_dir=str(root))


def test_folder_without_test_images_can_be_distilled(make_tree, load):
    root = make_tree()
    shutil.rmtree(root / "test")
    data = load(f"folder:{root}", max_classes=2)
    assert data.test is None and data.class_names == ("ant", "bee")
    assert shades(data.train.images) == [100, 101, 102, 110, 111, 112]
