"""What the cells of a row come to: accuracies, their spread, DD-Ranking's measures."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dam_tf.studies.benchmark.cells import FAILED
from dam_tf.studies.rows import RANDOM, WHOLE


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """Test accuracies of several networks on each of several sets, 0 to 1.

    Attributes:
        sets: For each set, those of its networks.

    Example:
        >>> found = Accuracy([[0.3, 0.5], [0.6, 0.8]])
        >>> found.mean, found.over_networks, found.over_sets
        (0.55, 0.1, 0.15)
    """

    sets: Sequence[Sequence[float]]

    @property
    def mean(self) -> float:
        """Over all networks."""
        return _rounded(np.mean([np.mean(one) for one in self.sets]))

    @property
    def over_networks(self) -> float:
        """Standard deviation over the networks of one set, root mean square of all."""
        return _rounded(math.sqrt(np.mean([np.var(one) for one in self.sets])))

    @property
    def over_sets(self) -> float:
        """Standard deviation of the means of the sets."""
        return _rounded(np.std([np.mean(one) for one in self.sets]))


@dataclasses.dataclass(frozen=True)
class Summary:
    """All cells of a row with one number of images per class.

    Attributes:
        row: Its name.
        kind: A key of `rows.KINDS`.
        ipc: Images per class; 0 for the whole set.
        cells: What `run_benchmark` returns of each.
    """

    row: str
    kind: str
    ipc: int
    cells: Sequence[Mapping[str, Any]]

    @property
    def done(self) -> list[Mapping[str, Any]]:
        """The cells that have not failed."""
        return [cell for cell in self.cells if FAILED not in cell]

    @property
    def failures(self) -> dict[int, str]:
        """By seed, why a cell has failed."""
        return {c["seed"]: c[FAILED] for c in self.cells if FAILED in c}

    def accuracy(self, protocol: str) -> Accuracy | None:
        """Returns that by a protocol of `work.make`, where there is one."""
        sets = [cell["accuracies"].get(protocol) for cell in self.done]
        sets = [one for one in sets if one]
        return Accuracy(sets) if sets else None

    def mean(self, key: str) -> float | None:
        """Returns the mean of a number that the cells have."""
        values = [cell[key] for cell in self.done if cell.get(key) is not None]
        return float(np.mean(values)) if values else None


def summarise(results: Iterable[Mapping[str, Any]]) -> list[Summary]:
    """Returns a summary for each row and number of images per class, in their order.

    Args:
        results: Of `run_benchmark`.
    """
    groups: dict[tuple, list] = {}
    for line in results:
        key = line["row"], line["kind"], line["ipc"]
        groups.setdefault(key, []).append(line)
    return [Summary(*key, cells) for key, cells in groups.items()]


def measures(summary: Summary, summaries: Sequence[Summary]) -> dict[str, float]:
    """Returns DD-Ranking's measures (Li et al., 2025), as far as they are known.

    `hard_label_recovery` is whole set - set, with hard labels;
    `improvement_over_random` is set - random real images, both by the recipe of the
    set where it has one; `label_robust_score` puts them together:
    `score((improvement - recovery) / 2)`. `augmentation_robust_score` is that of the
    mean of the improvements with and without augmentation.

    Args:
        summary: Of the sets.
        summaries: Of all rows, among them `whole` and `random` real images.
    """
    others: dict[Any, Summary] = {(one.row, one.ipc): one for one in summaries}
    others |= {one.kind: one for one in summaries if one.kind == WHOLE}
    whole, random = others.get(WHOLE), others.get((RANDOM, summary.ipc))
    common, own = summary.accuracy("common"), summary.accuracy("own")
    if common is None or summary.kind == WHOLE:
        return {}
    hard = summary.accuracy("hard") or common
    by_random = summary.accuracy("random_own") if own else _of(random, "common")
    found = {}
    if (full := _of(whole, "common")) is not None:
        found["hard_label_recovery"] = full.mean - hard.mean
    if by_random is not None:
        found["improvement_over_random"] = (own or common).mean - by_random.mean
    if len(found) == 2:
        recovery, improvement = found.values()
        found["label_robust_score"] = score((improvement - recovery) / 2)
    augmented, plain = _of(random, "common"), _of(random, "plain")
    ours = summary.accuracy("plain")
    if augmented and plain and ours:
        gains = common.mean - augmented.mean, ours.mean - plain.mean
        found["augmentation_robust_score"] = score(sum(gains) / 2)
    return {name: _rounded(value) for name, value in found.items()}


def score(difference: float) -> float:
    """Returns a difference of accuracies, -1 to 1, as DD-Ranking's score, 0 to 1.

    (e^a - e^-1) / (e - e^-1).

    Example:
        >>> score(-1), round(score(0), 3), score(1)
        (0.0, 0.269, 1.0)
    """
    low, high = math.exp(-1), math.exp(1)
    return (math.exp(difference) - low) / (high - low)


def _of(summary: Summary | None, protocol: str) -> Accuracy | None:
    return summary and summary.accuracy(protocol)


def _rounded(value: float) -> float:
    return round(float(value), 6)
