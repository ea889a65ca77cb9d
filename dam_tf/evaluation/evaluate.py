"""How good a set is: networks trained on it from scratch, tested on real images.

What they answer is an `Evaluation` (`results.py`).
"""

import functools
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from dam_tf.base.devices import Workers
from dam_tf.base.errors import UserError
from dam_tf.base.messages import progress_bar
from dam_tf.config.image_counts import image_counts
from dam_tf.config.settings import Config
from dam_tf.data.loading import checked_data, load_dataset
from dam_tf.data.preprocessing.preprocessing import fit_to_data
from dam_tf.data.real_data import RealData, Split
from dam_tf.data.source import Contents
from dam_tf.evaluation.results import Evaluation
from dam_tf.evaluation.scheduling import train_and_test
from dam_tf.runs.folder import find_run, run_at
from dam_tf.runs.provenance import check_run_data, tell_start
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.synthetic.formation import factor_of
from dam_tf.synthetic.npz import NpzSet
from dam_tf.training.by_recipe import by_recipe
from dam_tf.training.memory import check_training
from dam_tf.training.on_distilled import trainer_of
from dam_tf.training.trainer import Trainer


def evaluate(
    distilled: DistilledSet | os.PathLike | str,
    config: Config | None = None,
    data: RealData | None = None,
    strategy: tf.distribute.Strategy | None = None,
) -> Evaluation:
    """Trains fresh networks on a set and tests them on the real test split.

    Args:
        distilled: A `DistilledSet`, or the folder of a run.
        config: Its dataset section says which test images are used, its network,
            augmentation and evaluation sections how networks are trained. Left
            out, it is read from the run's folder.
        data: The real data, if they are loaded already.
        strategy: Devices and workers, each of which trains some of the networks. A
            network is the same wherever it is trained.

    Returns:
        The results of `config.evaluation.networks` networks, on every worker.

    Raises:
        WorkerLost: another worker has stopped.
        UserError: the set cannot be read, is not of the same classes or image
            size as the real data, or lies in the folder of a run of other data.

    Example:
        >>> from dam_tf import make_config
        >>> settings = {"evaluation.epochs": 2, "evaluation.networks": 3}
        >>> config = make_config(overrides={**settings, "network.width": 8})
        >>> data = load_dataset(config.dataset)  # digits, which ship with scikit-learn
        >>> grey = np.full([10, *data.image_shape], 0.5, np.float32)
        >>> distilled = DistilledSet(grey, np.arange(10), data.class_names)
        >>> len(evaluate(distilled, config, data).accuracies)
        3
    """
    run = None
    if not isinstance(distilled, DistilledSet):
        run = run_at(distilled) if config else find_run(distilled)
        config = config or run.settings()
        distilled = DistilledSet.load(distilled)
    if config is None:
        raise UserError("a set that was not loaded from a run needs a configuration")
    config = by_recipe(distilled, config)
    shape, count = distilled.image_shape, len(distilled.images)
    check_training(shape, distilled.num_classes, config, count)
    data = data or load_dataset(config.dataset)
    if run is not None:
        check_run_data(run, data)
    check_match(distilled, data)
    trainer, test = trainer_of(distilled, config), data.tested()
    tell_start(data)
    return _evaluate(trainer, test, distilled.num_classes, config, strategy)


def evaluate_on(
    distilled: DistilledSet,
    test: Split,
    config: Config,
    strategy: tf.distribute.Strategy | None = None,
) -> Evaluation:
    """Trains fresh networks on a set and tests them on given images.

    Args:
        distilled: The set.
        test: Real images of the classes and of the shape of the set.
        config: Its network, augmentation and evaluation sections are used.
        strategy: As for `evaluate`.
    """
    config = by_recipe(distilled, config)
    trainer, classes = trainer_of(distilled, config), distilled.num_classes
    return _evaluate(trainer, test, classes, config, strategy)


