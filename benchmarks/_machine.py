"""What the measurements ran on, in words."""

import importlib.metadata
import os
import pathlib
import platform


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
    name, extras = platform.processor() or platform.machine(), []
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return name
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    name = fields.get("model name", name)
    flags = fields.get("flags", "").split()
    for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16"):
        if flag in flags:
            extras.append(flag)
    family = fields.get("cpu family"), fields.get("model")
    return f"{name} (family {family[0]}, model {family[1]}; {', '.join(extras)})"


def memory_bytes() -> int:
    """Returns the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
