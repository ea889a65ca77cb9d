"""Coresets: real images chosen to stand for all, as a set and as a run's folder.

The baselines that distillation is compared with. What is chosen is a
`DistilledSet` like any other, so evaluation and export take it.
"""

import functools
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from dam_tf.base.messages import progress_bar
from dam_tf.base.seeds import Purpose, numpy_generator
from dam_tf.config.image_counts import image_counts
from dam_tf.config.places import with_absolute_paths
from dam_tf.config.settings import Config, replace, resolve, save_config
from dam_tf.data.loading import load_dataset
from dam_tf.data.preprocessing.preprocessing import Preprocessing, fit_to_data
from dam_tf.data.real_data import RealData
from dam_tf.data.rules import (
    forgetting_counts,
    herding,
    k_center,
    most_forgotten,
    random_rows,
)
from dam_tf.data.source import Contents
from dam_tf.runs.folder import RunFolder
from dam_tf.runs.provenance import Provenance, tell_start
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.synthetic.initial import check_ipc, in_model_space
from dam_tf.training.memory import check_training
from dam_tf.training.trainer import Trainer


def select(
    config: Config, output_dir: os.PathLike | str, overwrite: bool = False
) -> DistilledSet:
    """Chooses a coreset as `config` says, and keeps it in `output_dir` as a run.

    The folder is written at the end; an interrupted selection leaves what was there.

    Args:
        config: The settings, from `dam_tf.make_config`: those of `coreset`.
        output_dir: The run's folder; made if missing.
        overwrite: Replace the run that lies there.

    Returns:
        The coreset, which also lies in `output_dir`.

    Raises:
        UserError: something given cannot be used.

    Example:
        >>> import tempfile
        >>> from dam_tf import make_config
        >>> settings = {"distillation.ipc": 10, "selection.space": "pixels"}
        >>> select(make_config(overrides=settings), tempfile.mkdtemp()).images.shape
        (100, 8, 8, 1)
    """
    folder = RunFolder(pathlib.Path(output_dir))
    config = with_absolute_paths(config)
    # A folder that is read-only is refused now, not after the work.
    with folder.written(config, resume=None, overwrite=overwrite):
        data = load_dataset(
            config.dataset, functools.partial(check_selection, config=config)
        )
        config = resolve(config, data.image_shape)
        tell_start(data)
        chosen = coreset(data, config)
        folder.clear()
        folder.remove_leftovers()
        save_config(config, folder.config)
        Provenance.of(config, data, networks=None).save(folder.provenance)
        folder.save_set(chosen)
    return chosen


def check_selection(data: RealData | Contents, config: Config) -> None:
    """Refuses what shapes and counts show to be impossible, before images are read."""
    settings, real = config.distillation, data.train.counts
    counts = image_counts(settings, len(data.class_names), real)
    check_ipc(data.train, data.class_names, counts, instead="")
    images, classes = int(data.train.counts.sum()), len(data.class_names)
    check_training(data.image_shape, classes, config, images)


def coreset(
    data: RealData,
    config: Config,
    preprocessing: Preprocessing | None = None,
    counts: Sequence[int] | None = None,
) -> DistilledSet:
    """Returns real images of each class, chosen as `config.selection` says.

    `random` draws them; `herding` and `k-center` compare the images of a class in
    `selection.space`: pixels in model space, or the embedding (before the
    classifier, not normalised) of a network with random weights or one trained on
    all images; `forgetting` counts how often each is forgotten in that training.
    The network is that of section network, and trained as section evaluation says,
    augmentation included, but for `selection.epochs`.

    Args:
        data: The real data.
        config: Its selection, network, augmentation and evaluation sections are
            used, and ipc, images_per_class and seed.
        preprocessing: Fitted to the training images; fitted anew if left out.
        counts: Images of each class; as `config` says if left out.

    Raises:
        UserError: more are wanted of a class than it has.

    Example:
        >>> from dam_tf import make_config
        >>> config = make_config(overrides={"selection.space": "pixels"})
        >>> coreset(load_dataset(config.dataset), config).labels
        array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """
    if counts is None:
        settings = config.distillation
        counts = image_counts(settings, data.num_classes, data.train.counts)
    check_ipc(data.train, data.class_names, counts, instead="")
    preprocessing = preprocessing or fit_to_data(config.dataset, data)
    rows = RULES[config.selection.method](data, config, preprocessing, counts)
    first = np.repeat(data.train.offsets[:-1], counts)
    images = data.train.take(np.concatenate(rows) + first)
    return DistilledSet(
        in_model_space(images, Preprocessing("none")),
        np.repeat(np.arange(data.num_classes), counts),
        data.class_names,
        preprocessing,
        data.name,
    )


