"""What every test and every doctest relies on: devices, random seeds and a budget.

The CPU is split into two logical devices, on which distribution is tested without
a second machine. That must come before anything else that TensorFlow does.
"""

import os
import time
from collections.abc import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import logging

# Seconds of the processor, of this process and of those that it started. `make test`
# stays quick because no test may take more, unless it is marked slow. Half of it should
# do: a busy machine's processors count more seconds for the same work.
BUDGET = 20

logging.set_verbosity(logging.ERROR)
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)


def cpu_seconds() -> float:
    """Seconds that processors worked for us, however busy the machine is."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def spend(item: pytest.Item) -> Iterator[None]:
    """Lets a test or its fixtures run, and fails it if that took too much."""
    start = cpu_seconds()
    result = yield
    spent = cpu_seconds() - start
    if spent > BUDGET and not item.get_closest_marker("slow"):
        pytest.fail(
            f"took {spent:.0f} seconds of the processor, and {BUDGET} are allowed: "
            "make it smaller, or mark it slow",
            pytrace=False,
        )
    return result


pytest_runtest_setup = pytest.hookimpl(wrapper=True)(spend)
pytest_runtest_call = pytest.hookimpl(wrapper=True)(spend)


@pytest.fixture(autouse=True)
def _seeds():
    """Makes a test independent of those that ran before it."""
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="module")
def eagerly() -> Iterator[None]:
    """For suites on files and settings: until the file ends, nothing is compiled.

    That a graph and XLA give the same values is tested in `tests/conformance`.
    """
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def compiled(eagerly) -> Iterator[None]:
    """For single tests of such a suite, which are about graphs or XLA."""
    tf.config.run_functions_eagerly(False)
    yield
    tf.config.run_functions_eagerly(True)


@pytest.fixture(autouse=True)
def _examples_run_eagerly(request):
    """The examples of docstrings show what is said, not how fast it goes."""
    if isinstance(request.node, pytest.DoctestItem):
        request.getfixturevalue("eagerly")


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(0)
