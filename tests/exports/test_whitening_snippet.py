"""The lines of docs/exports.md that whiten a test set give what dam_tf gives."""

import pathlib
import re

import numpy as np
import pytest

import dam_tf
from dam_tf.data.preprocessing.preprocessing import fit_preprocessing

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "exports.md"


@pytest.mark.parametrize("kind", ["none", "standardize", "zca", "standardize_zca"])
def test_the_lines_are_the_preprocessing(kind, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, [30, 4, 5, 3], np.uint8)
    layer = fit_preprocessing(kind, images)
    pixels = np.zeros([2, 4, 5, 3], np.float32)
    distilled = dam_tf.DistilledSet(pixels, np.array([0, 1]), ("cat", "dog"), layer)
    dam_tf.export(distilled, ["npz"], tmp_path / "out", dam_tf.make_config())
    lines = re.search(r"test = x_test.*?(?=```)", PAGE.read_text("utf-8"), re.DOTALL)[0]
    file = tmp_path / "out" / "npz" / "distilled.npz"
    names = {"x_test": images, "arrays": np.load(file, allow_pickle=False)}
    exec(lines, names)
    expected = layer(images.astype(np.float32) / 255).numpy()
    np.testing.assert_allclose(names["test"], expected, atol=1e-4)
