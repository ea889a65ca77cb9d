"""Iterations of a distiller, several in one compiled call, on every device.

It stands between the model of one step (`distiller.py`) and the run that decides
how many, and what is kept (`distillation.py`).
"""

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from dam_tf.base.devices import Workers, replica_id
from dam_tf.data.sampling import ClassBatches
from dam_tf.runs.checkpoints import Checkpoint
from dam_tf.runs.distiller import Distiller


def compile_steps(
    distiller: Distiller, workers: Workers | None = None
) -> Callable[[Sequence[Iterator[tf.Tensor]], tf.Tensor], dict[str, tf.Tensor]]:
    """Returns the compiled loop that a run spends its time in.

    Args:
        distiller: Whose images move.
        workers: Those of the strategy in whose scope it was made.

    Returns:
        A function of iterators over real batches (as of `Distiller.train_step`), one
        for each replica of this worker, and a number of iterations, scalar int32. It
        returns their losses, over all replicas, each `[iterations]`.
    """
    workers = workers or Workers()
    strategy, names, first = workers.strategy, distiller.loss_names, workers.replicas[0]

    @tf.function
    def run_steps(batches, count):
        def step():
            losses = distiller.train_step(batches[replica_id() - first])
            return tf.stack([losses[name] for name in names])

        kept = tf.TensorArray(tf.float32, count)
        for place in tf.range(count):
            # Replicas run side by side up to here, where one waits for the other.
            losses = strategy.reduce("SUM", strategy.run(step), axis=None)
            kept = kept.write(place, losses)
        return dict(zip(names, tf.unstack(kept.stack(), len(names), 1), strict=True))

    return run_steps


class CompiledLoop:
    """Runs iterations of `distiller` under the strategy that it was made in.

    Args:
        distiller: The model.
        batches: Gives real images.
        workers: Those of the strategy; all of them run the same calls.
    """

    def __init__(self, distiller: Distiller, batches: ClassBatches, workers: Workers):
        self._distiller, self._batches, self._workers = distiller, batches, workers
        self._iterators: list = []
        self._run_steps = compile_steps(distiller, workers)

    @property
    def iteration(self) -> int:
        """Updates done."""
        return int(self._distiller.optimizer.iterations.numpy())

    @property
    def state(self) -> Checkpoint:
        """All that changes from iteration to iteration."""
        distiller = self._distiller
        (momentum,) = distiller.optimizer.momentums
        averages = [average.numpy() for average in distiller.optimizer.averages]
        return Checkpoint(
            self.iteration, distiller.images.numpy(), momentum.numpy(), *averages
        )

    @state.setter
    def state(self, checkpoint: Checkpoint) -> None:
        distiller = self._distiller
        (momentum,) = distiller.optimizer.momentums
        distiller.images.assign(checkpoint.images)
        momentum.assign(checkpoint.momentum)
        for average in distiller.optimizer.averages:
            average.assign(checkpoint.average)
        distiller.optimizer.iterations.assign(checkpoint.iteration)

    def start(self, last: int) -> None:
        """Opens the real images of all iterations to come, up to `last` - 1."""
        first = self.iteration
        shares = [self._distiller.shares[replica] for replica in self._workers.replicas]
        self._iterators = [
            iter(
                self._batches.dataset(
                    first, last, share.places, share.classes_per_group
                )
            )
            for share in shares
        ]

    def run(self, count: int) -> dict[str, np.ndarray]:
        """Performs `count` iterations and returns their losses, each `[count]`."""
        with self._batches.failures_named():
            losses = self._run_steps(self._iterators, tf.constant(count))
        return {name: values.numpy() for name, values in losses.items()}

    def rehearse(self) -> float:
        """Compiles the step, times one, and leaves the state as it was."""
        before = self.state
        for _ in range(2):
            self.start(self.iteration + 1)
            start = time.perf_counter()
            self.run(1)
            seconds = time.perf_counter() - start
        self.state = before
        return float(self._workers.of_chief(np.float64(seconds)))
