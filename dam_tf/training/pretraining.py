"""Networks trained on the real set, kept at many moments, to match through.

Table 7 asks whether DataDAM needs trained networks: states of networks along their
training, sorted by test accuracy, take the place of random ones.
"""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.base.messages import progress_bar
from dam_tf.base.seeds import Purpose
from dam_tf.base.trials import Trials
from dam_tf.config.places import with_absolute_paths
from dam_tf.config.pretraining import Pretraining
from dam_tf.config.settings import Config, replace, settings_that_matter
from dam_tf.data.identity import keep_identity
from dam_tf.data.real_data import RealData
from dam_tf.networks.pools import NetworkPool, StoredNetwork, save_network
from dam_tf.training.descent import State
from dam_tf.training.trainer import Trainer

_BATCHES_A_CALL = 20  # of training: how long Ctrl-C waits


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A network at one moment of its training.

    Attributes:
        path: A file of `networks.pools.save_network`: the whole network, batch norm's
            statistics included.
        network: The number of the network.
        updates: Updates it has had.
        accuracy: On real test images, 0 to 1.
    """

    path: pathlib.Path
    network: int
    updates: int
    accuracy: float


def pretrain(
    data: RealData,
    preprocessing: keras.layers.Layer,
    config: Config,
    settings: Pretraining,
    folder: os.PathLike | str,
) -> list[Pretrained]:
    """Trains networks on the real set and keeps each at moments along the way.

    Finished networks in `folder` are kept; one that a kill cut short starts anew.
    Batches at the end of an epoch that are not whole are left out.

    Args:
        data: The real set.
        preprocessing: A layer, pixels in 0..1 to model space.
        config: Its network, augmentation and evaluation sections are used.
        settings: How many, how long, how many moments.
        folder: Where the networks are kept.

    Raises:
        UserError: other networks lie in `folder`.
    """
    folder = pathlib.Path(folder)
    config = replace(config, evaluation__epochs=settings.epochs, distillation__seed=0)
    config = with_absolute_paths(config)
    train, test = data.train, data.tested()
    labels = test.labels
    trainer = Trainer(
        train.checked_images(),
        train.labels,
        data.num_classes,
        config,
        preprocessing,
        purpose=Purpose.POOL_NETWORK,
    )
    rows = np.unique(
        np.linspace(0, len(labels) - 1, min(settings.test_images, len(labels)))
        .round()
        .astype(int)
    )

    def one(index: int) -> dict:
        number, kept, done = tf.constant(index), [], 0
        state = trainer.initial_state(number)
        total = settings.epochs * trainer.batches
        title = f"Training network {index + 1} of {settings.networks}"
        with progress_bar(title, "update", total=total) as bar:
            for moment in moments(total, settings.checkpoints):
                state = _advance(trainer, state, number, done, moment, bar)
                done = moment
                answers = trainer.predict(state, test.take(rows)).argmax(axis=1)
                accuracy = float(np.mean(answers == labels[rows]))
                name = f"network-{index:04d}/updates-{moment:08d}.npz"
                save_network(folder / name, _stored(trainer, state))
                kept.append({"file": name, "updates": moment, "accuracy": accuracy})
                bar.set_postfix_str(f"{100 * accuracy:.1f} %", refresh=False)
        return {"checkpoints": kept}

    ignored = ["distillation.seed", "distillation.ipc"]
    all_settings = dataclasses.asdict(settings) | settings_that_matter(config, ignored)
    with Trials(folder, all_settings, resume=True) as trials:
        keep_identity(trials, data)
        results = trials.run(range(settings.networks), one, "Pretraining")
    return [
        Pretrained(folder / kept["file"], index, kept["updates"], kept["accuracy"])
        for index, result in enumerate(results)
        for kept in result["checkpoints"]
    ]


def moments(total: int, count: int) -> list[int]:
    """Returns at most `count` numbers of updates, from 1 to `total`, ever farther.

    Example:
        >>> moments(100, 5)
        [1, 3, 10, 32, 100]
    """
    spaced = np.geomspace(1, total, count) if count > 1 else [total]
    return sorted({int(number) for number in np.round(spaced)})


def in_bucket(found: Sequence[Pretrained], low: float, high: float) -> list[Pretrained]:
    """Returns those of at least `low` and less than `high` % (100 itself included).

    Args:
        found: Of `pretrain`.
        low: Test accuracy in %.
        high: Test accuracy in %.

    Example:
        >>> path = pathlib.Path("updates.npz")
        >>> found = [Pretrained(path, 0, 1, 0.2), Pretrained(path, 0, 9, 1.0)]
        >>> [one.updates for one in in_bucket(found, 0, 20)]
        []
        >>> [one.updates for one in in_bucket(found, 80, 100)]
        [9]
    """
    return [
        one
        for one in found
        if low <= 100 * one.accuracy < high or (high == 100 and one.accuracy == 1)
    ]


def load_pool(found: Sequence[Pretrained]) -> NetworkPool:
    """Returns the networks of `found`, at least one, to draw from.

    Raises:
        UserError: a file cannot be read.
    """
    try:
        return NetworkPool([one.path for one in found])
    except UserError as error:
        raise UserError(
            f"{error}; remove the folder {found[0].path.parents[1]} and --resume to "
            "train the networks again"
        ) from None


def _stored(trainer: Trainer, state: State) -> StoredNetwork:
    weights, _, statistics = state
    network = trainer.network
    return StoredNetwork(
        *(
            {name: x.numpy() for name, x in zip(names, values, strict=True)}
            for names, values in (
                (network.weight_names, weights),
                (network.statistic_names, statistics),
            )
        )
    )


def _advance(trainer: Trainer, state: State, number, done: int, moment: int, bar):
    while done < moment:
        epoch, first = divmod(done, trainer.batches)
        count = min(trainer.batches - first, moment - done, _BATCHES_A_CALL)
        numbers = [tf.constant(n) for n in (epoch, first, first + count)]
        state = trainer.train_batches(state, number, *numbers)
        done += count
        bar.update(count)
    return state
