"""What the process of a cell calls in tests of `studies/benchmark/study.py`.

It stands for `work.py`, without TensorFlow, so that such a process starts at once. What
it does is written into the settings: the number of iterations says it.
"""

import dataclasses
import os
import pathlib
import signal
import time

from dam_tf.base.errors import DivergedError, UserError
from dam_tf.base.interruption import Interrupted, stop_on_signals
from dam_tf.data.identity import Identity

OUT_OF_MEMORY = (MemoryError,)
REFUSED, DIVERGES, MEMORY, MISTAKE, KILLED, SLEEPS = 101, 102, 103, 104, 105, 106
STOPS = 107
NONE = 13  # experts


def check(config, cells):
    """Says of any data set that it has two images of each class."""
    names = ("circle", "cross", "square")
    found = Identity("tiny", "", names, (8, 8, 1), (2, 2, 2), "1", (1, 1, 1), "2")
    refused = {
        name: "cannot be on these data"
        for name, (_, settings) in cells.items()
        if settings["distillation"]["iterations"] == REFUSED
    }
    return {"data": dataclasses.asdict(found), "refused": refused, "gpus": 0}


def experts(config, count, epochs, folder):
    """Makes a folder of experts, and says that it did."""
    if count == NONE:
        raise UserError("networks cannot be trained")
    path = pathlib.Path(folder)
    path.mkdir(parents=True)
    (path / "settings.json").write_text("{}")
    _say(path, f"experts {count} {epochs}")
    return {"seconds": 1.0}


def make(folder, kind, config, protocol, plain, own):
    """Does what the number of iterations says; tells that it was called."""
    path = pathlib.Path(folder)
    _say(path.parents[2], "/".join(path.parts[-3:]))
    what = config["distillation"]["iterations"]
    if what == DIVERGES:
        raise DivergedError("the loss became nan")
    if what == MEMORY:
        raise MemoryError
    if what == MISTAKE:
        raise KeyError("ours")
    if what == KILLED and not (path / "again").exists():
        (path / "again").touch()
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    if what == SLEEPS:
        time.sleep(1)
    if what == STOPS and not (path / "again").exists():
        with stop_on_signals() as stop:
            (path / "again").touch()
            while not stop:
                time.sleep(0.05)
        _say(path.parents[2], "saved")
        raise Interrupted("stopped after iteration 3", stop.signal_number)
    print("a line that the user sees")
    seed, ipc = config["distillation"]["seed"], config["distillation"]["ipc"]
    accuracies = {"common": [0.1 * (ipc + seed), 0.1 * (ipc + seed) + 0.02]}
    if plain:
        accuracies["plain"] = [0.1]
    return {
        "accuracies": accuracies,
        "seconds": {"make": 2.0, "evaluate": 1.0},
        "time_lost": False,
        "iterations": what,
        "seconds_per_step": 0.5,
        "peak_memory": 2**20 * 100,
        "memory_of": "process",
        "stored_images": 3 * ipc,
        "stored_bytes": 2048,
        "device": f"processor {os.environ.get('CUDA_VISIBLE_DEVICES')}",
        "tensorflow": "2",
    }


def _say(folder, line):
    with open(folder / "calls", "a") as file:
        file.write(f"{line}\n")


def calls(folder):
    """Returns what was called in the processes of a benchmark."""
    path = pathlib.Path(folder) / "calls"
    return path.read_text().splitlines() if path.exists() else []


if __name__ == "__main__":  # a benchmark that is to be killed, or one beside another
    import sys

    from dam_tf.base import messages
    from dam_tf.studies.benchmark import study
    from dam_tf.studies.rows import Base, Row

    messages.show()
    study._MODULE = "tests.studies.benchmark_child"
    study._LOOK_EVERY = 0.2
    place, what = sys.argv[1:]
    made = [Row(name, name) for name in ("dm", "datadam", "dc")]
    made[1] = Row("datadam", "datadam", {"distillation.iterations": int(what)})
    base = Base(overrides={"distillation.iterations": 7})
    try:
        study.run_benchmark(made, base, study.Extent(), place, resume=True)
    except Interrupted as error:
        assert "what is finished is kept" in str(error)
        sys.exit(7 + error.signal_number)
