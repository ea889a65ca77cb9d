"""Runs that are stopped, and what two have left, compared to the last bit or nearly."""

import pathlib

import keras
import numpy as np

from dam_tf.base.json_lines import read_json_lines
from dam_tf.runs.state import state_files
from dam_tf.synthetic.distilled_set import DistilledSet


class StopAt(keras.callbacks.Callback):
    """Stops a run after the first call of the loop that ends there or later."""

    def __init__(self, iteration):
        super().__init__()
        self.iteration = iteration

    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = batch >= self.iteration


def snapshots(folder: pathlib.Path) -> dict[str, bytes]:
    """The content of each snapshot of a run, by its name."""
    paths = (folder / "snapshots").glob("*")
    return {path.name: path.read_bytes() for path in paths}


def final_state(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """The latest checkpoint of a run."""
    path = list(state_files(folder / "checkpoints").values())[-1]
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def assert_same_state(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> None:
    """Raises where two checkpoints differ in anything."""
    assert one.keys() == two.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, two[name])


def assert_same_run(folder: pathlib.Path, other: pathlib.Path) -> None:
    """Raises where states, images or metrics differ, but for the speed."""
    one, two = final_state(folder), final_state(other)
    assert_same_state(one, two)
    np.testing.assert_array_equal(
        DistilledSet.load(folder).images, DistilledSet.load(other).images
    )
    without_speed = [
        [{k: v for k, v in line.items() if "per_second" not in k} for line in lines]
        for lines in (
            read_json_lines(folder / "metrics.jsonl"),
            read_json_lines(other / "metrics.jsonl"),
        )
    ]
    assert without_speed[0] == without_speed[1]


def assert_nearly_same_run(folder: pathlib.Path, other: pathlib.Path) -> None:
    """Raises where states or losses of two runs with averages differ in more."""
    one, two = final_state(folder), final_state(other)
    assert one["iteration"] == two["iteration"] and "images/average" in one
    for name, values in one.items():
        np.testing.assert_allclose(values, two[name], rtol=0, atol=1e-5)
    lines = [read_json_lines(f / "metrics.jsonl") for f in (folder, other)]
    assert [x["iteration"] for x in lines[0]] == [x["iteration"] for x in lines[1]]
    np.testing.assert_allclose(
        [x["loss"] for x in lines[0]], [x["loss"] for x in lines[1]], rtol=1e-4
    )
