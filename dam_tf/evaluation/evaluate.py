"""How good a set is: networks trained on it from scratch, tested on real images."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dam_tf.base.devices import Workers
from dam_tf.base.errors import UserError
from dam_tf.base.json_lines import append_json, read_json_lines
from dam_tf.base.messages import progress_bar
from dam_tf.config.schema import to_dict
from dam_tf.config.settings import Config
from dam_tf.data.loading import load_dataset
from dam_tf.data.preprocessing.preprocessing import fit_preprocessing
from dam_tf.data.real_data import RealData
from dam_tf.evaluation.scheduling import train_and_test
from dam_tf.runs.folder import find_run
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.training.trainer import Trainer, trainer_of

RANDOM, WHOLE = "random", "whole"  # what a record may be of, besides a run

_LARGEST_CONFUSION = 100  # classes, up to which a JSON line holds the matrix


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """Test results of several networks, each after its last epoch.

    Attributes:
        accuracies: Shares of right answers on the test split, 0 to 1.
        confusion: int64 `[classes, classes]`, how often, over all networks, an
            image of a class (row) was taken for a class (column); None where only
            the accuracies are known.
        sets: How many sets the networks were trained on.

    Example:
        >>> print(Evaluation((0.3, 0.4)))
        35.0 ± 5.0 % over 2 networks
    """

    accuracies: tuple[float, ...]
    confusion: np.ndarray | None = None
    sets: int = 1

    @classmethod
    def of(cls, predictions: Sequence[np.ndarray], labels: np.ndarray, classes: int):
        """Returns the evaluation of networks that took `labels` for `predictions`.

        Args:
            predictions: For each network, a class for each test image, `[n]`.
            labels: The right ones, `[n]`.
            classes: Number of classes.

        Example:
            >>> answers, labels = np.array([0, 1, 1]), np.array([0, 0, 1])
            >>> evaluation = Evaluation.of([answers], labels, 2)
            >>> evaluation.confusion.tolist(), evaluation.per_class.tolist()
            ([[1, 1], [0, 1]], [0.5, 1.0])
        """
        confusion = np.zeros([classes, classes], np.int64)
        for predicted in predictions:
            np.add.at(confusion, (labels, predicted), 1)
        accuracies = tuple(float(np.mean(p == labels)) for p in predictions)
        return cls(accuracies, confusion)

    @property
    def mean(self) -> float:
        """Mean accuracy, 0 to 1."""
        return float(np.mean(self.accuracies))

    @property
    def deviation(self) -> float:
        """Standard deviation over the networks (n in the denominator)."""
        return float(np.std(self.accuracies))

    @property
    def per_class(self) -> np.ndarray:
        """Accuracy on each class, `[classes]`; NaN for one without test images."""
        if self.confusion is None:
            raise ValueError("only the accuracies of this evaluation are known")
        with np.errstate(invalid="ignore"):
            return np.diag(self.confusion) / self.confusion.sum(axis=1)

    def __str__(self) -> str:
        count = len(self.accuracies)
        sets = f" on {self.sets} sets" if self.sets > 1 else ""
        return (
            f"{100 * self.mean:.1f} ± {100 * self.deviation:.1f} % over {count} "
            f"network{'s' if count > 1 else ''}{sets}"
        )


def join(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Returns one evaluation of several sets, such as the paper's 5 x 20 networks.

    Example:
        >>> print(join([Evaluation((0.3, 0.4)), Evaluation((0.5, 0.6))]))
        45.0 ± 11.2 % over 4 networks on 2 sets
    """
    return Evaluation(
        tuple(a for evaluation in evaluations for a in evaluation.accuracies),
        sum(evaluation.confusion for evaluation in evaluations)
        if all(evaluation.confusion is not None for evaluation in evaluations)
        else None,
        sum(evaluation.sets for evaluation in evaluations),
    )


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
        The results of `config.evaluation.models` networks, on every worker.

    Raises:
        WorkerLost: another worker has stopped.
        UserError: the set cannot be read, or is not of the same classes or image
            size as the real data.

    Example:
        >>> from dam_tf.config.settings import make_config
        >>> settings = {"evaluation.epochs": 2, "evaluation.models": 3}
        >>> config = make_config(overrides={**settings, "network.width": 8})
        >>> data = load_dataset(config.dataset)  # digits, which ship with scikit-learn
        >>> grey = np.full([10, *data.image_shape], 0.5, np.float32)
        >>> distilled = DistilledSet(grey, np.arange(10), data.class_names)
        >>> len(evaluate(distilled, config, data).accuracies)
        3
    """
    if not isinstance(distilled, DistilledSet):
        if config is None:
            config = find_run(distilled).settings()
        distilled = DistilledSet.load(distilled)
    if config is None:
        raise UserError("a set that was not loaded from a run needs a configuration")
    data = data or load_dataset(config.dataset)
    check_match(distilled, data)
    return _evaluate(trainer_of(distilled, config), data, config, strategy)


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
        The results of `config.evaluation.models` networks.

    Raises:
        WorkerLost: another worker has stopped.
        UserError: the data cannot be read.

    Example:
        >>> from dam_tf.config.settings import make_config
        >>> settings = {"evaluation.epochs": 1, "evaluation.models": 1}
        >>> config = make_config(overrides={**settings, "network.width": 8})
        >>> evaluate_whole_set(config).confusion.shape
        (10, 10)
    """
    data = data or load_dataset(config.dataset)
    preprocessing = fit_preprocessing(
        config.dataset.preprocessing_kind, data.train.checked_images()
    )
    train = data.train
    trainer = Trainer(
        train.checked_images(), train.labels, data.num_classes, config, preprocessing
    )
    return _evaluate(trainer, data, config, strategy)


