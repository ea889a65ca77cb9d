"""What the limited processes of `larger_than_memory.py` do: build a cache, and read it.

Each part is a function without arguments that returns what it measured; sizes are the
flags of `larger_than_memory.py`.
"""

import itertools
import os
import pathlib
import resource
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import _tools
import numpy as np
from absl import flags

from dam_tf.base.machine import process_bytes
from dam_tf.base.messages import progress_bar
from dam_tf.data.cache.disk_cache import build_cache, cache_folder
from dam_tf.data.real_data import RealData
from dam_tf.data.source import CHUNK, Contents, SplitContents

FLAGS = flags.FLAGS
HAS_LIMIT = "DAM_TF_BENCHMARK_LIMIT"  # set for a process in a control group
DEPTH = 2  # blocks of the ConvNet of the step
_GROUPS_READ = 6  # of classes, for each way of reading them without a step


def measured(part: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Runs a part, and adds the most memory that the process had for itself."""
    peak = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.05):
            peak = max(peak, _anonymous())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    if not os.environ.get(HAS_LIMIT) and part is build:
        limit = FLAGS.limit_mb << 20
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        found = part()
    finally:
        done.set()
        thread.join()
    return {**found, "anonymous": max(peak, _anonymous())}


def _anonymous() -> int:
    return process_bytes("RssAnon") or 0


def _contents() -> Contents:
    """Images of random pixels, of one class after the other, as a stream."""

    def split(per_class: int, stream: int) -> SplitContents:
        classes, shape = FLAGS.classes, (FLAGS.image_size, FLAGS.image_size, 3)

        def chunks(first: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for start in range(first, classes * per_class, CHUNK):
                numbers = np.arange(start, min(start + CHUNK, classes * per_class))
                rng = np.random.Generator(np.random.SFC64([FLAGS.seed, stream, start]))
                raw = rng.bytes(len(numbers) * int(np.prod(shape)))
                images = np.frombuffer(raw, np.uint8).reshape(-1, *shape)
                yield images, numbers % classes

        return SplitContents(np.full([classes], per_class, np.int64), chunks)

    names = tuple(f"class {k}" for k in range(FLAGS.classes))
    shape = (FLAGS.image_size, FLAGS.image_size, 3)
    return Contents(names, shape, split(FLAGS.per_class, 1), split(1, 2))


def _open_or_build() -> RealData:
    folder = cache_folder("generated", _settings(), FLAGS.cache_dir)
    return build_cache(folder, "generated", _contents())


def _settings() -> str:
    return f"{FLAGS.classes} {FLAGS.per_class} {FLAGS.image_size} {FLAGS.seed}"


def build() -> dict[str, Any]:
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


def read() -> dict[str, Any]:
    """Times steps, in blocks that take turns, and then reading alone."""
    data = _open_or_build()
    for split in (data.train, data.test):
        split.file.forget()  # or what the build left would be read from memory
    _tools.import_tensorflow()
    from dam_tf.data.sampling import ClassBatches

    distiller = _distiller(data)
    batches = ClassBatches(data.train, FLAGS.batch_real, FLAGS.seed)
    kinds = {
        "from memory": _from_memory,
        "read when needed": _read_when_needed,
        "read ahead": _read_ahead,
    }
    steps: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    per_block, size = FLAGS.steps + 1, distiller.method.classes_per_group
    blocks = [(block, kind) for block in range(FLAGS.rounds) for kind in kinds]
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
        "drained": _drained(data, batches, size, blocks[-1][0] * per_block),
        "steps": steps,
        "groups": distiller.method.groups,
        "step_bytes": FLAGS.classes * FLAGS.batch_real * FLAGS.image_size**2 * 3,
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
    if not os.environ.get(HAS_LIMIT):
        data.train.file.forget()  # nothing else keeps the images out of memory
    read, waited, start = _bytes_read(), source.seconds, time.perf_counter()
    float(distiller.train_step(source)["loss"])
    return {
        "seconds": time.perf_counter() - start,
        "waited": source.seconds - waited,
        "read": _bytes_read() - read,
    }


def _from_memory(data: RealData, batches, size: int, first: int, last: int) -> Iterator:
    (batch,) = batches.dataset(0, 1, size).take(1)
    for classes in _groups(size, first, last):
        yield batch._replace(classes=classes)


def _read_when_needed(
    data: RealData, batches, size: int, first: int, last: int
) -> Iterator:
    import tensorflow as tf

    from dam_tf.data.sampling import ClassBatch

    groups = _groups(size, first, last)
    for classes, rows in zip(groups, _rows(batches, size, first, last), strict=True):
        images = data.train.take(rows.ravel())
        images = tf.constant(images.reshape(*rows.shape, *images.shape[1:]))
        yield ClassBatch(classes, images)


def _read_ahead(data: RealData, batches, size: int, first: int, last: int) -> Iterator:
    return iter(batches.dataset(first, last, size))


def _groups(size: int, first: int, last: int) -> Iterator:
    """Yields the labels of each group of some iterations, int32 `[size]`."""
    import tensorflow as tf

    for _ in range(first, last):
        for start in range(0, FLAGS.classes, size):
            yield tf.range(start, start + size)


def _rows(batches, size: int, first: int, last: int) -> Iterator[np.ndarray]:
    """Yields the rows `[size, batch]` that a group of `size` classes reads."""
    for iteration in range(first, last):
        for start in range(0, FLAGS.classes, size):
            labels = range(start, start + size)
            yield np.stack([batches.indices(iteration, k) for k in labels])


def _drained(data: RealData, batches, size: int, first: int) -> float:
    """Returns the seconds of a step's batches when nothing computes meanwhile."""
    data.train.file.forget()
    start = time.perf_counter()
    for _ in batches.dataset(first, first + 1, size):
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
    from dam_tf.config.settings import read_config
    from dam_tf.data.preprocessing.preprocessing import Preprocessing
    from dam_tf.runs.distiller import create_distiller

    config = read_config(
        overrides={
            "distillation.batch_real": FLAGS.batch_real,
            "distillation.ipc": 1,
            "distillation.seed": FLAGS.seed,
            "augmentation.operations": [],  # a quick step is the harder one to feed
            "network.width": FLAGS.width,
            "network.depth": DEPTH,
            "network.norm": "instance",
        }
    )
    images = np.zeros([data.num_classes, 1, *data.image_shape], np.float32)
    images += np.random.default_rng(FLAGS.seed).standard_normal(images.shape)
    return create_distiller(images, config, Preprocessing("none"))


def _bytes_read() -> int:
    """Returns what this process has had read from the disk."""
    lines = pathlib.Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["read_bytes"])
