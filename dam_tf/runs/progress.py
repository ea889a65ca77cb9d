"""How a run goes on: from its first state to its last, saving on the way.

This is the loop around Algorithm 1. It is what makes a run resumable, interruptible and
safe against a kill.
"""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from dam_tf.base.devices import Workers
from dam_tf.base.errors import DivergedError
from dam_tf.base.interruption import Interrupted, stop_on_signals
from dam_tf.base.messages import log
from dam_tf.config.settings import save_config
from dam_tf.data.preprocessing.preprocessing import Preprocessing, load_arrays
from dam_tf.data.real_data import RealData
from dam_tf.methods.method import Method, Task
from dam_tf.runs.callbacks import own_callbacks
from dam_tf.runs.distiller import Distiller
from dam_tf.runs.extension import Extended
from dam_tf.runs.first import first_images, first_preprocessing
from dam_tf.runs.folder import RunFolder
from dam_tf.runs.loop import CompiledLoop, joined, means
from dam_tf.runs.pace import Pace
from dam_tf.runs.provenance import Provenance, read_provenance
from dam_tf.runs.runaway import Runaway
from dam_tf.runs.state import (
    State,
    load_checkpoint,
    next_multiple,
    next_snapshot,
    save_checkpoint,
    state_files,
)
from dam_tf.synthetic.distilled_set import DistilledSet

_CALL_SECONDS = 2.0  # aim for a call of the compiled loop: how long Ctrl-C waits


