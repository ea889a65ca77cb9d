"""A whole run: settings in, real data through the distiller, a distilled set out.

This is the loop around Algorithm 1. It owns the run's folder, so it is what makes
a run resumable, interruptible and safe against a kill.
"""

import os
import pathlib
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from dam_tf.base.devices import Workers, check_norm
from dam_tf.base.errors import DivergedError, UserError
from dam_tf.base.interruption import Interrupted, stop_on_signals
from dam_tf.base.json_lines import forget_after
from dam_tf.base.messages import log
from dam_tf.config.settings import Config, resolve, save_config
from dam_tf.data.loading import load_dataset
from dam_tf.data.preprocessing.preprocessing import Preprocessing, load_arrays
from dam_tf.data.real_data import RealData
from dam_tf.data.sampling import ClassBatches
from dam_tf.networks.pools import NetworkPool
from dam_tf.runs.callbacks import (
    CostFile,
    MetricsFile,
    Progress,
    Snapshots,
    TensorBoard,
)
from dam_tf.runs.checkpoints import save_checkpoint
from dam_tf.runs.distiller import Distiller
from dam_tf.runs.folder import RunFolder
from dam_tf.runs.loop import CompiledLoop
from dam_tf.runs.snapshots import next_snapshot
from dam_tf.runs.start import first_checkpoint, run_preprocessing
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.synthetic.initial import check_ipc

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
    strategy: tf.distribute.Strategy | None = None,
) -> DistilledSet:
    """Distils a data set as `config` says, and keeps the run in `output_dir`.

    On Ctrl-C or SIGTERM it saves a checkpoint and stops; a resumed run ends with
    exactly the images of one that was never stopped (on the same device).

    Args:
        config: The settings, from `dam_tf.make_config`.
        output_dir: The run's folder; made if missing. Of several workers only the
            chief looks at it and writes there.
        resume: Continue the run that lies there, if one does.
        overwrite: Replace the run that lies there.
        callbacks: More Keras callbacks: a batch is a call of the compiled loop,
            an epoch the iterations between two lines of metrics.
        data: The real data; loaded as `config.dataset` says if left out.
        preprocessing: Fitted already; to the training images if left out. A
            resumed run keeps the one in its folder.
        networks: Networks to match through, as of `Distiller`; random ones if left
            out. The run's settings do not name them: give a resumed run the same.
        strategy: Devices and workers that share the classes, such as
            `tf.distribute.MirroredStrategy()`; one device if left out.

    Returns:
        The distilled set, which also lies in `output_dir`.

    Raises:
        UserError: something given cannot be used; as `DivergedError`, the loss
            became infinite or not a number.
        Interrupted: a signal stopped the run; its state is saved.
        WorkerLost: another worker has stopped.

    Example:
        >>> import tempfile
        >>> from dam_tf.config.settings import make_config
        >>> settings = {"distillation.iterations": 2, "distillation.batch_real": 4}
        >>> network = {"network.width": 8, "network.depth": 1}
        >>> config = make_config(overrides={**settings, **network})
        >>> distill(config, tempfile.mkdtemp()).images.shape
        (10, 8, 8, 1)
    """
    workers, folder = Workers(strategy), RunFolder(pathlib.Path(output_dir))
    check_norm(config, workers.strategy.num_replicas_in_sync)
    if workers.is_chief:
        folder.check(config, resume, overwrite)
        resume = resume and folder.holds_run()
    data = data or load_dataset(config.dataset)
    _check_classes(config, data)
    config = resolve(config, data.image_shape)
    if overwrite and workers.is_chief:
        folder.clear()
    with workers.watched():
        run = _Run(config, folder, data, resume, workers, preprocessing, networks)
        run.loop(callbacks)
        return run.distilled_set()


