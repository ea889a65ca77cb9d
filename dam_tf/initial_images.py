"""Where the synthetic images start: random real images, K-center, or noise."""

import keras
import numpy as np

from dam_tf.config import DistillationConfig
from dam_tf.datasets.real_data import Split
from dam_tf.errors import UserError
from dam_tf.seeds import Purpose, numpy_generator

_BATCH = 500


def initial_images(
    split: Split,
    class_names: tuple[str, ...],
    settings: DistillationConfig,
    preprocessing: keras.layers.Layer,
) -> np.ndarray:
    """Returns the first synthetic images, in model space.

    `random` takes real images of each class, drawn without replacement;
    `k-center` real images that cover the class; `noise` draws every value from
    N(0, 1).

    Args:
        split: Real training images.
        class_names: Their classes, for messages.
        settings: Its ipc, init and seed are used.
        preprocessing: A layer, pixels in 0..1 to model space.

    Returns:
        float32 `[classes, ipc, h, w, c]`.

    Raises:
        UserError: ipc is larger than a class.
    """
    classes, shape = len(class_names), split.images.shape[1:]
    if settings.init == "noise":
        generator = numpy_generator(settings.seed, Purpose.INITIAL_IMAGES)
        noise = generator.standard_normal((classes, settings.ipc, *shape))
        return noise.astype(np.float32)
    check_ipc(split, class_names, settings.ipc)
    chosen = [
        _SELECTIONS[settings.init](split.class_images(k), settings, k, preprocessing)
        for k in range(classes)
    ]
    return np.stack(chosen)


def check_ipc(split: Split, class_names: tuple[str, ...], ipc: int) -> None:
    """Raises a `UserError` where a class has fewer than `ipc` real images."""
    sizes = np.diff(split.offsets)
    smallest = int(np.argmin(sizes))
    if sizes[smallest] < ipc:
        raise UserError(
            f"ipc {ipc} is larger than class {class_names[smallest]!r}, which has "
            f"{sizes[smallest]} training images; choose an ipc up to "
            f"{sizes[smallest]}, or start from noise (--init=noise)"
        )


def k_center(vectors: np.ndarray, count: int) -> np.ndarray:
    """Returns the rows of `count` vectors that cover all of them well.

    Greedy K-center (Sener and Savarese, ICLR 2018): starts from the vector
    nearest to the mean, then adds the one farthest from all chosen so far. The
    largest distance to a chosen vector is at most twice the best possible for
    the same start.

    Args:
        vectors: `[n, d]`.
        count: At most n.

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


def _squared_distances(vectors: np.ndarray, point: np.ndarray) -> np.ndarray:
    return np.sum((vectors - point) ** 2, axis=1)


def _random(images, settings, label, preprocessing):
    generator = numpy_generator(settings.seed, Purpose.INITIAL_IMAGES, label)
    rows = generator.choice(len(images), settings.ipc, replace=False)
    return _in_model_space(images[rows], preprocessing)


def _k_center(images, settings, label, preprocessing):
    vectors = _in_model_space(images, preprocessing)
    rows = k_center(vectors.reshape(len(images), -1), settings.ipc)
    return vectors[rows]


_SELECTIONS = {"random": _random, "k-center": _k_center}


def _in_model_space(images: np.ndarray, preprocessing) -> np.ndarray:
    parts = [
        np.asarray(
            preprocessing(images[start : start + _BATCH].astype("float32") / 255)
        )
        for start in range(0, len(images), _BATCH)
    ]
    return np.concatenate(parts)
