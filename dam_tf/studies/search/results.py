"""What a search found: each proxy's choice, and how well it ranks (Tables 8, 12, 13).

Accuracies are of test images. Architectures are chosen by those of held-out training
images, so that no choice is made by what is reported.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import scipy.stats

_FEWEST = 3  # points that a rank correlation means something of


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """How the networks did that were trained on one set.

    Attributes:
        validation: Accuracy on held-out images, `[architectures]`, 0 to 1; NaN where
            an architecture was not trained.
        accuracy: Accuracy on test images, `[architectures]`.
        seconds: Of building and training, tests aside, `[architectures]`.
    """

    validation: np.ndarray
    accuracy: np.ndarray
    seconds: np.ndarray

    @property
    def best(self) -> int:
        """The architecture with the highest validation accuracy; the first of equals.

        Example:
            >>> Scores(np.array([np.nan, 0.2, 0.3, 0.3]), np.zeros(4), np.zeros(4)).best
            2
        """
        return int(np.nanargmax(self.validation))


@dataclasses.dataclass(frozen=True)
class ProxyResult:
    """One column of Table 8 and of Table 12.

    Attributes:
        proxy: Its name.
        images: How many images are kept for it.
        architectures: How many were trained on it.
        chosen: The name of the architecture that it ranks first.
        performance: Test accuracy of that one, trained on the whole set, 0 to 1.
        correlation: Spearman's, between test accuracies of networks trained on the
            proxy and on the whole set; None if that was not asked or has no meaning.
        correlation_top: That of the fifth with the highest accuracy on held-out
            images when trained on the whole set.
        seconds: Of building and training the networks, one after the other.
        seconds_top: Those of that fifth.
    """

    proxy: str
    images: int
    architectures: int
    chosen: str
    performance: float
    correlation: float | None
    correlation_top: float | None
    seconds: float
    seconds_top: float | None


def top_fifth(whole: Scores) -> np.ndarray:
    """Returns the 20 % of architectures that are best on the whole set, rounded up.

    Args:
        whole: Of networks trained on the whole set; by `validation`.

    Returns:
        Their numbers, ascending.

    Example:
        >>> scores = np.array([0.1, 0.5, 0.3, 0.2, 0.5, 0.4])
        >>> top_fifth(Scores(scores, scores, scores))
        array([1, 4])
    """
    count = math.ceil(0.2 * np.sum(~np.isnan(whole.validation)))
    order = np.argsort(-whole.validation, kind="stable")  # NaNs come last
    return np.sort(order[:count])


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    """Returns Spearman's rank correlation, or None where it has no meaning.

    That is for fewer than 3 architectures, or if one of them has all the same.

    Args:
        first: Accuracies, `[n]`; NaNs are left out.
        second: Accuracies of the same architectures.

    Example:
        >>> rank_correlation(np.array([0.1, 0.2, 0.4]), np.array([0.5, 0.6, 0.7]))
        1.0
    """
    both = ~np.isnan(first) & ~np.isnan(second)
    first, second = first[both], second[both]
    if len(first) < _FEWEST or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(scipy.stats.spearmanr(first, second).statistic)


def proxy_result(
    name: str, images: int, architectures: Sequence[str], own: Scores, whole: Scores
) -> ProxyResult:
    """Returns what `own` says of a proxy.

    Args:
        name: Of the proxy.
        images: How many are kept for it.
        architectures: Their names.
        own: Of networks trained on the proxy.
        whole: Of networks trained on the whole set: all, or the chosen one at least.
    """
    chosen = own.best
    trained = ~np.isnan(own.validation)
    complete = not np.any(np.isnan(whole.accuracy[trained]))
    top = top_fifth(whole) if complete else None
    return ProxyResult(
        proxy=name,
        images=images,
        architectures=int(np.sum(trained)),
        chosen=architectures[chosen],
        performance=float(whole.accuracy[chosen]),
        correlation=(
            rank_correlation(own.accuracy, whole.accuracy) if complete else None
        ),
        correlation_top=(
            rank_correlation(own.accuracy[top], whole.accuracy[top])
            if complete
            else None
        ),
        seconds=float(np.nansum(own.seconds)),
        seconds_top=float(np.nansum(own.seconds[top])) if complete else None,
    )


def markdown_table(results: Sequence[ProxyResult]) -> str:
    """Returns the results as a Markdown table, a proxy a row.

    Example:
        >>> result = ProxyResult("random", 10, 3, "a|b", 0.5, 0.25, None, 90.0, 30.0)
        >>> print(markdown_table([result]).splitlines()[-1].strip())
        | random | 50.0 | 0.25 | - | 1.5 | 0.5 | 10 | `a\\|b` |
    """
    rows = [
        "| proxy | performance (%) | correlation | correlation, top 20 % | time (min) "
        "| time, top 20 % (min) | storage (images) | chosen |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        chosen = result.chosen.replace("|", "\\|")
        cells = [
            result.proxy,
            f"{100 * result.performance:.1f}",
            _number(result.correlation, 2),
            _number(result.correlation_top, 2),
            _number(result.seconds / 60, 1),
            _number(result.seconds_top and result.seconds_top / 60, 1),
            f"{result.images:,}",
            f"`{chosen}`",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
