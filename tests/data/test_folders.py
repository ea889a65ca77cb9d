"""Folders of image files, one for each class: what is read and what is refused."""

import io
import os
import re
import shutil

import numpy as np
import PIL.Image
import pytest

from dam_tf.base.errors import UserError
from dam_tf.config.sections import DatasetConfig
from dam_tf.data.loading import open_source


def shades(images):
    """Returns the shade of each image: its last pixel."""
    return images[:, -1, -1, -1].tolist()


def test_folder_is_sorted_by_class(make_tree, load):
    data = load(f"folder:{make_tree()}")
    assert data.class_names == ("ant", "bee", "cat")
    assert data.image_shape == (8, 8, 3) and data.num_classes == 3
    assert data.train.images.dtype == np.uint8 and data.train.labels.dtype == np.int64
    assert data.train.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 4
    assert data.train.offsets.tolist() == [0, 3, 6, 10]
    assert shades(data.train.images) == [
        *range(100, 103),
        *range(110, 113),
        *range(120, 124),
    ]
    assert shades(data.test.images) == [100, 101, 110, 111, 120, 121]
    assert shades(data.train.class_images(1)) == [110, 111, 112]
    assert data.train.images[0, 0, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("test_name", ["val", "validation"])
def test_test_split_has_other_names_and_max_classes(make_tree, load, test_name):
    data = load(f"folder:{make_tree(test_name=test_name)}", max_classes=2)
    assert data.class_names == ("ant", "bee")
    assert len(data.train.images) == 6 and len(data.test.images) == 4


def test_more_images_than_a_chunk(make_tree, load, monkeypatch):
    monkeypatch.setattr("dam_tf.data.sources.image_batches.CHUNK", 2)
    data = load(f"folder:{make_tree()}")
    assert shades(data.train.class_images(2)) == [120, 121, 122, 123]


def test_formats(tmp_path, write, load):
    smooth = np.linspace(0, 255, 16 * 12 * 3).reshape(16, 12, 3).astype(np.uint8)
    suffixes = ["BMP", "JPEG", "bmp", "gif", "jpg", "png", "webp"]
    for suffix in suffixes:
        options = {"lossless": True} if suffix == "webp" else {"quality": 95}
        for split in ("train", "test"):
            for name in ("a", "b"):
                write(tmp_path / split / name / f"1.{suffix}", smooth, **options)
    images = load(f"folder:{tmp_path}").train.class_images(0)
    assert images.shape == (7, 16, 12, 3)
    errors = np.abs(images.astype(int) - smooth).max(axis=(1, 2, 3))
    expected = [0, 8, 0, 16, 8, 0, 0]  # a gif has 256 colours
    assert (errors <= expected).all()


def test_first_frame_of_an_animation(tmp_path, make_tree, shade, load):
    root = make_tree()
    frames = [PIL.Image.fromarray(shade(value)) for value in (50, 200)]
    file = root / "train" / "ant" / "a.gif"
    frames[0].save(file, save_all=True, append_images=frames[1:])
    assert shades(load(f"folder:{root}").train.images)[3] == 50


def test_what_is_no_image_is_ignored(make_tree, load):
    root = make_tree()
    for place in (root, root / "train", root / "train" / "ant"):
        for name in ("Thumbs.db", ".DS_Store", "readme.txt", ".hidden.png"):
            (place / name).write_text("no image")
    (root / "train" / ".git").mkdir()
    (root / "train" / "ant" / "folder.png").mkdir()
    assert load(f"folder:{root}").train.offsets.tolist() == [0, 3, 6, 10]


def test_grey_stays_grey(make_tree, load):
    data = load(f"folder:{make_tree(channels=1)}")
    assert data.image_shape == (8, 8, 1)
    assert shades(data.test.images) == [100, 101, 110, 111, 120, 121]


def test_one_colour_image_makes_all_colour(make_tree, shade, write, load):
    root = make_tree(channels=1)
    write(root / "test" / "cat" / "9.png", shade(77))
    data = load(f"folder:{root}")
    assert data.image_shape == (8, 8, 3)
    assert data.train.images[0, 3, 3].tolist() == [100] * 3


@pytest.mark.parametrize("channels", [1, 3])
def test_kinds_of_png(make_tree, load, channels):
    root = make_tree(channels=1)
    image = PIL.Image.new("RGB", (8, 8), (255, 0, 0))
    for mode in {1: ("1", "L", "LA"), 3: ("P", "RGB", "RGBA")}[channels]:
        image.convert(mode).save(root / "train" / "ant" / f"png-{mode}.png")
    data = load(f"folder:{root}")
    assert data.image_shape[2] == channels
    expected = [255, 0, 0] if channels == 3 else [76]
    assert data.train.images[4, 5, 5].tolist() == expected


def test_mixed_sizes_take_the_most_common_and_say_so_once(
    make_tree, shade, write, load, said
):
    root = make_tree()
    write(root / "train" / "ant" / "big.png", shade(200, (16, 20)))
    write(root / "test" / "bee" / "small.png", shade(90, (4, 4)))
    data = load(f"folder:{root}")
    assert data.image_shape == (8, 8, 3)
    assert shades(data.train.images)[3] == 200 and shades(data.test.images)[4] == 90
    (line,) = [line for line in said() if "another size" in line]
    assert "2 of 18 images are of another size; resized to 8x8" in line


def test_image_size_resizes_all(make_tree, load):
    data = load(f"folder:{make_tree(size=(16, 24))}", image_size=8)
    assert data.image_shape == (8, 8, 3)
    assert shades(data.train.class_images(1)) == [110, 111, 112]


def test_resizing_keeps_the_aspect_and_the_centre(tmp_path, write, load):
    # Stripes of 4 pixels, of which the outer ones lie outside the central square.
    stripes = np.repeat([[0, 50, 100, 150, 200, 250]], 8, 0).repeat(4, 1)
    image = stripes.astype(np.uint8)[:16]
    for split in ("train", "test"):
        for name in ("a", "b"):
            write(tmp_path / split / name / "1.png", image)
    image = load(f"folder:{tmp_path}", image_size=4).train.images[0, :, :, 0]
    assert image.shape == (4, 4)
    assert (np.abs(image.astype(int) - [100, 100, 150, 150]) <= 13).all()


def test_shrinking_is_antialiased(tmp_path, write, load):
    checkers = (np.indices((32, 32)).sum(0) % 2 * 255).astype(np.uint8)
    for split in ("train", "test"):
        for name in ("a", "b"):
            write(tmp_path / split / name / "1.png", checkers)
    image = load(f"folder:{tmp_path}", image_size=8).train.images[0]
    assert (np.abs(image[1:-1, 1:-1].astype(int) - 127) <= 2).all()


# What is wrong, and what is said of it.


def refused(load, root, pattern, **settings):
    with pytest.raises(UserError, match=pattern) as caught:
        load(f"folder:{root}", **settings)
    assert "\n" not in str(caught.value)


def test_missing_folder(tmp_path, load):
    refused(load, tmp_path / "nowhere", "nowhere does not exist; give a folder")


def test_file_for_a_folder(tmp_path, load):
    (tmp_path / "file").write_text("")
    refused(load, tmp_path / "file", "file is a file; give a folder")


def test_empty_folder(tmp_path, load):
    refused(load, tmp_path, "has no folder train/ .it holds: nothing.")


def test_without_training_images(make_tree, load):
    root = make_tree()
    shutil.rmtree(root / "train")
    refused(load, root, "has no folder train/")


def test_split_without_classes(make_tree, load):
    root = make_tree()
    shutil.rmtree(root / "train")
    (root / "train").mkdir()
    refused(load, root, "train has no class folders")


def test_single_class(make_tree, load):
    refused(load, make_tree(classes=("ant",)), "has 1 class; .* at least 2")


def test_too_many_classes_wanted(make_tree, load):
    refused(load, make_tree(), "max_classes is 4, but .* has 3 classes", max_classes=4)


@pytest.mark.parametrize("split", ["train", "test"])
def test_class_without_images(make_tree, load, split):
    root = make_tree()
    for file in (root / split / "bee").iterdir():
        file.rename(file.with_suffix(".txt"))
    held = "3 .txt" if split == "train" else "2 .txt"
    refused(load, root, f"class 'bee' has no image in .*{split}.bee .it holds: {held}")


def test_classes_differ(make_tree, load):
    root = make_tree()
    (root / "test" / "dog").mkdir()
    refused(load, root, "classes of .*test that .*train lacks: dog;")
    (root / "test" / "dog").rmdir()
    shutil.rmtree(root / "test" / "ant")
    refused(load, root, "classes of .*train that .*test lacks: ant;")


def encoded(suffix):
    data = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, [32, 32, 3], np.uint8)
    PIL.Image.fromarray(noise).save(data, suffix)
    return data.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.jpg", b"this is no image"),
        ("empty.jpg", b""),
        ("head.png", encoded("png")[:20]),
        ("cut.png", encoded("png")[:-500]),
        ("head.jpg", encoded("jpeg")[:100]),
        ("cut.jpg", encoded("jpeg")[:-500]),
        ("cut.gif", encoded("gif")[:-500]),
        ("cut.bmp", encoded("bmp")[:-500]),
        ("cut.webp", encoded("webp")[:-200]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_unreadable_image_is_named(make_tree, load, name, content):
    root = make_tree()
    file = root / ("test" if name == "text.jpg" else "train") / "bee" / name
    file.write_bytes(content)
    refused(load, root, f"cannot read image {re.escape(str(file))}: .*[^.]; replace or")


def test_bmp_of_a_palette_is_read(make_tree, load):
    root = make_tree()
    image = PIL.Image.new("RGB", (8, 8), (255, 0, 0)).convert("P")
    image.save(root / "train" / "ant" / "9.bmp")
    assert load(f"folder:{root}").train.images[3, 4, 4].tolist() == [255, 0, 0]


# What is said of images that are not like most.


def test_grey_among_colour_is_said_once(make_tree, shade, write, load, said):
    root = make_tree()
    write(root / "train" / "ant" / "grey.png", shade(70, channels=1))
    write(root / "test" / "ant" / "grey.png", shade(70, channels=1))
    data = load(f"folder:{root}")
    assert data.train.images[3, 5, 5].tolist() == [70, 70, 70]
    (line,) = said()
    assert "2 of 18 images are grey, and become colour" in line


def test_animations_are_said_once(make_tree, load, said):
    root = make_tree()
    frames = [PIL.Image.new("RGB", (8, 8), (shade,) * 3) for shade in (50, 200)]
    for split in ("train", "test"):
        for suffix in ("gif", "webp", "png", "tif"):
            file = root / split / "ant" / f"x.{suffix}"
            frames[0].save(file, save_all=True, append_images=frames[1:])
    expected = load(f"folder:{root}").train.class_images(0)[3:, 5, 5, 0]
    assert set(expected.tolist()) == {50}
    (line,) = said()
    assert " are animations or have several pages; the first frame is read" in line


def test_sixteen_bits_are_said_once(make_tree, write, load, said):
    root = make_tree(channels=1)
    for split in ("train", "test"):
        write(root / split / "ant" / "x.png", np.full((8, 8), 4095, np.uint16))
    assert load(f"folder:{root}").train.images[3, 5, 5].tolist() == [16]
    (line,) = said()
    assert "2 of 18 images have 16 bits; of their values, 65535 becomes white" in line


def test_transparent_images_are_counted_once(make_tree, load, said):
    root = make_tree()
    for split, alpha in (("train", 0), ("train", 255), ("test", 128)):
        image = PIL.Image.new("RGBA", (8, 8), (10, 20, 30, alpha))
        image.save(root / split / "ant" / f"alpha{alpha}.png")
    images = load(f"folder:{root}").train.class_images(0)
    assert images[3:, 5, 5].tolist() == [[255, 255, 255], [10, 20, 30]]
    (line,) = said()
    assert line.endswith(": 2 images have transparent pixels, which are laid on white")


def test_most_images_decide_by_how_they_are_shown(make_tree, load, said):
    root = make_tree(size=(8, 12))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    for file in root.glob("t*/*/*.png"):
        with PIL.Image.open(file) as image:
            image.save(file, exif=exif)
    data = load(f"folder:{root}")
    assert data.image_shape == (12, 8, 3) and said() == []
    assert data.train.images[0, :, :, 0].argmin() == 7  # the black pixel, top right


def identity(root):
    return open_source(DatasetConfig(f"folder:{root}")).identity


def test_identity_is_of_what_lies_in_the_folder(make_tree, tmp_path):
    root = make_tree()
    before = identity(root)
    root.rename(tmp_path / "moved")
    assert identity(tmp_path / "moved") == before
    file = tmp_path / "moved/train/ant/0.png"
    stat, data = file.stat(), bytearray(file.read_bytes())
    data[-20] ^= 1
    file.write_bytes(data)  # as archives do, which keep times, or give all the same
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert identity(tmp_path / "moved") != before
    file.rename(file.with_name("00.png"))
    assert identity(tmp_path / "moved") != before
