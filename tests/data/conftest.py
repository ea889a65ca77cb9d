"""Small trees of image files, and what the project says while it reads them."""

import logging
import pathlib
from collections.abc import Callable

import numpy as np
import PIL.Image
import pytest

from dam_tf.config.sections import DatasetConfig
from dam_tf.data.cache import cache_build, disk_cache
from dam_tf.data.loading import load_dataset
from dam_tf.data.real_data import RealData

collect_ignore = ["record_kornia.py"]


def _shade(value: int, size: tuple[int, int] = (8, 8), channels: int = 3):
    """Returns an image [height, width(, 3)] of one shade, its first pixel black."""
    image = np.full(size if channels == 1 else (*size, channels), value, np.uint8)
    image[0, 0] = 0
    return image


def _write(file: pathlib.Path, image: np.ndarray, **options) -> pathlib.Path:
    """Writes an image in the format that the file's name says."""
    file.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(image).save(file, **options)
    return file


@pytest.fixture
def shade():
    return _shade


@pytest.fixture
def write():
    return _write


@pytest.fixture
def make_tree(tmp_path) -> Callable[..., pathlib.Path]:
    """Makes `train/<class>/*.png` and `test/<class>/*.png`, and returns the root.

    Each image is of one shade: 100 for the first class, 110 for the second, …, plus
    its number. Each class has `train` training images, the last one more.
    """

    def make(
        classes=("ant", "bee", "cat"),
        train=3,
        test=2,
        root=tmp_path / "tree",
        inner="",
        test_name="test",
        **options,
    ) -> pathlib.Path:
        for label, name in enumerate(classes):
            last = label == len(classes) - 1
            for split, count in (("train", train + last), (test_name, test)):
                for number in range(count):
                    image = _shade(100 + 10 * label + number, **options)
                    _write(root / split / name / inner / f"{number}.png", image)
        return root

    return make


@pytest.fixture
def load() -> Callable[..., RealData]:
    """Loads a data set by name and settings."""
    return lambda name, **settings: load_dataset(DatasetConfig(str(name), **settings))


@pytest.fixture
def said(caplog) -> Callable[[], list[str]]:
    """Returns the lines that were said so far."""
    caplog.set_level(logging.INFO, "dam_tf")
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.fixture
def npz(tmp_path, rng):
    """An npz file of 600 images, which are read in three chunks."""
    file = tmp_path / "data.npz"
    labels = rng.integers(0, 3, 600)
    images = rng.integers(0, 256, [600, 4, 4, 3], np.uint8)
    np.savez(
        file, x_train=images, y_train=labels, x_test=images[:50], y_test=labels[:50]
    )
    return f"npz:{file}"


@pytest.fixture
def builds(monkeypatch):
    """Collects the caches that are built."""
    built = []
    original = disk_cache._build
    monkeypatch.setattr(
        disk_cache,
        "_build",
        lambda folder, *rest: (built.append(folder), original(folder, *rest)),
    )
    return built


@pytest.fixture
def written(monkeypatch):
    """Counts the images that are written."""
    counts = []
    original = cache_build._SplitWriter.write
    monkeypatch.setattr(
        cache_build._SplitWriter,
        "write",
        lambda self, rows, images: (
            counts.append(len(rows)),
            original(self, rows, images),
        ),
    )
    return counts
