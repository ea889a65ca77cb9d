"""What the tests beside tensorflow-addons share: the results recorded by dam_tf."""

import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def recorded() -> pathlib.Path:
    """The folder that record.py wrote."""
    folder = ROOT / "build" / "addons"
    if not folder.is_dir():
        pytest.exit(f"{folder} is missing; `make test-addons` writes it", returncode=2)
    return folder


@pytest.fixture(scope="session")
def parity(recorded):
    """Inputs and results of our operations, by name."""
    with np.load(recorded / "parity.npz", allow_pickle=False) as arrays:
        return dict(arrays)