class Run:
    """The state of one run. Until `begin` nothing is read from its folder."""

    def __init__(
        self,
        task: Task,
        method: Method,
        folder: RunFolder,
        data: RealData,
        workers: Workers,
        preprocessing: Preprocessing | None,
        extended: Extended | None,
    ):
        self._task, self._config, self._method = task, task.config, method
        self._folder, self._data, self._workers = folder, data, workers
        self._preprocessing, self._extended = preprocessing, extended
        self._saved_iteration: int | None = None
        self._logged: State = {}  # losses that no line of metrics has yet

    def begin(self, resumed: bool) -> None:
        """Makes the state that the run starts from, then its folder.

        The chief finds preprocessing and state and sends them to the other workers, so
        that all have the same to the last bit, and none but the chief needs the folder.
        """
        folder, workers = self._folder, self._workers
        stored = self._method.stored_networks(self._task)
        extends = self._extended.fingerprint if self._extended else ""
        provenance = Provenance.of(self._config, self._data, stored, extends)
        self._provenance = provenance.flat()
        continued = resumed and bool(state_files(folder.checkpoints))
        if resumed:
            folder.check_same(self._config)
            if continued or folder.provenance.exists():
                stored = read_provenance(folder.provenance)
                provenance.check_resumed(folder.path, stored)
            if not continued:
                log.info("No checkpoint yet in %s: starting anew.", folder.path)
        self._preprocessing = first_preprocessing(
            self._task,
            workers,
            self._preprocessing,
            folder if resumed else None,
            self._extended,
        )
        with workers.strategy.scope():
            preprocessing = self._preprocessing
            if self._task.replicas > 1:
                # Compiled code reads no variable of another device.
                preprocessing = load_arrays(preprocessing.arrays())
            images = first_images(
                self._task,
                self._preprocessing,
                not continued and workers.is_chief,
                self._extended,
            )
            self._distiller = Distiller(images, self._method, self._task, preprocessing)
        self._loop = CompiledLoop(self._distiller, self._data, workers)
        self._find_state(continued)
        # If this raises, nothing has been written or deleted yet.
        self._set = self._distilled_set()
        if workers.is_chief:
            if not resumed:
                folder.clear()
            folder.remove_leftovers()
            save_config(self._config, folder.config)
            provenance.save(folder.provenance)
            if not folder.preprocessing.exists():
                self._preprocessing.save(folder.preprocessing)

    def _find_state(self, continued: bool) -> None:
        """Takes the state from the newest checkpoint, and the chief's everywhere."""
        loop, workers = self._loop, self._workers
        if continued:
            loop.state, self._logged = load_checkpoint(
                self._folder.checkpoints, loop.state
            )
            self._saved_iteration = loop.iteration
        if workers.count > 1:
            loop.state = {
                name: workers.of_chief(values) for name, values in loop.state.items()
            }
            saved = -1 if self._saved_iteration is None else self._saved_iteration
            saved = int(workers.of_chief(np.array(saved)))
            self._saved_iteration = None if saved < 0 else saved

    def _distilled_set(self) -> DistilledSet:
        """Returns the set as it is now, with the labels that follow from its images."""
        images = self._images()
        labels = self._method.soft_labels(images)
        if labels is None:
            return images
        return dataclasses.replace(images, soft_labels=labels)

    def _images(self) -> DistilledSet:
        """Returns the images as they are now, in pixel space."""
        synthetic, method = self._distiller.synthetic, self._method
        method.refresh(synthetic)
        self._stop_if(method.failure(synthetic))
        if not np.isfinite(synthetic.stored.numpy()).all():
            self._stop_if("the images became infinite or not a number")
        learned = synthetic.export(
            self._preprocessing,
            self._data.class_names,
            self._data.name,
            self._distiller.averages,
            self._provenance,
            method.recipe(synthetic),
        )
        return self._extended.with_more(learned) if self._extended else learned

    def loop(self, callbacks: Sequence[keras.callbacks.Callback]) -> DistilledSet:
        """Iterates to the end, saves on the way, and returns the set.

        Raises:
            Interrupted: a signal stopped the run; its state is saved.
            DivergedError: the loss became infinite or not a number.
        """
        first, last = self._loop.iteration, self._config.distillation.iterations
        if first >= last:
            log.info("Nothing to do: %d iterations are done.", first)
            self._save()
            return self._set
        if self._config.distillation.jit != "none":
            log.info("Compiling the step (some 10 to 60 seconds).")
        seconds = self._loop.rehearse(last)
        observers = [*callbacks, Pace(first, last, seconds)]
        if self._workers.is_chief:
            folder, settings = self._folder, self._config.distillation
            rate = settings.learning_rate
            observers.append(Runaway(self._data, self._preprocessing, rate))
            observers += own_callbacks(
                folder, settings, first, self._images, self._method.work
            )
        observers = keras.callbacks.CallbackList(observers, model=self._distiller)
        most = max(1, int(_CALL_SECONDS / seconds))
        with stop_on_signals() as stop:
            observers.on_train_begin()
            try:
                signal_number = self._iterate(observers, most, stop)
            finally:
                observers.on_train_end()
            iteration = self._loop.iteration
            if self._saved_iteration != iteration:
                self._save()
        if signal_number and iteration < last:
            raise Interrupted(
                f"stopped after iteration {iteration} of {last}; continue with "
                "--resume",
                signal_number,
            )
        return self._set

    def _iterate(self, observers, most: int, stop) -> int:
        """Iterates to the end or to a stop; returns the signal that asked, or 0."""
        settings, steps = self._config.distillation, self._loop
        first, last = steps.iteration, settings.iterations
        steps.start(last)
        while first < last:
            # What one worker is asked or decides, all do after the same iteration.
            asked = [stop.signal_number or 0, bool(self._distiller.stop_training)]
            signal_number, done = self._workers.all_of(asked).max(axis=0)
            if signal_number or done:
                return int(signal_number)
            goal = min(
                last,
                first + most,
                next_multiple(first, settings.log_every),
                next_multiple(first, settings.checkpoint_every),
                next_snapshot(settings, first) or last,
            )
            losses = steps.run(goal - first)
            self._check_finite(losses["loss"], first)
            self._stop_if(self._method.failure(self._distiller.synthetic))
            self._logged = joined(self._logged, losses)
            observers.on_train_batch_end(goal, means(losses))
            if goal % settings.log_every == 0 or goal == last:
                observers.on_epoch_end(goal, means(self._logged))
                self._logged = {}
            if goal % settings.checkpoint_every == 0:
                self._save()
            first = goal
        return 0

    def _check_finite(self, losses: np.ndarray, first: int) -> None:
        bad = np.flatnonzero(~np.isfinite(losses))
        if len(bad):
            raise DivergedError(
                f"the loss became {losses[bad[0]]} at iteration {first + bad[0] + 1}; "
                f"{self._kept()}"
            )

    def _stop_if(self, failure: str | None) -> None:
        if failure:
            at = self._loop.iteration
            raise DivergedError(f"{failure} by iteration {at}; {self._kept()}")

    def _kept(self) -> str:
        """What a run that diverged leaves, and what to do."""
        kept = f"the checkpoint of iteration {self._saved_iteration} is kept"
        kept = "no checkpoint was saved" if self._saved_iteration is None else kept
        return f"{kept}. Try a smaller {self._method.rate}"

    def _save(self) -> None:
        """Writes the checkpoint first: all else can be made from it."""
        self._set = self._distilled_set()
        self._saved_iteration = self._loop.iteration
        if not self._workers.is_chief:
            return
        save_checkpoint(self._folder.checkpoints, self._loop.state, self._logged)
        # The run wrote the preprocessing, or read it, when it began.
        self._folder.save_set(self._set, keep_preprocessing=True)
