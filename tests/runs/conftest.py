"""A tiny data set and a finished run of it, for the tests of whole runs."""

import pathlib
import shutil

import pytest

from dam_tf.runs.run import distill
from tests.tiny_data import make_data, save_npz, tiny_config


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return save_npz(tmp_path_factory.mktemp("data") / "tiny.npz", make_data())


@pytest.fixture(scope="module")
def short_run(dataset, tmp_path_factory):
    """A finished run of six iterations, not to be changed."""
    folder = tmp_path_factory.mktemp("short") / "run"
    distill(tiny_config(dataset__name=dataset), folder)
    return folder


@pytest.fixture
def run(short_run, tmp_path):
    """A copy of the short run."""
    return pathlib.Path(shutil.copytree(short_run, tmp_path / "run"))
