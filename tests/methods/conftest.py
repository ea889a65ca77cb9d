"""Features of real and synthetic images for every method."""

import pytest

from tests.methods.features import REAL, SYNTHETIC, some_features


@pytest.fixture
def real():
    return some_features(REAL, 1)


@pytest.fixture
def synthetic():
    return some_features(SYNTHETIC, 2)
