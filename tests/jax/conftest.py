"""What the tests in jax's environment share: programs that were recorded for them."""

import pytest

from tests.jax.running import RECORDED, Runs


def pytest_configure() -> None:
    if not RECORDED.is_dir():
        pytest.exit(f"{RECORDED} is missing; `make test-jax` writes it", returncode=2)


@pytest.fixture
def runs(tmp_path) -> Runs:
    """Runs programs in an empty folder."""
    return Runs(tmp_path)
