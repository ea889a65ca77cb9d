"""What every test relies on: a quiet TensorFlow with two devices, and small data.

The CPU is split into two logical devices, on which distribution is tested without
a second machine. That must come before anything else that TensorFlow does.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import logging

logging.set_verbosity(logging.ERROR)
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)


@pytest.fixture(autouse=True)
def _seeds():
    """Makes a test independent of those that ran before it."""
    keras.utils.set_random_seed(0)


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(0)
