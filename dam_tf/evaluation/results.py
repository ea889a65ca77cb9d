"""What evaluations find: joined, compared, kept as JSON lines and found again.

Nothing here trains a network or imports TensorFlow.
"""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dam_tf.base.json_lines import read_json_lines
from dam_tf.base.words import counted, mean_and_deviation
from dam_tf.config.schema import flat, keys_that_affect, to_dict
from dam_tf.config.settings import Config

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
        kind: What was tested: each a "network", or a "regression" by a kernel.

    Example:
        >>> print(Evaluation((0.3, 0.4)))
        35.0 ± 5.0 % over 2 networks
        >>> print(Evaluation((0.3,)))
        30.0 % over 1 network
    """

    accuracies: tuple[float, ...]
    confusion: np.ndarray | None = None
    sets: int = 1
    kind: str = "network"

    @classmethod
    def of(
        cls, predictions: Sequence[np.ndarray], labels: np.ndarray, classes: int
    ) -> "Evaluation":
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

    @classmethod
    def join(cls, evaluations: Sequence["Evaluation"]) -> "Evaluation":
        """Returns one evaluation of several sets, such as the paper's 5 x 20 networks.

        Example:
            >>> print(Evaluation.join([Evaluation((0.3, 0.4)), Evaluation((0.5, 0.6))]))
            45.0 ± 11.2 % over 4 networks on 2 sets
        """
        known = all(evaluation.confusion is not None for evaluation in evaluations)
        return cls(
            tuple(a for evaluation in evaluations for a in evaluation.accuracies),
            sum(evaluation.confusion for evaluation in evaluations) if known else None,
            sum(evaluation.sets for evaluation in evaluations),
            evaluations[0].kind,
        )

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
        text = mean_and_deviation(100 * self.mean, 100 * self.deviation, count)
        return f"{text} % over {counted(count, self.kind)}{sets}"

    def compare(
        self, whole_set: float | None = None, random_real: float | None = None
    ) -> dict[str, float]:
        """Returns how good the set is for what it replaces, as far as that is known.

        `share_of_full` is its accuracy over that of the whole set. The others are
        DD-Ranking's measures (Li et al., 2025) for hard labels:
        `hard_label_recovery` = whole set - set, the less the better, and
        `improvement_over_random` = set - random real images.

        Args:
            whole_set: Mean accuracy of networks trained on all real images, 0 to 1.
            random_real: That of networks trained on as many random real images.

        Example:
            >>> Evaluation((0.5,)).compare(whole_set=0.8)
            {'share_of_full': 0.625, 'hard_label_recovery': 0.3}
        """
        measures = {}
        if whole_set:
            measures["share_of_full"] = self.mean / whole_set
            measures["hard_label_recovery"] = whole_set - self.mean
        if random_real is not None:
            measures["improvement_over_random"] = self.mean - random_real
        return {name: round(value, 6) for name, value in measures.items()}

    def record(
        self,
        what: str,
        config: Config,
        measures: Mapping[str, float] | None = None,
    ) -> dict[str, Any]:
        """Returns the results and the settings that made them, ready for JSON.

        Args:
            what: The set: a run's folder, `random` or `whole`.
            config: The settings.
            measures: Of `compare`.

        Returns:
            What `append_json` writes. The confusion matrix is left out above 100
            classes.

        Example:
            >>> Evaluation((0.5,)).record("runs/a", Config())["accuracies"]
            [0.5]
        """
        line = {
            "distilled": what,
            "accuracy": round(self.mean, 6),
            "deviation": round(self.deviation, 6),
            "sets": self.sets,
            "accuracies": [round(accuracy, 6) for accuracy in self.accuracies],
            **(measures or {}),
        }
        if self.confusion is not None:
            line["per_class"] = [
                None if np.isnan(a) else round(float(a), 6) for a in self.per_class
            ]
            if len(self.confusion) <= _LARGEST_CONFUSION:
                line["confusion"] = self.confusion.tolist()
        return {**line, "config": to_dict(config)}


def find_references(
    paths: Iterable[os.PathLike | str], config: Config
) -> dict[str, float]:
    """Looks up the whole set and random images in the results of earlier evaluations.

    Those of the same data and network count, for random images also of the same
    ipc; the latest one wins.

    Args:
        paths: Files of JSON lines, each a `record`; missing ones are passed over.
        config: The settings of what is to be compared.

    Returns:
        Arguments of `Evaluation.compare`: mean accuracies by name.
    """
    names, found = {WHOLE: "whole_set", RANDOM: "random_real"}, {}
    for path in paths:
        for line in read_json_lines(path):
            what, accuracy = line.get("distilled"), line.get("accuracy")
            name = names.get(what) if isinstance(what, str) else None
            known = name and isinstance(accuracy, float)
            if known and _comparable(line.get("config"), config, name == "random_real"):
                found[name] = accuracy
    return found


def _comparable(theirs: Any, config: Config, same_ipc: bool) -> bool:
    if not isinstance(theirs, dict):
        return False
    mine, theirs = flat(to_dict(config)), flat(theirs)
    # A depth is None in one and what None means in the other.
    free = keys_that_affect(Config, "files", "speed") | {"network.depth"}
    same = {
        key
        for key in mine.keys() | theirs.keys()
        if key.startswith(("dataset.", "network.")) and key not in free
    }
    if same_ipc:
        same |= {"distillation.ipc", "distillation.images_per_class"}
    return all(mine.get(key) == theirs.get(key) for key in same)
