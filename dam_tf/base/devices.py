"""Several devices and several workers: strategies, shares, and what workers exchange.

A worker is a process; it drives one replica, or more, on its devices. Classes are
independent of each other, so a replica computes the gradient of its own and the
replicas exchange those gradients, not images.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import tensorflow as tf

from dam_tf.base.errors import UserError, WorkerLost, choice_error
from dam_tf.base.threads import side_by_side

STRATEGIES = ("auto", "one_device", "mirrored", "multiworker")

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def create_strategy(
    name: str = "auto", virtual_devices: int = 1, in_cluster: bool = False
) -> tf.distribute.Strategy:
    """Returns a strategy; nothing of TensorFlow may have run before.

    Args:
        name: `one_device`; `mirrored`, over all GPUs or virtual devices; `multiworker`,
            with the processes of the environment's TF_CONFIG; or `auto`, whichever of
            these the machine and `in_cluster` ask for.
        virtual_devices: Logical devices that the CPU is split into.
        in_cluster: Whether TF_CONFIG names a cluster. `multiworker` waits until all of
            it is there.

    Raises:
        UserError: the strategy is unknown, or cannot be had here.

    Example:
        >>> create_strategy("one_device").num_replicas_in_sync
        1
    """
    if name not in STRATEGIES:
        raise choice_error("strategy", name, STRATEGIES)
    if name == "auto" and in_cluster:
        name = "multiworker"
    if name == "multiworker":
        return _multiworker(virtual_devices, in_cluster)
    if virtual_devices > 1:
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0],
            [tf.config.LogicalDeviceConfiguration()] * virtual_devices,
        )
    kind = "CPU" if virtual_devices > 1 else "GPU"
    devices = [device.name for device in tf.config.list_logical_devices(kind)]
    if name == "mirrored" and not devices:
        raise UserError(
            "--strategy=mirrored needs GPUs, and none is visible; --virtual_devices=2 "
            "splits the CPU for a trial"
        )
    if name == "one_device" or len(devices) < 2:
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy(devices)


def _multiworker(virtual_devices, in_cluster):
    if not in_cluster:
        raise UserError(
            "--strategy=multiworker needs the environment variable TF_CONFIG, which "
            "names the workers; see docs/devices.md"
        )
    if virtual_devices > 1:
        raise UserError(
            "--virtual_devices splits the CPU of one process; where TF_CONFIG names "
            "workers, start more of them instead"
        )
    return tf.distribute.MultiWorkerMirroredStrategy()


def split(count: int, parts: int) -> list[range]:
    """Returns 0 to `count` - 1 in `parts` stretches that differ by at most one.

    Example:
        >>> split(5, 3)
        [range(0, 2), range(2, 4), range(4, 5)]
    """
    edges = [
        part * (count // parts) + min(part, count % parts) for part in range(parts)
    ]
    return [range(a, b) for a, b in zip(edges, [*edges[1:], count], strict=True)]


def replica_id() -> int:
    """Returns the number of the replica that calls, over all workers."""
    number = tf.distribute.get_replica_context().replica_id_in_sync_group
    return int(tf.get_static_value(number))


class Workers:
    """The workers of a strategy, as one of them sees them.

    Args:
        strategy: Left out, the one in whose scope this is made.

    Attributes:
        strategy: As given.
        count: Number of workers.
        index: Of this one.

    Example:
        >>> workers = Workers()
        >>> workers.is_chief, workers.replicas, workers.all_of([3, 4]).tolist()
        (True, range(0, 1), [[3, 4]])
    """

    def __init__(self, strategy: tf.distribute.Strategy | None = None):
        self.strategy = strategy or tf.distribute.get_strategy()
        self.count, self.index = 1, 0
        resolver = self.strategy.cluster_resolver
        if isinstance(self.strategy, tf.distribute.MultiWorkerMirroredStrategy):
            jobs = resolver.cluster_spec().as_dict()
            names = [job for job in ("chief", "worker") if job in jobs]
            tasks = [(job, task) for job in names for task in range(len(jobs[job]))]
            self.count = len(tasks)
            self.index = tasks.index((resolver.task_type, resolver.task_id))

    @property
    def is_chief(self) -> bool:
        """Whether this is the worker that writes and reports."""
        return self.index == 0

    @property
    def replicas(self) -> range:
        """The numbers of this worker's replicas."""
        each = self.strategy.num_replicas_in_sync // self.count
        return range(self.index * each, (self.index + 1) * each)

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Returns the sum over all workers of arrays of one shape."""
        if self.count == 1:
            return values
        return self._sum(tf.reshape(values, [-1])).numpy().reshape(values.shape)

    @tf.function(reduce_retracing=True)
    def _sum(self, values):
        """Compiled, as TensorFlow otherwise starts a pool of threads for each sum.

        That pool stays open where a worker is gone, and closed in the wrong order as
        Python ends it prints an error.
        """
        return self.strategy.reduce("SUM", values, axis=None)

    def of_chief(self, values: np.ndarray) -> np.ndarray:
        """Returns the chief's `values`; the others give any of that shape."""
        return self.sum(values if self.is_chief else np.zeros_like(values))

    def all_of(self, values: Sequence[int]) -> np.ndarray:
        """Returns the whole numbers `[count, n]` that the workers give, `[n]` each."""
        table = np.zeros([self.count, len(values)], np.int64)
        table[self.index] = values
        return self.sum(table)

    def spread(
        self, work: Callable[[_Item], _Result], items: Sequence[_Item]
    ) -> dict[int, _Result]:
        """Works through this worker's part of `items`, side by side on its devices.

        Args:
            work: Called with an item, in a thread and under the device of its own.
            items: Those of all workers; item i is for replica i modulo their number.

        Returns:
            What `work` returned, by the place of the item. An error of one item is
            raised at once, while threads may still be at others.
        """
        every = self.strategy.num_replicas_in_sync
        if every == 1:
            return {place: work(item) for place, item in enumerate(items)}
        devices = self.strategy.extended.worker_devices

        def all_on(share):
            device, replica = share
            with tf.device(device):
                places = range(replica, len(items), every)
                return {place: work(items[place]) for place in places}

        shares = list(zip(devices, self.replicas, strict=True))
        done: dict[int, _Result] = {}
        for _, found in side_by_side(all_on, shares, len(devices), wait=False):
            done |= found
        return done

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Turns TensorFlow's ways of saying that a worker is gone into `WorkerLost`."""
        try:
            yield
        except tf.errors.OpError as error:
            if self.count == 1 or not (
                isinstance(error, _GONE) or "ollective ops is aborted" in str(error)
            ):
                raise
            raise WorkerLost(
                f"worker {self.index} of {self.count}: another worker has stopped or "
                "cannot be reached; look at what it said, then start all of them again "
                "with --resume"
            ) from None


_GONE = (tf.errors.UnavailableError, tf.errors.AbortedError)
