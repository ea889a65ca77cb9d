"""What an iteration of distillation costs, measured in this process.

`report.py` calls it in a process of its own, so that peaks of memory do not mix.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dam_tf.base.machine import forget_peak, machine, process_bytes
from dam_tf.config.settings import Config, resolve
from dam_tf.data.identity import Identity
from dam_tf.data.loading import load_dataset
from dam_tf.data.preprocessing.preprocessing import fit_to_data
from dam_tf.data.real_data import RealData
from dam_tf.data.source import Contents
from dam_tf.runs.checks import check_distillation
from dam_tf.runs.distiller import create_distiller
from dam_tf.runs.loop import compile_steps
from dam_tf.synthetic.initial import initial_images

OUT_OF_MEMORY = (MemoryError, tf.errors.ResourceExhaustedError)
_WARM_UP = 3  # iterations that are not counted; the first one compiles


def measure(
    config: Config,
    iterations: int,
    on_progress: Callable[[int], Any] = lambda _: None,
    data: RealData | None = None,
) -> dict[str, Any]:
    """Runs the compiled step of a distillation, and returns what it cost.

    It is the loop of `runs.run.distill`, called for one iteration at a time;
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
        >>> from dam_tf import make_config
        >>> settings = {"distillation.batch_real": 4, "network.width": 4}
        >>> cost = measure(make_config(overrides=settings), 2)
        >>> cost["iterations"], cost["peak_memory"] > 0
        (2, True)
    """
    data = data or load_dataset(config.dataset)
    config = resolve(config, data.image_shape)
    settings = config.distillation
    preprocessing = fit_to_data(config.dataset, data)
    images = initial_images(data.train, data.class_names, settings, preprocessing)
    before = process_bytes("VmRSS")
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


def check(config: Config, configs: Sequence[Config]) -> dict[str, Any]:
    """Returns which data are measured on, as `dataclasses.asdict` of an `Identity`.

    Args:
        config: Its section `dataset` says which.
        configs: Settings of what is to be measured on them.

    Raises:
        UserError: one of the runs that are to be measured would be refused.
    """

    def check_all(found: RealData | Contents) -> None:
        for one in configs:
            check_distillation(one, found)

    return dataclasses.asdict(Identity.of(load_dataset(config.dataset, check_all)))


def _forget_peak() -> None:
    """Begins anew to watch for the peak of memory, where the system can."""
    if tf.config.list_physical_devices("GPU"):
        tf.config.experimental.reset_memory_stats("GPU:0")
    forget_peak()


def _peak(before: int | None) -> dict[str, Any]:
    found = machine()
    common = {"device": found["device"], "tensorflow": found["tensorflow"]}
    if "peak_device_bytes" in found:
        peak = found["peak_device_bytes"]
        return {"peak_memory": peak, "memory_of": "GPU", **common}
    # Without Linux's mark, the peak of the process' whole life must do.
    peak = process_bytes("VmHWM") or found["peak_process_bytes"]
    line = {"peak_memory": peak, "memory_of": "process", **common}
    return line if before is None else {**line, "memory_before": before}
