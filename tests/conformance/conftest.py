"""Two replicas, for every suite of this folder."""

import pytest
import tensorflow as tf


@pytest.fixture(scope="module")
def strategy() -> tf.distribute.Strategy:
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    assert len(devices) >= 2, "conftest.py is to split the CPU into two devices"
    return tf.distribute.MirroredStrategy(devices[:2])