def _evaluate(trainer: Trainer, data: RealData, config: Config, strategy) -> Evaluation:
    settings, test = config.evaluation, data.tested()
    labels = test.labels
    total = settings.models * settings.epochs
    watched = Workers(strategy).watched()
    with watched, progress_bar("Evaluating", "epoch", total=total) as bar:

        def show(epochs: int, predictions: Sequence[np.ndarray]) -> None:
            if predictions:
                accuracy = np.mean([np.mean(p == labels) for p in predictions])
                bar.set_postfix_str(f"{100 * accuracy:.1f} % so far", False)
            bar.update(epochs - bar.n)

        predictions = train_and_test(trainer, test, settings, show, strategy)
    return Evaluation.of(predictions, labels, data.num_classes)


def compare(
    evaluation: Evaluation,
    whole_set: float | None = None,
    random_real: float | None = None,
) -> dict[str, float]:
    """Returns how good a set is for what it replaces, as far as that is known.

    `share_of_full` is its accuracy over that of the whole set. The others are
    DD-Ranking's measures (Li et al., 2025) for hard labels:
    `hard_label_recovery` = whole set - set, the less the better, and
    `improvement_over_random` = set - random real images.

    Args:
        evaluation: Of the set.
        whole_set: Mean accuracy of networks trained on all real images, 0 to 1.
        random_real: That of networks trained on as many random real images.

    Example:
        >>> compare(Evaluation((0.5,)), whole_set=0.8)
        {'share_of_full': 0.625, 'hard_label_recovery': 0.3}
    """
    measures = {}
    if whole_set:
        measures["share_of_full"] = evaluation.mean / whole_set
        measures["hard_label_recovery"] = whole_set - evaluation.mean
    if random_real is not None:
        measures["improvement_over_random"] = evaluation.mean - random_real
    return {name: round(value, 6) for name, value in measures.items()}


def find_references(
    paths: Iterable[os.PathLike | str], config: Config
) -> dict[str, float]:
    """Looks up the whole set and random images in the results of earlier evaluations.

    Those of the same data and network count, for random images also of the same
    ipc; the latest one wins.

    Args:
        paths: Files of JSON lines that `save_record` wrote; missing ones are passed
            over.
        config: The settings of what is to be compared.

    Returns:
        Arguments of `compare`: mean accuracies by name.
    """
    names, found = {WHOLE: "whole_set", RANDOM: "random_real"}, {}
    for path in paths:
        for line in read_json_lines(path):
            name = names.get(line.get("distilled"))
            if name and _comparable(line["config"], config, name == "random_real"):
                found[name] = line["accuracy"]
    return found


def _comparable(theirs: Mapping[str, Any], config: Config, same_ipc: bool) -> bool:
    mine = to_dict(config)
    for section in ("dataset", "network"):
        for key in mine[section].keys() | theirs[section].keys():
            if key in ("data_dir", "cache", "depth"):  # None, or what None means
                continue
            if mine[section].get(key) != theirs[section].get(key):
                return False
    return not same_ipc or (
        mine["distillation"]["ipc"] == theirs["distillation"]["ipc"]
    )


def record(
    evaluation: Evaluation,
    what: str,
    config: Config,
    measures: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Returns an evaluation and the settings that made it, ready for JSON.

    Args:
        evaluation: The results. The confusion matrix is left out above 100 classes.
        what: The set: a run's folder, `random` or `whole`.
        config: The settings.
        measures: Of `compare`.
    """
    line = {
        "distilled": what,
        "accuracy": round(evaluation.mean, 6),
        "deviation": round(evaluation.deviation, 6),
        "sets": evaluation.sets,
        "accuracies": [round(accuracy, 6) for accuracy in evaluation.accuracies],
        **(measures or {}),
    }
    if evaluation.confusion is not None:
        line["per_class"] = [
            None if np.isnan(a) else round(float(a), 6) for a in evaluation.per_class
        ]
        if len(evaluation.confusion) <= _LARGEST_CONFUSION:
            line["confusion"] = evaluation.confusion.tolist()
    return {**line, "config": to_dict(config)}


def save_record(line: Mapping[str, Any], *paths: os.PathLike | str) -> None:
    """Appends one JSON line to each of `paths`."""
    for path in paths:
        append_json(path, line)


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
