"""Features of real and synthetic images for every method, and pools of networks."""

import functools

import pytest

from tests.methods.features import REAL, SYNTHETIC, some_features
from tests.methods.pools import trained_pool


@pytest.fixture
def real():
    return some_features(REAL, 1)


@pytest.fixture
def synthetic():
    return some_features(SYNTHETIC, 2)


@pytest.fixture(scope="session")
def pool(tmp_path_factory):
    """Gives the folder of a pool, not to be changed, by the norm of its networks."""

    @functools.cache
    def of_norm(norm=None):
        return trained_pool(tmp_path_factory.mktemp("pool") / "pool", norm)

    return of_norm
