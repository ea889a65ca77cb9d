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

import itertools
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import _tools  # noqa: E402
from _memory_limit import limited  # noqa: E402
from absl import flags  # noqa: E402

from dam_tf.base.errors import UserError  # noqa: E402
from dam_tf.base.messages import progress_bar  # noqa: E402
from dam_tf.data.cache.disk_cache import build_cache, cache_folder  # noqa: E402
from dam_tf.data.real_data import RealData  # noqa: E402
from dam_tf.data.source import CHUNK, Contents, SplitContents  # noqa: E402

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

_HAS_LIMIT = "DAM_TF_BENCHMARK_LIMIT"  # set for a process in a control group
_PASSED_ON = ("classes", "per_class", "image_size", "limit_mb", "batch_real", "width")
_PASSED_ON += ("steps", "rounds", "seed", "cache_dir")
_NO_GROUP = "RLIMIT_DATA while building; pages dropped before each step"
_DEPTH = 2
_GROUPS_READ = 6  # of classes, for each way of reading them without a step


def main() -> None:
    """Runs the parts in limited processes, and prints what they measured."""
    match _PART.value:
        case "build":
            print(json.dumps(_measured(_build)))
        case "read":
            print(json.dumps(_measured(_read)))
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
        f"step: ConvNet of {_DEPTH} blocks, width {_WIDTH.value}, ipc 1, no "
        f"augmentation, {_BATCH.value} real images per class; {os.cpu_count()} CPUs",
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
    environment = {**os.environ, _HAS_LIMIT: prefix[0] if prefix else ""}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
    if done.returncode:
        raise UserError(
            f"the process that should {part} ended with status {done.returncode} "
            f"(-9 or 137: it needed more than --limit_mb={_LIMIT.value})"
        )
    return json.loads(done.stdout.splitlines()[-1])


# What a limited process does.


