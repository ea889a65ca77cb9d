"""Sets that the tests of this folder share, in memory and on disk."""

import pathlib
import shutil

import numpy as np
import pytest

from dam_tf.data.preprocessing.preprocessing import Preprocessing, fit_preprocessing
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.synthetic.formation import decode
from dam_tf.synthetic.recipe import Recipe
from tests.synthetic.sets import NAMES


@pytest.fixture(scope="session")
def preprocessing() -> Preprocessing:
    real = np.random.default_rng(1).integers(0, 256, (20, 6, 5, 3), dtype=np.uint8)
    return fit_preprocessing("standardize", real)


@pytest.fixture(scope="session")
def distilled(preprocessing) -> DistilledSet:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(7, 6, 5, 3)).astype(np.float32)
    # What float32 has besides: both zeros, a denormal, the largest and the smallest.
    extremes = [0.0, -0.0, 1e-45, np.finfo(np.float32).max, np.finfo(np.float32).min]
    images[0, 0, :, 0] = extremes
    labels = [2, 0, 0, 3, 1, 0, 2]
    return DistilledSet(images, labels, NAMES, preprocessing, "folder:/my pictures")


@pytest.fixture(scope="session")
def saved(distilled, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("saved") / "run"
    distilled.save(folder)
    return folder


@pytest.fixture(scope="session")
def whole(distilled) -> DistilledSet:
    """A set with all that a set can have."""
    stored = np.random.default_rng(2).random((2, 6, 4, 3), np.float32)
    soft = np.full([8, 4], 0.1, np.float32)
    labels = np.array([0, 0, 0, 1, 2, 2, 2, 2])
    soft[np.arange(8), labels] = 0.7
    return DistilledSet(
        decode(stored, "factor:2"),
        labels,
        NAMES,
        name="pandas",
        soft_labels=soft,
        stored=stored,
        formation="factor:2",
        recipe=Recipe((0.02, 0.01), 2, batches=((0, 1), (7, 2))),
        provenance={"data": "0123abcd", "version": "1.2.3"},
        history={"loss": [2.0, 1.0]},
    )


@pytest.fixture
def run(saved, tmp_path) -> pathlib.Path:
    """A folder with `distilled`, to be damaged or written to."""
    return shutil.copytree(saved, tmp_path / "run")
