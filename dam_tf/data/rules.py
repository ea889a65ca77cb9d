"""Which images of a class stand for it: the rules of the coreset methods.

Pure functions, vectors or counts in and rows out. `coresets/select.py` gets the vectors
from pixels or networks; `synthetic/initial.py` starts a distillation from them.
"""

from collections.abc import Iterable

import numpy as np

from dam_tf.base.seeds import Purpose, numpy_generator


def random_rows(size: int, count: int, seed: int, label: int) -> np.ndarray:
    """Returns `count` of `size` rows, each at most once, in random order.

    The draw depends on (seed, label) alone: initial images, the random coreset and
    the random baseline of an evaluation are the same ones.
    """
    generator = numpy_generator(seed, Purpose.INITIAL_IMAGES, label)
    return generator.choice(size, count, replace=False)


def herding(vectors: np.ndarray, count: int) -> np.ndarray:
    """Returns the rows of `count` vectors whose mean is near that of all.

    Herding (Welling, ICML 2009) in the greedy form of iCaRL (Rebuffi et al., CVPR
    2017, algorithm 4), without repeats: each next vector is the one that brings the
    mean of the chosen ones nearest to the mean of all. Vectors are taken as they
    are: iCaRL divides them by their L2 norm, the DC/DSA/DM code, with
    whose numbers ours are compared, does not.

    Args:
        vectors: `[n, d]`.
        count: At most n.

    Returns:
        Rows, int `[count]`, the best first: any beginning is the herd of its length.

    Example:
        >>> herding(np.array([[0.0], [4.0], [2.4], [1.5]]), 3)
        array([2, 3, 1])
    """
    centred = vectors - vectors.mean(axis=0, dtype=np.float64).astype(vectors.dtype)
    norms = np.sum(centred**2, axis=1)
    total = np.zeros_like(centred[0])
    chosen: list[int] = []
    for _ in range(count):
        # |total + x|^2 less |total|^2, which is the same for all.
        distances = norms + 2 * (centred @ total)
        distances[chosen] = np.inf
        chosen.append(int(np.argmin(distances)))
        total += centred[chosen[-1]]
    return np.array(chosen)


def k_center(vectors: np.ndarray, count: int) -> np.ndarray:
    """Returns the rows of `count` vectors that cover all of them well.

    Greedy K-center (Sener and Savarese, ICLR 2018): starts from the vector
    nearest to the mean, then adds the one farthest from all chosen so far. The
    largest distance to a chosen vector is at most twice the best possible.

    Args:
        vectors: `[n, d]`.
        count: At most n.

    Returns:
        Rows, int `[count]`, in the order they were chosen.

    Example:
        >>> k_center(np.array([[0.0], [1.0], [2.0], [9.0]]), 2)
        array([2, 3])
    """
    chosen = [int(np.argmin(_squared_distances(vectors, vectors.mean(axis=0))))]
    nearest = np.full(len(vectors), np.inf)
    while len(chosen) < count:
        latest = _squared_distances(vectors, vectors[chosen[-1]])
        nearest = np.minimum(nearest, latest)
        # What is chosen is never chosen again, not even among duplicates.
        nearest[chosen] = -1.0
        chosen.append(int(np.argmax(nearest)))
    return np.array(chosen)


def forgetting_counts(histories: Iterable[np.ndarray]) -> np.ndarray:
    """Returns how often each image was forgotten while a network was trained.

    A forgetting event (Toneva et al., ICLR 2019, algorithm 1): an image that was
    classified rightly the last time it came up is classified wrongly now. One that
    was never classified rightly counts as forgotten infinitely often.

    Args:
        histories: For each epoch, which images were classified rightly, bool `[n]`.
            Taken one at a time, so they may come from the training itself.

    Returns:
        Counts, float64 `[n]`, inf where never learnt.

    Raises:
        ValueError: there is no epoch.

    Example:
        >>> forgetting_counts(np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1]], bool))
        array([ 1., inf,  0.])
    """
    events = before = learnt = None
    for right in histories:
        if events is None:
            events = np.zeros(len(right))
            before = learnt = np.zeros(len(right), bool)
        events += before & ~right
        before, learnt = right, learnt | right
    if events is None:
        raise ValueError("there is no epoch to count forgetting events in")
    return np.where(learnt, events, np.inf)


def most_forgotten(
    counts: np.ndarray, count: int, generator: np.random.Generator
) -> np.ndarray:
    """Returns the rows of the `count` largest counts, the largest first.

    Among equal counts, of which there are many, the generator's order decides.

    Args:
        counts: `[n]`, from `forgetting_counts`.
        count: At most n.
        generator: Decides ties.

    Example:
        >>> most_forgotten(np.array([0, 5, np.inf]), 2, np.random.default_rng(0))
        array([2, 1])
    """
    order = generator.permutation(len(counts))
    return order[np.argsort(-counts[order], kind="stable")][:count]


def _squared_distances(vectors: np.ndarray, point: np.ndarray) -> np.ndarray:
    return np.sum((vectors - point) ** 2, axis=1)