def _contents() -> Contents:
    """Images of random pixels, of one class after the other, as a stream."""

    def split(per_class: int, stream: int) -> SplitContents:
        classes, shape = _CLASSES.value, (_SIZE.value, _SIZE.value, 3)

        def chunks(first: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for start in range(first, classes * per_class, CHUNK):
                numbers = np.arange(start, min(start + CHUNK, classes * per_class))
                rng = np.random.Generator(np.random.SFC64([_SEED.value, stream, start]))
                raw = rng.bytes(len(numbers) * int(np.prod(shape)))
                images = np.frombuffer(raw, np.uint8).reshape(-1, *shape)
                yield images, numbers % classes

        return SplitContents(np.full([classes], per_class, np.int64), chunks)

    names = tuple(f"class {k}" for k in range(_CLASSES.value))
    shape = (_SIZE.value, _SIZE.value, 3)
    return Contents(names, shape, split(_PER_CLASS.value, 1), split(1, 2))


def _open_or_build() -> RealData:
    folder = cache_folder("generated", _settings(), _CACHE_DIR.value)
    return build_cache(folder, "generated", _contents())


def _settings() -> str:
    return f"{_CLASSES.value} {_PER_CLASS.value} {_SIZE.value} {_SEED.value}"


def _build() -> dict[str, Any]:
    start = time.perf_counter()
    data = _open_or_build()
    seconds = time.perf_counter() - start
    images = len(data.train.images) + len(data.test.images)
    start = time.perf_counter()
    _open_or_build()
    opened = time.perf_counter() - start
    start = time.perf_counter()
    generated = sum(
        len(labels) for _, labels in itertools.islice(_contents().train.chunks(0), 20)
    )
    generating = (time.perf_counter() - start) * images / generated
    return {
        "seconds": seconds,
        "images": images,
        "open": opened,
        "generating": generating,
    }


def _read() -> dict[str, Any]:
    """Times steps, in blocks that take turns, and then reading alone."""
    data = _open_or_build()
    for split in (data.train, data.test):
        split.file.forget()  # or what the build left would be read from memory
    _tools.import_tensorflow()
    distiller, batches = _distiller(data)
    kinds = {
        "from memory": _from_memory,
        "read when needed": _read_when_needed,
        "read ahead": _read_ahead,
    }
    steps: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    per_block, size = _STEPS.value + 1, distiller.classes_per_group
    blocks = [(block, kind) for block in range(_ROUNDS.value) for kind in kinds]
    bar = progress_bar("steps", "step", total=len(blocks) * per_block, leave=False)
    for block, kind in blocks:
        first = block * per_block
        source = _Timed(kinds[kind](data, batches, size, first, first + per_block))
        for step in range(per_block):
            timed = _step(distiller, source, data)
            if step:  # the first of a block fills what is read ahead, or compiles
                steps[kind].append(timed)
            bar.update()
    bar.close()
    return {
        "ways": _ways(data, batches, size),
        "drained": _drained(data, batches, blocks[-1][0] * per_block),
        "steps": steps,
        "groups": distiller.groups,
        "step_bytes": _CLASSES.value * _BATCH.value * _SIZE.value**2 * 3,
    }


class _Timed:
    """Counts the seconds that `next` takes."""

    def __init__(self, batches: Iterator):
        self._batches = iter(batches)
        self.seconds = 0.0

    def __next__(self):
        start = time.perf_counter()
        batch = next(self._batches)
        self.seconds += time.perf_counter() - start
        return batch


def _step(distiller, source: _Timed, data: RealData) -> dict[str, float]:
    """Runs Algorithm 1's step, its groups compiled and waited for one by one."""
    if not os.environ.get(_HAS_LIMIT):
        data.train.file.forget()  # nothing else keeps the images out of memory
    read, waited, start = _bytes_read(), source.seconds, time.perf_counter()
    float(distiller.train_step(source)["loss"])
    return {
        "seconds": time.perf_counter() - start,
        "waited": source.seconds - waited,
        "read": _bytes_read() - read,
    }


def _from_memory(data: RealData, batches, size: int, first: int, last: int) -> Iterator:
    (batch,) = batches.dataset(0, 1).take(1)
    while True:
        yield batch


def _read_when_needed(
    data: RealData, batches, size: int, first: int, last: int
) -> Iterator:
    import tensorflow as tf

    for rows in _rows(batches, size, first, last):
        images = data.train.take(rows.ravel())
        yield tf.constant(images.reshape(*rows.shape, *images.shape[1:]))


def _read_ahead(data: RealData, batches, size: int, first: int, last: int) -> Iterator:
    return iter(batches.dataset(first, last))


def _rows(batches, size: int, first: int, last: int) -> Iterator[np.ndarray]:
    """Yields the rows `[size, batch]` that a group of `size` classes reads."""
    for iteration in range(first, last):
        for start in range(0, _CLASSES.value, size):
            labels = range(start, start + size)
            yield np.stack([batches.indices(iteration, k) for k in labels])


def _drained(data: RealData, batches, first: int) -> float:
    """Returns the seconds of a step's batches when nothing computes meanwhile."""
    data.train.file.forget()
    start = time.perf_counter()
    for _ in batches.dataset(first, first + 1):
        pass
    return time.perf_counter() - start


def _ways(data: RealData, batches, size: int) -> dict[str, list[dict[str, float]]]:
    """Reads groups without a step, each group of images that nobody read before."""
    mapped = data.train.images
    ways: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "a call a row": data.train.take,
        "memory map": lambda rows: mapped[rows],  # last: what is mapped stays
    }
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    groups = itertools.cycle(_rows(batches, size, 0, 1))
    for way in np.repeat(list(ways), _GROUPS_READ):
        rows = next(groups).ravel()
        data.train.file.forget()
        before, start = _bytes_read(), time.perf_counter()
        ways[way](rows)
        seconds = time.perf_counter() - start
        read = (_bytes_read() - before) / (len(rows) * mapped[0].nbytes)
        found[way].append({"seconds": seconds, "read": read})
    return found


def _distiller(data: RealData):
    from dam_tf.config.settings import make_config
    from dam_tf.data.preprocessing.preprocessing import Preprocessing
    from dam_tf.data.sampling import ClassBatches
    from dam_tf.runs.distiller import Distiller

    config = make_config(
        overrides={
            "distillation.batch_real": _BATCH.value,
            "distillation.ipc": 1,
            "distillation.seed": _SEED.value,
            "augmentation.operations": [],  # a quick step is the harder one to feed
            "network.width": _WIDTH.value,
            "network.depth": _DEPTH,
            "network.norm": "instance",
        }
    )
    images = np.zeros([data.num_classes, 1, *data.image_shape], np.float32)
    images += np.random.default_rng(_SEED.value).standard_normal(images.shape)
    distiller = Distiller(images.astype(np.float32), config, Preprocessing("none"))
    group = distiller.classes_per_group
    return distiller, ClassBatches(data.train, _BATCH.value, _SEED.value, group)


def _bytes_read() -> int:
    """Returns what this process has had read from the disk."""
    lines = pathlib.Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["read_bytes"])


def _measured(part: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Runs a part, and adds the most memory that the process had for itself."""
    peak = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.05):
            peak = max(peak, _anonymous())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    if not os.environ.get(_HAS_LIMIT) and part is _build:
        limit = _LIMIT.value << 20
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        found = part()
    finally:
        done.set()
        thread.join()
    return {**found, "anonymous": max(peak, _anonymous())}


def _anonymous() -> int:
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    return 0


# What is printed.


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
