"""What is shown and written while a run goes on, as Keras callbacks.

A "batch" is one call of the compiled loop, of one or more iterations; an "epoch"
is the stretch between two lines of metrics. Both are numbered by the iterations
done, and `logs` hold the mean losses.
"""

import os
import time
from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

from dam_tf import plots
from dam_tf.base.json_lines import append_json, forget_after
from dam_tf.base.machine import machine
from dam_tf.base.messages import progress_bar
from dam_tf.config.sections import DistillationConfig
from dam_tf.runs.folder import RunFolder
from dam_tf.runs.state import forget_snapshots_after, is_snapshot, save_snapshot
from dam_tf.synthetic.distilled_set import DistilledSet


class Progress(keras.callbacks.Callback):
    """A progress bar with loss, iterations per second and time left."""

    def __init__(self, first: int, last: int, work: str):
        super().__init__()
        self._first, self._last, self._work = first, last, work

    def on_train_begin(self, logs: Mapping | None = None) -> None:
        self._bar = progress_bar(
            self._work, "it", initial=self._first, total=self._last
        )

    def on_train_batch_end(self, batch: int, logs: Mapping | None = None) -> None:
        self._bar.set_postfix(loss=f"{logs['loss']:.4g}", refresh=False)
        self._bar.update(batch - self._bar.n)

    def on_train_end(self, logs: Mapping | None = None) -> None:
        self._bar.close()


class MetricsFile(keras.callbacks.Callback):
    """Lines of `metrics.jsonl`: iteration, losses, iterations per second."""

    def __init__(self, path: os.PathLike | str, first: int):
        super().__init__()
        self._path, self._iteration = path, first

    def on_train_begin(self, logs: Mapping | None = None) -> None:
        self._time = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping | None = None) -> None:
        now = time.perf_counter()
        speed = (epoch - self._iteration) / (now - self._time)
        self._iteration, self._time = epoch, now
        line = {"iteration": epoch, **logs, "iterations_per_second": round(speed, 4)}
        append_json(self._path, line)


class Snapshots(keras.callbacks.Callback):
    """The images at chosen iterations, kept in `snapshots/`."""

    def __init__(
        self,
        folder: os.PathLike | str,
        settings: DistillationConfig,
        first: int,
        distilled_set: Callable[[], DistilledSet],
    ):
        super().__init__()
        self._folder, self._settings, self._first = folder, settings, first
        self._distilled_set = distilled_set

    def on_train_begin(self, logs: Mapping | None = None) -> None:
        forget_snapshots_after(self._folder, self._first)
        self.on_train_batch_end(self._first)

    def on_train_batch_end(self, batch: int, logs: Mapping | None = None) -> None:
        if is_snapshot(self._settings, batch):
            distilled = self._distilled_set()
            save_snapshot(self._folder, batch, distilled.images, distilled.labels)


class CostFile(keras.callbacks.Callback):
    """A line of `cost.jsonl` for each stretch without a stop: what it took.

    Losses can be repeated, times cannot, so they are kept apart.
    """

    def __init__(self, path: os.PathLike | str, first: int):
        super().__init__()
        self._path, self._first = path, first

    def on_train_begin(self, logs: Mapping | None = None) -> None:
        self._time = time.perf_counter()
        self._iteration = self._first

    def on_train_batch_end(self, batch: int, logs: Mapping | None = None) -> None:
        self._iteration = batch

    def on_train_end(self, logs: Mapping | None = None) -> None:
        if self._iteration == self._first:
            return
        seconds = time.perf_counter() - self._time
        line = {
            "first": self._first,
            "last": self._iteration,
            "seconds": round(seconds, 3),
            "seconds_per_iteration": round(
                seconds / (self._iteration - self._first), 6
            ),
            **machine(),
        }
        append_json(self._path, line)


class TensorBoard(keras.callbacks.Callback):
    """Losses as scalars and, now and then, the images as a grid of pixels."""

    def __init__(
        self,
        folder: os.PathLike | str,
        distilled_set: Callable[[], DistilledSet],
        images_every: int,
    ):
        super().__init__()
        self._folder = os.fspath(folder)
        self._distilled_set, self._images_every = distilled_set, images_every

    def on_train_begin(self, logs: Mapping | None = None) -> None:
        self._writer = tf.summary.create_file_writer(self._folder)

    def on_train_batch_end(self, batch: int, logs: Mapping | None = None) -> None:
        if batch % self._images_every == 0:
            distilled = self._distilled_set()
            grid = plots.grid_array(distilled.images, distilled.labels)
            with self._writer.as_default(step=batch):
                tf.summary.image("distilled", grid[None])

    def on_epoch_end(self, epoch: int, logs: Mapping | None = None) -> None:
        with self._writer.as_default(step=epoch):
            for name, value in logs.items():
                tf.summary.scalar(name, value)

    def on_train_end(self, logs: Mapping | None = None) -> None:
        self._writer.close()


def own_callbacks(
    folder: RunFolder,
    settings: DistillationConfig,
    first: int,
    distilled_set: Callable[[], DistilledSet],
    work: str,
) -> list[keras.callbacks.Callback]:
    """Returns what shows a run and writes its files, from iteration `first` on.

    Args:
        folder: Of the run. Metrics after `first`, which the run repeats, are removed.
        settings: How long it is, and what is kept.
        first: Iterations done.
        distilled_set: Gives the set as it is.
        work: What goes on, for the progress bar.
    """
    forget_after(folder.metrics, first)
    return [
        MetricsFile(folder.metrics, first),
        Snapshots(folder.snapshots, settings, first, distilled_set),
        CostFile(folder.cost, first),
        TensorBoard(folder.tensorboard, distilled_set, settings.checkpoint_every),
        Progress(first, settings.iterations, work),
    ]
