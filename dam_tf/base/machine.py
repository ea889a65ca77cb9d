"""Where work is done, and how much memory it has taken: what costs are told with.

psutil is no help here: it knows neither a processor's name nor Linux's mark of the
most memory, which can be set back. Only `machine` imports TensorFlow.
"""

import contextlib
import os
import pathlib
import platform
import resource
import sys
from typing import Any


def machine() -> dict[str, Any]:
    """Returns the device, TensorFlow's version and the peak memory so far.

    `device` is the accelerator's name, or the processor's with the cores that this
    process may use; `peak_process_bytes` is the most memory that the process has held,
    `peak_device_bytes` what TensorFlow has taken of the first GPU, where there is one.

    Example:
        >>> machine()["peak_process_bytes"] > 1e6
        True
    """
    import tensorflow as tf

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {
        "device": f"{processor()}, {_cores()}",
        "tensorflow": tf.__version__,
        "peak_process_bytes": peak * (1 if sys.platform == "darwin" else 1024),
    }
    if gpus := tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(gpus[0])
        found["device"] = details.get("device_name", "GPU")
        memory = tf.config.experimental.get_memory_info("GPU:0")
        found["peak_device_bytes"] = memory["peak"]
    return found


def processor() -> str:
    """Returns the processor's name."""
    return processor_facts().get("model name") or platform.machine()


def processor_facts() -> dict[str, str]:
    """Returns what Linux tells of the first processor, by name; nothing elsewhere."""
    facts = {}
    for line in _lines("/proc/cpuinfo"):
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    return facts


def process_bytes(name: str) -> int | None:
    """Returns how much memory this process has; None where the system is not Linux.

    Args:
        name: Which memory, as in /proc/self/status: `VmRSS`, all that it holds;
            `VmHWM`, the most so far; `RssAnon`, without what belongs to files.
    """
    for line in _lines("/proc/self/status"):
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return None


def forget_peak() -> None:
    """Makes what is held now the most memory so far, where the system is Linux."""
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/clear_refs").write_text("5")


def _lines(path: str) -> list[str]:
    with contextlib.suppress(OSError):
        return pathlib.Path(path).read_text("utf-8", "replace").splitlines()
    return []


def usable_cores() -> int:
    """Returns how many cores this process may use."""
    mask = getattr(os, "sched_getaffinity", None)
    return len(mask(0)) if mask else os.cpu_count() or 1


def _cores() -> str:
    cores = usable_cores()
    return f"{cores} core{'s' if cores != 1 else ''}"
