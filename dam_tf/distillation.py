"""A whole run: settings in, real data through the distiller, a distilled set out.

This is the loop around Algorithm 1. It owns the run's folder, so it is what makes
a run resumable, interruptible and safe against a kill.
"""

import os
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from dam_tf.callbacks import (
    CostFile,
    MetricsFile,
    Progress,
    Snapshots,
    TensorBoard,
)
from dam_tf.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from dam_tf.config import Config, resolve, save_config
from dam_tf.datasets import RealData, load_dataset
from dam_tf.datasets.preprocessing import (
    Preprocessing,
    fit_preprocessing,
    load_preprocessing,
)
from dam_tf.datasets.sampling import ClassBatches
from dam_tf.distilled_set import DistilledSet
from dam_tf.distiller import Distiller
from dam_tf.errors import DivergedError
from dam_tf.initial_images import check_ipc, initial_images
from dam_tf.interruption import Interrupted, stop_on_signals
from dam_tf.messages import log
from dam_tf.networks.pool import NetworkPool
from dam_tf.run_folder import RunFolder, forget_after
from dam_tf.snapshots import next_snapshot

_CALL_SECONDS = 2.0  # aim for a call of the compiled loop: how long Ctrl-C waits


def distill(
    config: Config,
    output_dir: os.PathLike | str,
    resume: bool = False,
    overwrite: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    data: RealData | None = None,
    preprocessing: Preprocessing | None = None,
    networks: NetworkPool | None = None,
) -> DistilledSet:
    """Distils a data set as `config` says, and keeps the run in `output_dir`.

    On Ctrl-C or SIGTERM it saves a checkpoint and stops; a resumed run ends with
    exactly the images of one that was never stopped (on the same device).

    Args:
        config: The settings, from `dam_tf.make_config`.
        output_dir: The run's folder; made if missing.
        resume: Continue the run that lies there, if one does.
        overwrite: Replace the run that lies there.
        callbacks: More Keras callbacks: a batch is a call of the compiled loop,
            an epoch the iterations between two lines of metrics.
        data: The real data; loaded as `config.dataset` says if left out.
        preprocessing: Fitted already; to the training images if left out. A
            resumed run keeps the one in its folder.
        networks: Networks to match through, as of `Distiller`; random ones if left
            out. The run's settings do not name them: give a resumed run the same.

    Returns:
        The distilled set, which also lies in `output_dir`.

    Raises:
        UserError: something given cannot be used; as `DivergedError`, the loss
            became infinite or not a number.
        Interrupted: a signal stopped the run; its state is saved.

    Example:
        >>> import tempfile
        >>> from dam_tf.config import make_config
        >>> settings = {"distillation.iterations": 2, "distillation.batch_real": 4}
        >>> network = {"network.width": 8, "network.depth": 1}
        >>> config = make_config(overrides={**settings, **network})
        >>> distill(config, tempfile.mkdtemp()).images.shape
        (10, 8, 8, 1)
    """
    folder = RunFolder(pathlib.Path(output_dir))
    folder.check(config, resume, overwrite)
    resume = resume and folder.holds_run()
    data = data or load_dataset(config.dataset)
    if config.distillation.init != "noise":
        check_ipc(data.train, data.class_names, config.distillation.ipc)
    config = resolve(config, data.image_shape)
    if overwrite:
        folder.clear()
    run = _Run(config, folder, data, resume, preprocessing, networks)
    run.loop(callbacks)
    return run.distilled_set()


def compile_steps(
    distiller: Distiller,
) -> Callable[[Iterator[tf.Tensor], tf.Tensor], dict[str, tf.Tensor]]:
    """Returns the compiled loop that a run spends its time in.

    Args:
        distiller: Whose images move.

    Returns:
        A function of real batches (as of `Distiller.train_step`) and a number of
        iterations, scalar int32, that returns their losses, each `[iterations]`.
    """

    @tf.function
    def run_steps(batches, count):
        losses = {
            name: tf.TensorArray(tf.float32, count) for name in distiller.loss_names
        }
        for step in tf.range(count):
            values = distiller.train_step(batches)
            losses = {
                name: array.write(step, values[name]) for name, array in losses.items()
            }
        return {name: array.stack() for name, array in losses.items()}

    return run_steps


