"""Iterations of a distiller, several in one compiled call, on every device.

It stands between one iteration (`distiller.py`) and the run that decides how many, and
what is kept (`run.py`).
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from dam_tf.base.devices import Workers, replica_id
from dam_tf.data.real_data import RealData
from dam_tf.runs.distiller import Distiller

_TIMED_SECONDS = 3.0  # of iterations, before a run, to say how long it will take
_TIMED_SHARE = 0.1  # of a run that is timed at most
_TIMED_CALLS = 7
_INPUTS_AHEAD = 4


def compile_steps(
    distiller: Distiller, workers: Workers | None = None
) -> Callable[[Sequence[Iterator], tf.Tensor], dict[str, tf.Tensor]]:
    """Returns the compiled loop that a run spends its time in.

    Args:
        distiller: Whose set moves.
        workers: Those of the strategy in whose scope it was made.

    Returns:
        A function of iterators over the method's inputs, one for each replica of this
        worker, and a number of iterations, scalar int32. It returns their losses, over
        all replicas, each `[iterations]`.
    """
    workers = workers or Workers()
    strategy, first = workers.strategy, workers.replicas[0]
    names = distiller.method.log_names

    @tf.function
    def run_steps(batches, count):
        def step():
            losses = distiller.train_step(batches[replica_id() - first])
            return tf.stack([losses[name] for name in names])

        kept = tf.TensorArray(tf.float32, count)
        for index in tf.range(count):
            # Replicas run side by side up to here, where one waits for the other.
            losses = strategy.reduce("SUM", strategy.run(step), axis=None)
            kept = kept.write(index, losses)
        return dict(zip(names, tf.unstack(kept.stack(), len(names), 1), strict=True))

    return run_steps


class CompiledLoop:
    """Runs iterations of `distiller` under the strategy that it was made in.

    Args:
        distiller: What is iterated.
        data: The real data.
        workers: Those of the strategy; all of them run the same calls.
    """

    def __init__(self, distiller: Distiller, data: RealData, workers: Workers):
        self._distiller, self._data, self._workers = distiller, data, workers
        self._iterators: list = []
        self._run_steps = compile_steps(distiller, workers)

    @property
    def iteration(self) -> int:
        """Updates done."""
        return int(self._distiller.iteration.numpy())

    @property
    def state(self) -> dict[str, np.ndarray]:
        """All that changes from iteration to iteration, by name."""
        return self._distiller.state

    @state.setter
    def state(self, state: Mapping[str, np.ndarray]) -> None:
        self._distiller.state = state

    def start(self, last: int) -> None:
        """Opens the inputs of all iterations to come, up to `last` - 1."""
        method, first = self._distiller.method, self.iteration
        self._iterators = [
            iter(method.inputs(self._data, first, last, replica))
            for replica in self._workers.replicas
        ]

    def run(self, count: int) -> dict[str, np.ndarray]:
        """Performs `count` iterations and returns their losses, each `[count]`."""
        with self._distiller.method.failures_named():
            losses = self._run_steps(self._iterators, tf.constant(count))
        return {name: values.numpy() for name, values in losses.items()}

    def rehearse(self, last: int) -> float:
        """Compiles the step, times iterations, and leaves the state as it was.

        Args:
            last: Iterations of the whole run, of which a small part is timed.

        Returns:
            Seconds of one: the median of several calls, each of a few iterations. Some
            take longer than others, as the first after compiling does.
        """
        before, all_of_them = self.state, last - self.iteration
        self._timed(1, calls=1)
        (seconds,) = self._timed(1, calls=1)
        timed = min(_TIMED_SECONDS / seconds, _TIMED_SHARE * all_of_them)
        calls = int(min(timed, _TIMED_CALLS))
        if calls > 1:
            seconds = float(np.median(self._timed(int(timed / calls), calls)))
        self.state = before
        return seconds

    def _timed(self, count: int, calls: int) -> list[float]:
        """Runs some calls of `count` iterations; returns seconds of one, of each call.

        They are the chief's, by which all workers then decide the same.
        """
        # More than are timed: batches of a run are made while it goes on, too.
        self.start(self.iteration + _INPUTS_AHEAD * count * calls)
        seconds = []
        for _ in range(calls):
            start = time.perf_counter()
            self.run(count)
            seconds.append((time.perf_counter() - start) / count)
        return self._workers.of_chief(np.array(seconds)).tolist()


def joined(
    before: Mapping[str, np.ndarray], losses: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Returns losses by name, `[iterations]`, one stretch after the other."""
    return {
        name: np.concatenate([before.get(name, values[:0]), values])
        for name, values in losses.items()
    }


def means(losses: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Returns the mean of each loss over a stretch of iterations."""
    return {name: float(np.mean(values)) for name, values in losses.items()}