def random_real_set(
    data: RealData,
    config: Config,
    preprocessing: Preprocessing | None = None,
    counts: Sequence[int] | None = None,
) -> DistilledSet:
    """Returns the random baseline: real images of each class, as a set.

    Args:
        data: The real data.
        config: Its ipc, images_per_class and seed are used.
        preprocessing: Fitted to the training images; fitted anew if left out.
        counts: Images of each class; as `config` says if left out.

    Raises:
        UserError: more are wanted of a class than it has.

    Example:
        >>> from dam_tf import make_config
        >>> config = make_config(overrides={"distillation.ipc": 2})
        >>> random_real_set(load_dataset(config.dataset), config).ipc
        2
    """
    config = replace(config, selection__method="random")
    return coreset(data, config, preprocessing, counts)


# What follows returns which rows of each class are chosen, so many of each.


def _random(data, config, preprocessing, counts):
    seed = config.distillation.seed
    return [
        random_rows(size, counts[label], seed, label)
        for label, size in enumerate(data.train.counts)
    ]


def _by_distance(rule: Callable[[np.ndarray, int], np.ndarray]):
    def rows(data, config, preprocessing, counts):
        vectors = _vectors_function(data, config, preprocessing)
        labels = progress_bar("Choosing", "class", range(data.num_classes))
        # Class by class: the vectors of a whole data set may not fit in memory.
        return [rule(vectors(data.train.class_images(k)), counts[k]) for k in labels]

    return rows


def _forgetting(data, config, preprocessing, counts):
    seed, offsets = config.distillation.seed, data.train.offsets
    forgotten = forgetting_counts(_Network(data, config, preprocessing).train())
    return [
        most_forgotten(
            forgotten[offsets[label] : offsets[label + 1]],
            counts[label],
            numpy_generator(seed, Purpose.SELECTION, label),
        )
        for label in range(data.num_classes)
    ]


RULES = {
    "random": _random,
    "herding": _by_distance(herding),
    "k-center": _by_distance(k_center),
    "forgetting": _forgetting,
}


def _vectors_function(data, config, preprocessing):
    """Returns the function from uint8 images to the vectors of `selection.space`."""
    if config.selection.space == "pixels":
        return lambda images: in_model_space(images, preprocessing).reshape(
            len(images), -1
        )
    network = _Network(data, config, preprocessing)
    if config.selection.space == "trained":
        for _ in network.train():
            pass
    return network.embed


class _Network:
    """A network that chooses: its weights drawn, then trained on all images."""

    def __init__(self, data, config, preprocessing):
        self._epochs = config.selection.epochs
        config = replace(config, evaluation__epochs=self._epochs)
        self._trainer = Trainer(
            data.train.checked_images(),
            data.train.labels,
            data.num_classes,
            config,
            preprocessing,
            purpose=Purpose.SELECTION_NETWORK,
        )
        self._state = self._trainer.initial_state(0)

    def train(self) -> Iterator[np.ndarray]:
        """Trains, and yields after each epoch which images were right, bool [n]."""
        bar = progress_bar("Training on all images", "epoch", range(self._epochs))
        for epoch in bar:
            self._state, right = self._trainer.train_epoch(self._state, 0, epoch)
            bar.set_postfix_str(f"{100 * np.mean(right):.1f} % right", refresh=False)
            yield right

    def embed(self, images: np.ndarray) -> np.ndarray:
        """Returns the embedding of uint8 images, `[n, d]`."""
        return self._trainer.embed(self._state, images)