class _Run:
    """The state of one run in its folder."""

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        data: RealData,
        resume: bool,
        preprocessing: Preprocessing | None = None,
        networks: NetworkPool | None = None,
    ):
        self._config, self._folder, self._data = config, folder, data
        folder.remove_leftovers()
        save_config(config, folder.config)
        self._preprocessing = self._make_preprocessing(preprocessing)
        settings = config.distillation
        shape = (data.num_classes, settings.ipc, *data.image_shape)
        checkpoint = load_checkpoint(folder.checkpoints, shape) if resume else None
        if checkpoint is None:
            if resume:
                log.info("No checkpoint yet in %s: starting anew.", folder.path)
            images = initial_images(
                data.train, data.class_names, settings, self._preprocessing
            )
            checkpoint = Checkpoint(0, images, np.zeros_like(images))
        self._distiller = Distiller(
            checkpoint.images, config, self._preprocessing, networks
        )
        self._restore(checkpoint)
        self._saved_iteration = checkpoint.iteration if resume else None
        self._batches = ClassBatches(
            data.train,
            settings.batch_real,
            settings.seed,
            self._distiller.classes_per_group,
        )
        self._batches.say_if_small()
        self.distilled_set()  # what it refuses, it refuses before hours of work

    @property
    def iteration(self) -> int:
        """Updates done."""
        return int(self._distiller.optimizer.iterations.numpy())

    def distilled_set(self) -> DistilledSet:
        """Returns the images as they are now, in pixel space."""
        images = self._preprocessing.inverse(self._distiller(None))
        ipc = self._config.distillation.ipc
        labels = np.repeat(np.arange(self._data.num_classes), ipc)
        return DistilledSet(
            np.asarray(images),
            labels,
            self._data.class_names,
            self._preprocessing,
            self._data.name,
        )

    def loop(self, callbacks: Sequence[keras.callbacks.Callback]) -> None:
        """Iterates to the end, or to a stop, and saves on the way."""
        settings = self._config.distillation
        first, last = self.iteration, settings.iterations
        if first >= last:
            log.info("Nothing to do: %d iterations are done.", first)
            self._save()
            return
        run_steps = compile_steps(self._distiller)
        seconds = self._rehearse(run_steps)
        log.info(
            "%s iterations will take about %s (%.3g s each). Ctrl-C saves a "
            "checkpoint and stops.",
            f"{last - first:,}",
            _duration(seconds * (last - first)),
            seconds,
        )
        forget_after(self._folder.metrics, first)
        every = settings.checkpoint_every
        observers = [
            *callbacks,
            MetricsFile(self._folder.metrics, first),
            Snapshots(self._folder.snapshots, settings, first, self.distilled_set),
            CostFile(self._folder.cost, first),
            TensorBoard(self._folder.tensorboard, self.distilled_set, every),
            Progress(first, last),
        ]
        observers = keras.callbacks.CallbackList(observers, model=self._distiller)
        most = max(1, int(_CALL_SECONDS / seconds))
        with stop_on_signals() as stop:
            observers.on_train_begin()
            try:
                self._iterate(run_steps, observers, most, stop)
            finally:
                observers.on_train_end()
            if self._saved_iteration != self.iteration:
                self._save()
        if stop and self.iteration < last:
            raise Interrupted(
                f"stopped after iteration {self.iteration} of {last}; continue with "
                "--resume",
                stop.signal_number,
            )

    def _iterate(self, run_steps, observers, most: int, stop) -> None:
        settings = self._config.distillation
        first, last = self.iteration, settings.iterations
        batches = iter(self._batches.dataset(first, last))
        logged: list[dict[str, np.ndarray]] = []
        while first < last and not stop and not self._distiller.stop_training:
            goal = min(
                last,
                first + most,
                _next_multiple(first, settings.log_every),
                _next_multiple(first, settings.checkpoint_every),
                next_snapshot(settings, first) or last,
            )
            with self._batches.failures_named():
                losses = run_steps(batches, tf.constant(goal - first))
            losses = {name: value.numpy() for name, value in losses.items()}
            _check_finite(losses["loss"], first, self._saved_iteration)
            logged.append(losses)
            observers.on_train_batch_end(goal, _means([losses]))
            if goal % settings.log_every == 0 or goal == last:
                observers.on_epoch_end(goal, _means(logged))
                logged.clear()
            if goal % settings.checkpoint_every == 0:
                self._save()
            first = goal

    def _make_preprocessing(self, preprocessing: Preprocessing | None) -> Preprocessing:
        if self._folder.preprocessing.exists():
            return load_preprocessing(self._folder.preprocessing)
        if preprocessing is None:
            kind = self._config.dataset.preprocessing_kind
            if "zca" in kind:
                log.info("Fitting ZCA whitening to the training images.")
            preprocessing = fit_preprocessing(kind, self._data.train.checked_images())
        preprocessing.save(self._folder.preprocessing)
        return preprocessing

    def _rehearse(self, run_steps) -> float:
        """Compiles the step, times one, and leaves the state as it was."""
        log.info("Compiling the step (some 10 to 60 seconds).")
        before = self._state()
        for _ in range(2):
            first = self.iteration
            batches = iter(self._batches.dataset(first, first + 1))
            start = time.perf_counter()
            with self._batches.failures_named():
                run_steps(batches, tf.constant(1))
            seconds = time.perf_counter() - start
        self._restore(before)
        return seconds

    def _state(self) -> Checkpoint:
        distiller = self._distiller
        (momentum,) = distiller.optimizer.momentums
        return Checkpoint(self.iteration, distiller.images.numpy(), momentum.numpy())

    def _restore(self, checkpoint: Checkpoint) -> None:
        distiller = self._distiller
        (momentum,) = distiller.optimizer.momentums
        distiller.images.assign(checkpoint.images)
        momentum.assign(checkpoint.momentum)
        distiller.optimizer.iterations.assign(checkpoint.iteration)

    def _save(self) -> None:
        """Writes the checkpoint first: all else can be made from it."""
        checkpoint = self._state()
        save_checkpoint(self._folder.checkpoints, checkpoint)
        self._saved_iteration = checkpoint.iteration
        distilled = self.distilled_set()
        # The run wrote the preprocessing, or read it, when it began.
        distilled.save(self._folder.path, keep_preprocessing=True)
        distilled.preview(self._folder.preview)


def _check_finite(losses: np.ndarray, first: int, saved: int | None) -> None:
    bad = np.flatnonzero(~np.isfinite(losses))
    if len(bad):
        kept = f"the checkpoint of iteration {saved} is kept" if saved else "none saved"
        raise DivergedError(
            f"the loss became {losses[bad[0]]} at iteration {first + bad[0] + 1}; "
            f"{kept}. Try a smaller distillation.learning_rate"
        )


def _means(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, float]:
    return {
        name: float(np.mean(np.concatenate([part[name] for part in parts])))
        for name in parts[0]
    }


def _next_multiple(number: int, step: int) -> int:
    return (number // step + 1) * step


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"
