"""Where the synthetic images start: random real images, K-center, or noise."""

from collections.abc import Sequence

import keras
import numpy as np

from dam_tf.base.errors import UserError
from dam_tf.base.seeds import Purpose, numpy_generator
from dam_tf.config.image_counts import image_counts
from dam_tf.config.sections import DistillationConfig
from dam_tf.data.real_data import Split
from dam_tf.data.rules import k_center, random_rows
from dam_tf.data.source import SplitContents
from dam_tf.synthetic.formation import encode, factor_of

_BATCH = 500


def initial_images(
    split: Split,
    class_names: tuple[str, ...],
    settings: DistillationConfig,
    preprocessing: keras.layers.Layer,
) -> np.ndarray | list[np.ndarray]:
    """Returns the first synthetic images, in model space.

    `random` takes real images of each class, drawn without replacement;
    `k-center` real images that cover the class; `noise` draws every value from
    N(0, 1).

    Args:
        split: Real training images.
        class_names: Their classes, for messages.
        settings: Its ipc, images_per_class, formation, init and seed are used.
        preprocessing: A layer, pixels in 0..1 to model space.

    Returns:
        float32 `[classes, ipc, h, w, c]`, or a list of `[n_k, h, w, c]` where classes
        may have different numbers.

    Raises:
        UserError: a class has fewer real images than are wanted of it.
    """
    counts = image_counts(settings, len(class_names), split.counts)
    if settings.init == "noise":
        generator = numpy_generator(settings.seed, Purpose.INITIAL_IMAGES)
        shape = sum(counts), *split.images.shape[1:]
        noise = generator.standard_normal(shape).astype(np.float32)
        return _by_class(settings, np.split(noise, np.cumsum(counts)[:-1]))
    check_ipc(split, class_names, counts, settings.formation)
    select, parts = _SELECTIONS[settings.init], factor_of(settings.formation) ** 2
    chosen = [
        select(split.class_images(k), count * parts, settings.seed, k, preprocessing)
        for k, count in enumerate(counts)
    ]
    if settings.formation != "raw":
        chosen = [np.asarray(encode(one, settings.formation)) for one in chosen]
    return _by_class(settings, chosen)


def _by_class(settings, images):
    return np.stack(images) if settings.images_per_class is None else images


def check_ipc(
    split: Split | SplitContents,
    class_names: tuple[str, ...],
    counts: Sequence[int],
    formation: str = "raw",
    instead: str = ", or start from noise (--init=noise)",
) -> None:
    """Raises a `UserError` where a class has too few real images to start from.

    Args:
        split: Real training images, read or not.
        class_names: Their classes.
        counts: Stored images wanted of each.
        formation: How many real images make one of them.
        instead: What else to advise than a smaller ipc.
    """
    sizes, parts = split.counts, factor_of(formation) ** 2
    smallest = int(np.argmin(sizes - np.multiply(counts, parts)))
    name, size, ipc = class_names[smallest], sizes[smallest], counts[smallest]
    if size < ipc * parts and len({*counts}) > 1:
        made = f" of formation {formation!r}" if parts > 1 else ""
        raise UserError(
            f"{ipc} images of class {name!r}{made} start from {ipc * parts} real ones, "
            f"and it has {size}; choose fewer{instead}"
        )
    if size < ipc and parts == 1:
        raise UserError(
            f"ipc {ipc} is larger than class {name!r}, which has {size} training "
            f"images; choose an ipc up to {size}{instead}"
        )
    if size < ipc * parts:
        raise UserError(
            f"ipc {ipc} with formation {formation!r} starts from {ipc * parts} real "
            f"images, and class {name!r} has {size}; choose an ipc up to "
            f"{size // parts}{instead}"
        )


def in_model_space(images: np.ndarray, preprocessing: keras.layers.Layer) -> np.ndarray:
    """Returns uint8 images `[n, h, w, c]` as a network sees them, float32.

    Args:
        images: May be memory-mapped; they are taken in batches.
        preprocessing: A layer, pixels in 0..1 to model space.
    """
    parts = [
        np.asarray(
            preprocessing(images[start : start + _BATCH].astype("float32") / 255)
        )
        for start in range(0, len(images), _BATCH)
    ]
    return np.concatenate(parts)


def _random(images, many, seed, label, preprocessing):
    rows = random_rows(len(images), many, seed, label)
    return in_model_space(images[rows], preprocessing)


def _k_center(images, many, seed, label, preprocessing):
    vectors = in_model_space(images, preprocessing)
    rows = k_center(vectors.reshape(len(images), -1), many)
    return vectors[rows]


_SELECTIONS = {"random": _random, "k-center": _k_center}
