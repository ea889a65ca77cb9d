"""Two replicas on the processor, for all tests of a process.

Strategies of one process number their collectives alike, so two of them on the same
devices would take each other's tensors.
"""

import functools

import tensorflow as tf


@functools.cache
def two_replicas() -> tf.distribute.Strategy:
    """Returns the one strategy of this process."""
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    assert len(devices) >= 2, "conftest.py is to split the CPU into two devices"
    return tf.distribute.MirroredStrategy(devices[:2])
