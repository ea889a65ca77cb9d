"""One image file: what counts as one."""

import pathlib

import numpy as np
import PIL.Image
import pytest

from dam_tf.data.sources.image_files import is_image, readable_extensions

NOISE = np.random.default_rng(0).integers(0, 256, [20, 24, 3], np.uint8)
IMAGE = PIL.Image.fromarray(NOISE)


def test_extensions_are_those_of_pictures():
    found = readable_extensions()
    assert {".jpg", ".jfif", ".tif", ".tiff", ".ppm", ".webp", ".png"} <= found
    assert not found & {".pdf", ".eps", ".ps", ".mpg", ".wmf", ".emf", ".h5"}
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in found)


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "bmp", "webp", "tiff", "ppm"])
def test_an_image_is_told_without_its_name(tmp_path, kind):
    file = tmp_path / "picture"
    IMAGE.save(file, kind)
    assert is_image(file)
    file.write_bytes(file.read_bytes()[:-20])
    assert is_image(str(file))  # a damaged one, which is not to vanish


@pytest.mark.parametrize("text", ["", "Python", "BMW", "P5: a list", "<html>", "II"])
def test_a_text_is_no_image(tmp_path: pathlib.Path, text):
    (tmp_path / "notes").write_text(text)
    assert not is_image(tmp_path / "notes")