class _Run:
    """The state of one run in its folder."""

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        data: RealData,
        resume: bool,
        workers: Workers,
        preprocessing: Preprocessing | None = None,
        networks: NetworkPool | None = None,
    ):
        self._config, self._folder, self._data = config, folder, data
        self._workers = workers
        if workers.is_chief:
            folder.remove_leftovers()
            save_config(config, folder.config)
        preprocessing = run_preprocessing(config, folder, data, workers, preprocessing)
        self._preprocessing = preprocessing
        checkpoint, kept = first_checkpoint(
            config, folder, data, preprocessing, workers, resume
        )
        self._saved_iteration = checkpoint.iteration if kept else None
        with workers.strategy.scope():
            if workers.strategy.num_replicas_in_sync > 1:
                # Compiled code reads no variable of another device.
                preprocessing = load_arrays(preprocessing.arrays())
            self._distiller = Distiller(
                checkpoint.images, config, preprocessing, networks
            )
        settings = config.distillation
        batches = ClassBatches(
            data.train,
            settings.batch_real,
            settings.seed,
            self._distiller.classes_per_group,
            settings.classes_per_step,
        )
        batches.say_if_small()
        self._steps = CompiledLoop(self._distiller, batches, workers)
        self._steps.state = checkpoint
        self.distilled_set()  # what it refuses, it refuses before hours of work

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
        first, last = self._steps.iteration, self._config.distillation.iterations
        if first >= last:
            log.info("Nothing to do: %d iterations are done.", first)
            self._save()
            return
        log.info("Compiling the step (some 10 to 60 seconds).")
        seconds = self._steps.rehearse()
        log.info(
            "%s iterations will take about %s (%.3g s each). Ctrl-C saves a "
            "checkpoint and stops.",
            f"{last - first:,}",
            _duration(seconds * (last - first)),
            seconds,
        )
        observers = [*callbacks, *self._own_observers(first, last)]
        observers = keras.callbacks.CallbackList(observers, model=self._distiller)
        most = max(1, int(_CALL_SECONDS / seconds))
        with stop_on_signals() as stop:
            observers.on_train_begin()
            try:
                signal_number = self._iterate(observers, most, stop)
            finally:
                observers.on_train_end()
            iteration = self._steps.iteration
            if self._saved_iteration != iteration:
                self._save()
        if signal_number and iteration < last:
            raise Interrupted(
                f"stopped after iteration {iteration} of {last}; continue with "
                "--resume",
                signal_number,
            )

    def _iterate(self, observers, most: int, stop) -> int:
        """Iterates to the end or to a stop; returns the signal that asked, or 0."""
        settings, steps = self._config.distillation, self._steps
        first, last = steps.iteration, settings.iterations
        steps.start(last)
        logged: list[dict[str, np.ndarray]] = []
        while first < last:
            # What one worker is asked or decides, all do after the same iteration.
            asked = [stop.signal_number or 0, bool(self._distiller.stop_training)]
            signal_number, done = self._workers.all_of(asked).max(axis=0)
            if signal_number or done:
                return int(signal_number)
            goal = min(
                last,
                first + most,
                _next_multiple(first, settings.log_every),
                _next_multiple(first, settings.checkpoint_every),
                next_snapshot(settings, first) or last,
            )
            losses = steps.run(goal - first)
            _check_finite(losses["loss"], first, self._saved_iteration)
            logged.append(losses)
            observers.on_train_batch_end(goal, _means([losses]))
            if goal % settings.log_every == 0 or goal == last:
                observers.on_epoch_end(goal, _means(logged))
                logged.clear()
            if goal % settings.checkpoint_every == 0:
                self._save()
            first = goal
        return 0

    def _own_observers(self, first, last) -> list[keras.callbacks.Callback]:
        if not self._workers.is_chief:
            return []
        folder, settings = self._folder, self._config.distillation
        every = settings.checkpoint_every
        forget_after(folder.metrics, first)
        return [
            MetricsFile(folder.metrics, first),
            Snapshots(folder.snapshots, settings, first, self.distilled_set),
            CostFile(folder.cost, first),
            TensorBoard(folder.tensorboard, self.distilled_set, every),
            Progress(first, last),
        ]

    def _save(self) -> None:
        """Writes the checkpoint first: all else can be made from it."""
        self._saved_iteration = self._steps.iteration
        if not self._workers.is_chief:
            return
        save_checkpoint(self._folder.checkpoints, self._steps.state)
        distilled = self.distilled_set()
        # The run wrote the preprocessing, or read it, when it began.
        distilled.save(self._folder.path, keep_preprocessing=True)
        distilled.preview(self._folder.preview)


def _check_classes(config: Config, data: RealData) -> None:
    settings, drawn = config.distillation, config.distillation.classes_per_step
    if settings.init != "noise":
        check_ipc(data.train, data.class_names, settings.ipc)
    if drawn is not None and drawn > data.num_classes:
        raise UserError(
            f"classes_per_step {drawn} is more than the {data.num_classes} classes of "
            f"{data.name}; choose at most {data.num_classes}, or leave it out for all"
        )


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