def evaluate_whole_set(
    config: Config,
    data: RealData | None = None,
    strategy: tf.distribute.Strategy | None = None,
) -> Evaluation:
    """Trains networks on all real training images: the upper bound of any set.

    Args:
        config: As for `evaluate`; mind its epochs, each of which is a pass over the
            whole training split.
        data: The real data, if they are loaded already.
        strategy: As for `evaluate`.

    Returns:
        The results of `config.evaluation.networks` networks.

    Raises:
        WorkerLost: another worker has stopped.
        UserError: the data cannot be read.

    Example:
        >>> from dam_tf import make_config
        >>> settings = {"evaluation.epochs": 1, "evaluation.networks": 1}
        >>> config = make_config(overrides={**settings, "network.width": 8})
        >>> evaluate_whole_set(config).confusion.shape
        (10, 10)
    """
    if config.evaluation.recipe == "own":
        raise UserError(
            "the whole set has no recipe of its own; give evaluation.recipe=common"
        )
    check = functools.partial(check_networks, config, whole=True)
    data = checked_data(data, config.dataset, check)
    preprocessing = fit_to_data(config.dataset, data)
    train, test = data.train, data.tested()
    trainer = Trainer(
        train.checked_images(), train.labels, data.num_classes, config, preprocessing
    )
    tell_start(data)
    return _evaluate(trainer, test, data.num_classes, config, strategy)


def check_networks(
    config: Config, data: RealData | Contents, whole: bool = False
) -> None:
    """Raises a `UserError` where networks cannot be trained on images like these.

    Args:
        config: As for `evaluate`.
        data: The real data, read or not.
        whole: Whether they are trained on all of its images, or on ipc of each class.
    """
    classes, settings = len(data.class_names), config.distillation
    real = data.train.counts
    stored = sum(image_counts(settings, classes, real))
    images = real.sum() if whole else stored * factor_of(settings.formation) ** 2
    check_training(data.image_shape, classes, config, int(images))


def _evaluate(
    trainer: Trainer, test: Split, classes: int, config: Config, strategy
) -> Evaluation:
    settings, labels = config.evaluation, test.labels
    total = settings.networks * settings.epochs
    watched = Workers(strategy).watched()
    with watched, progress_bar("Evaluating", "epoch", total=total) as bar:

        def show(epochs: int, predictions: Sequence[np.ndarray]) -> None:
            if predictions:
                accuracy = np.mean([np.mean(p == labels) for p in predictions])
                bar.set_postfix_str(f"{100 * accuracy:.1f} % so far", False)
            bar.update(epochs - bar.n)

        predictions = train_and_test(trainer, test, settings, show, strategy)
    return Evaluation.of(predictions, labels, classes)


def sets_of_files(
    files: Sequence[NpzSet], config: Config, data: RealData
) -> tuple[list[DistilledSet], Config]:
    """Returns sets that other programs made, and what their evaluation's settings are.

    Args:
        files: What npz files hold.
        config: As for `evaluate`.
        data: The real data that they stand for.

    Raises:
        UserError: what a file holds does not fit together, is not of `data`, or
            networks see it otherwise than that of the first.
    """
    sets, found = [], []
    for file in files:
        one, settings = file.of_data(data, config)
        check_match(one, data)
        if found and settings != found[0]:
            raise UserError(
                f"{files[0].path} and {file.path} differ in images per class or in "
                "what networks see, so their results cannot be joined; test them one "
                "at a time"
            )
        sets.append(one)
        found.append(settings)
    return sets, found[0]


def check_match(distilled: DistilledSet, data: RealData) -> None:
    """Raises a `UserError` if `distilled` has not the images or classes of `data`."""
    if distilled.image_shape != data.image_shape:
        raise UserError(
            f"the distilled images are {distilled.image_shape}, those of "
            f"{data.name} {data.image_shape}; choose --image_size to match"
        )
    if distilled.class_names != data.class_names:
        raise UserError(
            f"the distilled set has other classes than {data.name}: "
            f"{_some(distilled.class_names)} against {_some(data.class_names)}"
        )


def _some(names: Sequence[str]) -> str:
    text = ", ".join(names[:3])
    return f"{text}, ... ({len(names)})" if len(names) > 3 else text
