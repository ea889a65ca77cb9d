"""Distils from images that do not fit into memory: what building and reading cost.

Images are generated on the fly and go into the cache on disk, in a process whose
memory, page cache included, is limited to less than the images take. Another such
process then runs real steps from that cache, one group of classes after the other,
and times what each step waits for its batches: read while the step waits for them,
read ahead by tf.data, and, as the floor, taken from memory.

    .venv/bin/python benchmarks/larger_than_memory.py
    .venv/bin/python benchmarks/larger_than_memory.py --classes=1000 --per_class=1300 \\
        --limit_mb=4096 --cache_dir=/mnt/fast_disk
"""

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import _limited_parts  # noqa: E402
import _tools  # noqa: E402
from _memory_limit import limited  # noqa: E402
from absl import flags  # noqa: E402

from dam_tf.base.errors import UserError  # noqa: E402

_CLASSES = flags.DEFINE_integer("classes", 1000, "classes", lower_bound=2)
_PER_CLASS = flags.DEFINE_integer("per_class", 240, "images of each", lower_bound=2)
_SIZE = flags.DEFINE_integer("image_size", 64, "height and width", lower_bound=8)
_LIMIT = flags.DEFINE_integer("limit_mb", 1536, "memory limit", lower_bound=64)
_BATCH = flags.DEFINE_integer("batch_real", 8, "real images per class per step")
_WIDTH = flags.DEFINE_integer("width", 16, "kernels of the ConvNet of the step")
_STEPS = flags.DEFINE_integer("steps", 3, "steps of a block", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 2, "blocks of each kind", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "of the images and of the batches")
_CACHE_DIR = flags.DEFINE_string(
    "cache_dir",
    str(ROOT / "build" / "larger_than_memory"),
    "on the disk that is tried",
)
_PART = flags.DEFINE_enum(
    "part", None, ["build", "read"], "what the limited process does; for itself only"
)

_PASSED_ON = ("classes", "per_class", "image_size", "limit_mb", "batch_real", "width")
_PASSED_ON += ("steps", "rounds", "seed", "cache_dir")
_NO_GROUP = "RLIMIT_DATA while building; pages dropped before each step"


def main() -> None:
    """Runs the parts in limited processes, and prints what they measured."""
    match _PART.value:
        case "build":
            print(json.dumps(_limited_parts.measured(_limited_parts.build)))
        case "read":
            print(json.dumps(_limited_parts.measured(_limited_parts.read)))
        case None:
            _run()


def _run() -> None:
    size = _CLASSES.value * (_PER_CLASS.value + 1) * _SIZE.value**2 * 3
    limit = _LIMIT.value << 20
    if size <= limit:
        raise UserError(
            f"--limit_mb={_LIMIT.value} is not less than the {size >> 20} MB that the "
            "images take; lower it, or give more --per_class"
        )
    side = _SIZE.value
    print(
        f"{_CLASSES.value} classes x {_PER_CLASS.value} images of {side}x{side}x3, "
        f"seed {_SEED.value}: {size / 1e9:.2f} GB; limit {limit / 1e9:.2f} GB\n"
        f"step: ConvNet of {_limited_parts.DEPTH} blocks, width {_WIDTH.value}, ipc 1, "
        f"no augmentation, {_BATCH.value} real images per class; {os.cpu_count()} CPUs",
        flush=True,
    )
    folder = pathlib.Path(_CACHE_DIR.value)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with limited(limit) as (prefix, words):
            words = words or _NO_GROUP
            print(f"limited by {words}\nbuilding the cache ...", flush=True)
            _print_build(_child("build", prefix), size)
        with limited(limit) as (prefix, _):
            print("reading it: ~2 minutes ...", flush=True)
            _print_read(_child("read", prefix))
    finally:
        shutil.rmtree(folder / "dam_tf_cache", ignore_errors=True)


def _child(part: str, prefix: list[str]) -> dict[str, Any]:
    given = [f"--{name}={flags.FLAGS[name].value}" for name in _PASSED_ON]
    command = [*prefix, sys.executable, __file__, *given, f"--part={part}"]
    environment = {**os.environ, _limited_parts.HAS_LIMIT: prefix[0] if prefix else ""}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
    if done.returncode:
        raise UserError(
            f"the process that should {part} ended with status {done.returncode} "
            f"(-9 or 137: it needed more than --limit_mb={_LIMIT.value})"
        )
    return json.loads(done.stdout.splitlines()[-1])


def _print_build(found: dict[str, Any], size: int) -> None:
    seconds, images = found["seconds"], found["images"]
    print(
        f"built in {seconds:.1f} s: {images / seconds:,.0f} images/s, "
        f"{size / seconds / 1e6:.0f} MB/s, checked once included; generating them "
        f"alone takes {found['generating']:.1f} s; anonymous memory at most "
        f"{found['anonymous'] / 1e6:.0f} MB; opened again in {found['open']:.3f} s"
    )


def _print_read(found: dict[str, Any]) -> None:
    size = found["step_bytes"]
    print(
        f"a step is {found['groups']} groups of classes, {size / 1e6:.0f} MB of images;"
        f" anonymous memory at most {found['anonymous'] / 1e6:.0f} MB"
    )
    print(f"{'batches':18}{'s a step':>16}{'waited, s':>18}{'share':>8}{'disk':>7}")
    for kind, steps in found["steps"].items():
        seconds = [step["seconds"] for step in steps]
        waited = [step["waited"] for step in steps]
        share = statistics.median(w / s for w, s in zip(waited, seconds, strict=True))
        disk = statistics.median(step["read"] / size for step in steps)
        print(f"{kind:18}{_spread(seconds):>16}{_spread(waited, 3):>18}", end="")
        print(f"{share:8.1%}{disk:7.2f}")
    print(
        "median (lowest-highest); share: of the step that is waiting; disk: bytes read "
        "from it over those of the images"
    )
    drained = found["drained"]
    print(
        f"without a step, read ahead: {drained:.2f} s for as many images, cold "
        f"({size / drained / 1e6:.0f} MB/s)\none group, cold, without a step:"
    )
    for way, groups in found["ways"].items():
        seconds = [group["seconds"] for group in groups]
        read = statistics.median(group["read"] for group in groups)
        print(f"  {way:14} {_spread(seconds, 3)} s, {read:.1f} times its bytes read")


def _spread(values: list[float], digits: int = 2) -> str:
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


if __name__ == "__main__":
    _tools.run(main)
