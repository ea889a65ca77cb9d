"""Where work is done, and how much memory it has taken: what costs are told with."""

import os
import platform
import resource
import sys
from typing import Any

import tensorflow as tf


def machine() -> dict[str, Any]:
    """Returns the device, TensorFlow's version and the peak memory so far.

    `device` is the accelerator's name, or the processor's with the cores that this
    process may use; `peak_process_bytes` is the most memory that the process has held,
    `peak_device_bytes` what TensorFlow has taken of the first GPU, where there is one.

    Example:
        >>> machine()["peak_process_bytes"] > 1e6
        True
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {
        "device": _processor(),
        "tensorflow": tf.__version__,
        "peak_process_bytes": peak * (1 if sys.platform == "darwin" else 1024),
    }
    if gpus := tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(gpus[0])
        found["device"] = details.get("device_name", "GPU")
        memory = tf.config.experimental.get_memory_info("GPU:0")
        found["peak_device_bytes"] = memory["peak"]
    return found


def _processor() -> str:
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    name = line.partition(":")[2].strip()
                    break
    except OSError:
        pass
    cores = (
        len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count()
    )
    return f"{name}, {cores} core{'s' if cores != 1 else ''}"
