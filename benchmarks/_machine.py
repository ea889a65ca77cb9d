"""What the measurements ran on, in words."""

import importlib.metadata
import os
import platform

import _tools  # noqa: F401, which lets this checkout be imported

from dam_tf.base import machine


def describe() -> str:
    """Returns the processor, its cores, and the versions in use."""
    versions = " ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("tensorflow", "keras")
    )
    return (
        f"{processor()}, {len(os.sched_getaffinity(0))} cores, "
        f"{memory_bytes() / 1e9:.0f} GB; Python {platform.python_version()}, {versions}"
    )


def processor() -> str:
    """Returns the processor's name, and what speeds its convolutions up."""
    facts = machine.processor_facts()
    if not facts:
        return machine.processor()
    flags = facts.get("flags", "").split()
    known = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    extras = ", ".join(flag for flag in known if flag in flags)
    return (
        f"{machine.processor()} (family {facts.get('cpu family')}, model "
        f"{facts.get('model')}; {extras})"
    )


def memory_bytes() -> int:
    """Returns the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
