"""Experts: networks trained on the real set, whose weights are kept after each epoch.

MTT and TESLA follow them (`methods/mtt.py`); DANCE and NCFM match through them, before
and after their training (`methods/pool_matching.py`). Each is a file
(`networks/trajectories.py`) that is written after each epoch, so a kill costs an epoch.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.base.files import atomic_file
from dam_tf.base.messages import log, progress_bar
from dam_tf.base.npz import Array, read_npz
from dam_tf.base.seeds import Purpose
from dam_tf.base.trials import Trials
from dam_tf.base.words import counted
from dam_tf.config.experts import (
    ExpertTraining,
    own_training,
    training_settings,
)
from dam_tf.config.places import networks_folder
from dam_tf.config.settings import Config, replace, resolve
from dam_tf.data.identity import keep_identity
from dam_tf.data.loading import checked_data
from dam_tf.data.preprocessing.preprocessing import Preprocessing, fit_to_data
from dam_tf.data.real_data import RealData
from dam_tf.data.source import Contents
from dam_tf.methods.experts import description
from dam_tf.networks.trajectories import (
    DESCRIPTION,
    Expert,
    Experts,
    Moment,
    packed,
    save_description,
    save_expert,
)
from dam_tf.training.descent import State
from dam_tf.training.memory import check_training
from dam_tf.training.trainer import Trainer

_BATCHES_A_CALL = 20  # of training: how long Ctrl-C waits
_TESTED = 2000  # real test images that tell the accuracy
_WHAT = "the state of an expert's training"


def check_experts_training(config: Config, data: RealData | Contents) -> None:
    """Raises a `UserError` where a network cannot be trained on such images.

    Args:
        config: As of `train_experts`.
        data: The real data, read or not.
    """
    shape, images = data.image_shape, int(data.train.counts.sum())
    check_training(shape, len(data.class_names), resolve(config, shape), images)


def train_experts(
    config: Config,
    settings: ExpertTraining,
    folder: os.PathLike | str,
    resume: bool = False,
    overwrite: bool = False,
    data: RealData | None = None,
    preprocessing: keras.layers.Layer | None = None,
) -> Experts:
    """Trains experts on the real set, as MTT does (Cazenavette et al., CVPR 2022).

    An expert is a function of the seed and its number. One that was killed goes on with
    the epoch that it was in, and becomes what it would have become.

    Args:
        config: Its sections dataset, network, augmentation and evaluation are used, the
            last as `config.experts.expert_config` makes it, and the run's seed.
        settings: How many, and how they are kept.
        folder: Where they are kept: a file each.
        resume: Go on with the experts there, or add more to them.
        overwrite: Replace the experts there.
        data: The real set; loaded as `config.dataset` says if left out.
        preprocessing: A layer, pixels in 0..1 to model space; fitted to the training
            images if left out.

    Raises:
        UserError: something given cannot be used, or something else lies there.
    """
    folder = pathlib.Path(folder)
    if data is not None:
        config = replace(config, dataset__name=data.name)
    matter = training_settings(config, settings)
    trials = Trials(folder, matter, resume, overwrite)
    check = functools.partial(check_experts_training, config)
    data = checked_data(data, config.dataset, check)
    preprocessing = preprocessing or fit_to_data(config.dataset, data)
    config = resolve(config, data.image_shape)
    config = replace(config, evaluation__networks=settings.experts)
    with trials:
        keep_identity(trials, data)
        training = _Training(data, preprocessing, config, settings, folder)
        made = description(config, data, preprocessing)
        if overwrite:
            _forget(folder)
        trials.begin()
        save_description(folder, made)
        results = trials.run(
            range(settings.experts), training.one, f"{settings.word.title()}s"
        )
    for index in range(len(results)):
        if not (path := _path(folder, index)).exists():
            raise UserError(
                f"{path} is gone; restore it, or train all {settings.word}s anew with "
                "--overwrite"
            )
    if found := [one["accuracy"] for one in results if one["accuracy"] is not None]:
        said = "Test accuracy of the %ss: %.1f %% on average."
        log.info(said, settings.word, np.mean(found))
    return Experts(folder)


def train_missing(
    config: Config, data: RealData, preprocessing: Preprocessing | None = None
) -> Preprocessing:
    """Trains the networks that a run's method lacks, or goes on with them.

    Args:
        config: Of the run, whose `method.train_networks` says how many.
        data: The run's.
        preprocessing: The run's; fitted to the training images if left out.

    Returns:
        The preprocessing, which the run needs, too.

    Raises:
        UserError: as `train_experts`.
    """
    training, settings = own_training(config)
    folder = networks_folder(config)
    log.info(
        "Training %s of %s first, into %s, where later runs find them. What is stopped "
        "goes on, to the epoch, with the same command.",
        counted(settings.experts, settings.word),
        counted(training.evaluation.epochs, "epoch"),
        folder,
    )
    preprocessing = preprocessing or fit_to_data(config.dataset, data)
    train_experts(
        training, settings, folder, resume=True, data=data, preprocessing=preprocessing
    )
    return preprocessing


@dataclasses.dataclass(frozen=True)
class _Progress:
    """An expert that is not trained to its end yet.

    Attributes:
        state: To go on with, float32.
        epochs: That it is trained.
        kept: What is stored of it, by epoch.
    """

    state: State
    epochs: int
    kept: dict[int, Moment]


class _Training:
    """Trains one expert after the other."""

    def __init__(
        self,
        data: RealData,
        preprocessing: keras.layers.Layer,
        config: Config,
        settings: ExpertTraining,
        folder: pathlib.Path,
    ):
        self._epochs, self._count = config.evaluation.epochs, config.evaluation.networks
        self._settings, self._folder, self._test = settings, folder, data.test
        train = data.train
        self._trainer = Trainer(
            train.checked_images(),
            train.labels,
            data.num_classes,
            config,
            preprocessing,
            purpose=Purpose.EXPERT_NETWORK,
        )

    def one(self, index: int) -> dict:
        """Trains an expert, from its latest epoch on, and returns its accuracy in %."""
        trainer, number = self._trainer, tf.constant(index)
        progress = self._resumed(index) or self._begun(number)
        state, kept, done = progress.state, progress.kept, progress.epochs
        title = f"Training {self._settings.word} {index + 1} of {self._count}"
        total = self._epochs * trainer.batches
        with progress_bar(title, "update", total=total) as bar:
            bar.update(done * trainer.batches)
            for epoch in range(done, self._epochs):
                for first in range(0, trainer.batches, _BATCHES_A_CALL):
                    last = min(first + _BATCHES_A_CALL, trainer.batches)
                    numbers = map(tf.constant, (epoch, first, last))
                    state = trainer.train_batches(state, number, *numbers)
                    bar.update(last - first)
                state = trainer.train_rest(state, number, tf.constant(epoch))
                if self._settings.kept == "ends":
                    kept = {0: kept[0]}
                kept[epoch + 1] = self._moment(state)
                self._save(index, state, kept)
        accuracy = self._accuracy(state)
        self._unfinished(index).unlink(missing_ok=True)
        return {"accuracy": accuracy}

    def _begun(self, number: tf.Tensor) -> _Progress:
        state = self._trainer.initial_state(number)
        return _Progress(state, 0, {0: self._moment(state)})

    def _resumed(self, index: int) -> _Progress | None:
        """What a kill has left of an expert, if anything that can be used."""
        path = self._unfinished(index)
        if not path.exists():
            return None
        like = self._trainer.initial_state(tf.constant(index))
        names = _named(like)
        expected = {
            name: Array(tuple(value.shape), np.float32) for name, value in names.items()
        }
        expected["epochs"] = Array([], np.integer)
        try:
            arrays = read_npz(path, expected, _WHAT)
            expert, epochs = Expert(_path(self._folder, index)), int(arrays["epochs"])
            needed = range(1 if self._settings.kept == "ends" else epochs + 1)
            kept = {epoch: expert.moment(epoch) for epoch in needed}
        except UserError as error:
            log.warning(
                "%s: expert %d is trained from its beginning.", error, index + 1
            )
            return None
        values = [tf.constant(arrays[name]) for name in names]
        return _Progress(tf.nest.pack_sequence_as(like, values), epochs, kept)

    def _moment(self, state: State) -> Moment:
        weights, _, statistics = ([x.numpy() for x in part] for part in state)
        return Moment(packed(weights, self._settings.storage), statistics)

    def _save(self, index: int, state: State, kept: Mapping[int, Moment]) -> None:
        """Writes the weights so far first: the state says how many of them count."""
        weights = state[0]
        names = self._trainer.network.weight_names
        shapes = [tuple(weight.shape) for weight in weights]
        save_expert(_path(self._folder, index), names, shapes, kept)
        arrays = {name: value.numpy() for name, value in _named(state).items()}
        with atomic_file(self._unfinished(index)) as temporary:
            np.savez(temporary, epochs=np.int64(max(kept)), **arrays)

    def _unfinished(self, index: int) -> pathlib.Path:
        return self._folder / f"unfinished-{index:04d}.npz"

    def _accuracy(self, state: State) -> float | None:
        """On real test images, evenly from all, where there are any."""
        if self._test is None:
            return None
        labels = self._test.labels
        rows = np.linspace(0, len(labels) - 1, min(_TESTED, len(labels)))
        rows = np.unique(rows.round().astype(int))
        answers = self._trainer.predict(state, self._test.take(rows)).argmax(axis=1)
        return 100 * float(np.mean(answers == labels[rows]))


def _path(folder: pathlib.Path, index: int) -> pathlib.Path:
    return folder / f"expert-{index:04d}.npz"


def _named(state: State) -> dict[str, tf.Tensor]:
    """The tensors of a state by a name that stays, in the order of `tf.nest`."""
    return {f"state/{k}": value for k, value in enumerate(tf.nest.flatten(state))}


def _forget(folder: pathlib.Path) -> None:
    """Removes the experts in a folder; first what makes it one of experts."""
    (folder / DESCRIPTION).unlink(missing_ok=True)
    for pattern in ("unfinished-*.npz", "expert-*.npz"):
        for path in folder.glob(pattern):
            path.unlink()
