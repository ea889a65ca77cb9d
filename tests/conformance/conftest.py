"""Two replicas, for every suite of this folder."""

import pytest
import tensorflow as tf

from tests.replicas import two_replicas


@pytest.fixture(scope="module")
def strategy() -> tf.distribute.Strategy:
    return two_replicas()
