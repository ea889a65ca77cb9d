"""How good a set is: networks trained on it from scratch, tested on real images."""

import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tqdm

from dam_tf.config import Config, to_dict
from dam_tf.datasets import RealData, load_dataset
from dam_tf.datasets.preprocessing import Preprocessing, fit_preprocessing
from dam_tf.distilled_set import DistilledSet
from dam_tf.errors import UserError
from dam_tf.initial_images import initial_images
from dam_tf.run_folder import append_json, find_run
from dam_tf.training import train_and_test


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Test accuracies of several networks, each after its last epoch.

    Attributes:
        accuracies: Shares of right answers on the test split, 0 to 1.

    Example:
        >>> print(Evaluation((0.3, 0.4)))
        35.0 ± 5.0 % over 2 networks
    """

    accuracies: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean accuracy, 0 to 1."""
        return float(np.mean(self.accuracies))

    @property
    def deviation(self) -> float:
        """Standard deviation over the networks (n in the denominator)."""
        return float(np.std(self.accuracies))

    def __str__(self) -> str:
        count = len(self.accuracies)
        return (
            f"{100 * self.mean:.1f} ± {100 * self.deviation:.1f} % over {count} "
            f"network{'s' if count > 1 else ''}"
        )


def evaluate(
    distilled: DistilledSet | os.PathLike | str,
    config: Config | None = None,
    data: RealData | None = None,
) -> Evaluation:
    """Trains fresh networks on a set and tests them on the real test split.

    Args:
        distilled: A `DistilledSet`, or the folder of a run.
        config: Its dataset section says which test images are used, its network,
            augmentation and evaluation sections how networks are trained. Left
            out, it is read from the run's folder.
        data: The real data, if they are loaded already.

    Returns:
        The accuracy of each of `config.evaluation.models` networks.

    Raises:
        UserError: the set cannot be read, or is not of the same classes or image
            size as the real data.

    Example:
        >>> evaluate("runs/digits_ipc1_datadam_seed0").mean  # doctest: +SKIP
        0.87
    """
    if not isinstance(distilled, DistilledSet):
        if config is None:
            config = find_run(distilled).settings()
        distilled = DistilledSet.load(distilled)
    if config is None:
        raise UserError("a set that was not loaded from a run needs a configuration")
    data = data or load_dataset(config.dataset)
    _check_match(distilled, data)
    images, labels = distilled.to_numpy("model")
    settings = config.evaluation
    quiet = not sys.stderr.isatty()
    with tqdm.tqdm(
        total=settings.models * settings.epochs,
        desc="Evaluating",
        unit="epoch",
        dynamic_ncols=True,
        mininterval=30 if quiet else 0.1,
    ) as bar:

        def show(network: int, epochs: int, accuracies: Sequence[float]) -> None:
            if accuracies:
                bar.set_postfix_str(f"{100 * np.mean(accuracies):.1f} % so far", False)
            bar.update(network * settings.epochs + epochs - bar.n)

        accuracies = train_and_test(
            images,
            labels,
            data.test,
            data.num_classes,
            distilled.preprocessing or Preprocessing("none"),
            config,
            show,
        )
    return Evaluation(tuple(accuracies))


def random_real_set(
    data: RealData, config: Config, preprocessing: Preprocessing | None = None
) -> DistilledSet:
    """Returns the random baseline: real images, ipc of each class, as a set.

    Args:
        data: The real data.
        config: Its ipc and seed are used.
        preprocessing: Fitted to the training images; fitted anew if left out.

    Raises:
        UserError: ipc is larger than a class.
    """
    preprocessing = preprocessing or fit_preprocessing(
        config.dataset.preprocessing_kind, data.train.images
    )
    settings = dataclasses.replace(config.distillation, init="random")
    images = initial_images(
        data.train, data.class_names, settings, Preprocessing("none")
    )
    return DistilledSet(
        images.reshape(-1, *data.image_shape),
        np.repeat(np.arange(data.num_classes), settings.ipc),
        data.class_names,
        preprocessing,
        data.name,
    )


def record(evaluation: Evaluation, what: str, config: Config) -> Mapping[str, Any]:
    """Returns an evaluation and the settings that made it, ready for JSON.

    Args:
        evaluation: The accuracies.
        what: The set: a run's folder, or `random`.
        config: The settings.
    """
    return {
        "distilled": what,
        "accuracy": round(evaluation.mean, 6),
        "deviation": round(evaluation.deviation, 6),
        "accuracies": [round(accuracy, 6) for accuracy in evaluation.accuracies],
        "config": to_dict(config),
    }


def save_record(line: Mapping[str, Any], *paths: os.PathLike | str) -> None:
    """Appends one JSON line to each of `paths`."""
    json.dumps(line)  # fails before anything is written
    for path in paths:
        append_json(path, line)


def _check_match(distilled: DistilledSet, data: RealData) -> None:
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
