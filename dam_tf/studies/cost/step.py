"""What an iteration of distillation costs, measured in this process.

`cost.py` starts it in a process of its own, so that peaks of memory do not mix, and
speaks with it in lines of JSON: settings on standard input, progress and the result
on standard output.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TextIO

import numpy as np
import tensorflow as tf

from dam_tf.base.errors import UserError, choice_error
from dam_tf.base.machine import machine
from dam_tf.config.methods import METHODS
from dam_tf.config.settings import Config, from_dict, resolve
from dam_tf.data.loading import load_dataset
from dam_tf.data.preprocessing.preprocessing import fit_preprocessing
from dam_tf.data.real_data import RealData
from dam_tf.runs.distiller import create_distiller
from dam_tf.runs.loop import compile_steps
from dam_tf.synthetic.initial import initial_images

_WARM_UP = 3  # iterations that are not counted; the first one compiles
OUT_OF_MEMORY = "out of memory"


def measure(
    config: Config,
    iterations: int,
    on_progress: Callable[[int], Any] = lambda _: None,
    data: RealData | None = None,
) -> dict[str, Any]:
    """Runs the compiled step of a distillation, and returns what it cost.

    It is the loop of `distillation.distill`, called for one iteration at a time;
    batches of real images are made ahead, as there. Nothing is written.

    Args:
        config: The settings of the run.
        iterations: How many are averaged over, after a few to warm up.
        on_progress: Called with the iterations measured so far.
        data: The real data; loaded as `config.dataset` says if left out.

    Returns:
        `seconds_per_step` and its `deviation` over the iterations;
        `seconds_to_compile`, of the first call; `peak_memory`, bytes, during the
        iterations, of what `memory_of` says: the GPU, or the process, with its
        code and the real data; then `memory_before` is what the process held before
        the distiller was made. And the device.

    Raises:
        UserError: something given cannot be used.

    Example:
        >>> from dam_tf.config.settings import make_config
        >>> settings = {"distillation.batch_real": 4, "network.width": 4}
        >>> cost = measure(make_config(overrides=settings), 2)
        >>> cost["iterations"], cost["peak_memory"] > 0
        (2, True)
    """
    data = data or load_dataset(config.dataset)
    config = resolve(config, data.image_shape)
    settings = config.distillation
    kind = config.dataset.preprocessing_kind
    preprocessing = fit_preprocessing(kind, data.train.checked_images())
    images = initial_images(data.train, data.class_names, settings, preprocessing)
    before = _process_bytes("VmRSS")
    distiller = create_distiller(images, config, preprocessing)
    run_steps = compile_steps(distiller)
    streams = [iter(distiller.method.inputs(data, 0, _WARM_UP + iterations))]

    def step() -> float:
        start = time.perf_counter()
        run_steps(streams, tf.constant(1))["loss"].numpy()  # waits for the device
        return time.perf_counter() - start

    warm_up = [step() for _ in range(_WARM_UP)]
    _forget_peak()
    seconds = []
    for done in range(1, iterations + 1):
        seconds.append(step())
        on_progress(done)
    return {
        "seconds_per_step": float(np.mean(seconds)),
        "deviation": float(np.std(seconds)),
        "iterations": iterations,
        "seconds_to_compile": warm_up[0],
        **_peak(before),
        "classes": data.num_classes,
        "image_shape": list(data.image_shape),
    }


def check_methods(names: Sequence[str]) -> None:
    """Raises a `UserError` where one of `names` is no method.

    Args:
        names: Of methods, as in `METHODS`.
    """
    for name in names:
        if name not in METHODS:
            raise choice_error("method", name, METHODS)


def main() -> None:
    """Measures what standard input asks for; the counterpart of `cost.measure_apart`.

    Input is a JSON object with `config`, `iterations` and `methods`, names to check.
    Output are lines with `done`, then one with `result` or with `error`.
    """
    # Whatever else prints shall not come between.
    with os.fdopen(os.dup(1), "w", buffering=1) as output:
        os.dup2(2, 1)
        _answer(json.load(sys.stdin), output)


def _answer(asked: dict[str, Any], output: TextIO) -> None:
    def say(**line: Any) -> None:
        output.write(json.dumps(line) + "\n")

    try:
        check_methods(asked["methods"])
        config = from_dict(asked["config"])
        result = measure(config, asked["iterations"], lambda done: say(done=done))
        say(result=result)
    except UserError as error:
        say(error=str(error))
    except (MemoryError, tf.errors.ResourceExhaustedError):
        say(result={"failed": OUT_OF_MEMORY})


def _forget_peak() -> None:
    """Begins anew to watch for the peak of memory, where the system can."""
    if tf.config.list_physical_devices("GPU"):
        tf.config.experimental.reset_memory_stats("GPU:0")
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # Linux: the high-water mark becomes what is held now


def _peak(before: int | None) -> dict[str, Any]:
    found = machine()
    common = {"device": found["device"], "tensorflow": found["tensorflow"]}
    if "peak_device_bytes" in found:
        peak = found["peak_device_bytes"]
        return {"peak_memory": peak, "memory_of": "GPU", **common}
    # Without Linux's mark, the peak of the process' whole life must do.
    peak = _process_bytes("VmHWM") or found["peak_process_bytes"]
    line = {"peak_memory": peak, "memory_of": "process", **common}
    return line if before is None else {**line, "memory_before": before}


def _process_bytes(name: str) -> int | None:
    """Returns a line of Linux's /proc/self/status in bytes, None elsewhere."""
    with contextlib.suppress(OSError), open("/proc/self/status") as file:
        for line in file:
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None
