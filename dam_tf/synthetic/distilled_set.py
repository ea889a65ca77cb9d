"""A distilled set: synthetic images, their labels, and how a network sees them.

Distillation hands it on; evaluation, export and the studies read it. On disk it is
`distilled/`, a data set that TensorFlow Datasets opens without dam_tf, and
`preprocessing/` beside it. Images are stored as pixels, so that anyone can look at
them, and the preprocessing turns them into what the network was shown.
"""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.data.preprocessing.preprocessing import Preprocessing
from dam_tf.data.real_data import check_class_names, composed
from dam_tf.synthetic.arrays import (
    Space,
    check_space,
    labels_and_names,
    pixels_and_preprocessing,
)
from dam_tf.synthetic.folder import read_set, write_set
from dam_tf.synthetic.formation import check_sides, factor_of, stored_shape
from dam_tf.synthetic.recipe import Recipe
from dam_tf.synthetic.records import SHARD_BYTES, damaged

_ROUNDING = 1e-3  # by which the sum of a row of soft labels may differ from 1


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class DistilledSet:
    """A few synthetic images per class, ready to train on, look at or save.

    Classes may have different numbers of images, in any order.

    Args:
        images: float32 `[n, height, width, channels]`, pixels: nominally 0 to 1,
            not clipped.
        labels: int64 `[n]`, positions in `class_names`. Of soft labels it is the
            most probable class.
        class_names: The name of each class, all different.
        preprocessing: The fitted layer from pixels to what networks are trained
            on; None where they are trained on pixels.
        name: The data set that the images stand for.
        soft_labels: float32 `[n, classes]`, the probabilities of the classes, where
            labels were learned.
        stored: float32 `[m, height, width, channels]`, pixels from which `formation`
            made the images (`synthetic.formation.decode`); None for "raw".
        formation: "raw", or "factor:2": each stored image holds 2 x 2 smaller ones.
        recipe: How a network is to be trained on the set, where that was learned.
        provenance: What made the set: digests and versions, by name.
        history: What the run that made the set has logged, by name. It is not saved.

    Raises:
        UserError: some of these do not fit together.

    Example:
        >>> pixels = np.zeros([2, 8, 8, 1], np.float32)
        >>> distilled = DistilledSet(pixels, np.array([0, 1]), ("cat", "dog"))
        >>> distilled
        <DistilledSet of 2 images 8x8x1, 2 classes>
        >>> distilled.num_classes, distilled.image_shape, distilled.ipc
        (2, (8, 8, 1), 1)
        >>> [int(label) for image, label in distilled.as_dataset()]
        [0, 1]
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    preprocessing: Preprocessing | None = None
    name: str = ""
    soft_labels: np.ndarray | None = None
    stored: np.ndarray | None = None
    formation: str = "raw"
    recipe: Recipe | None = None
    provenance: Mapping[str, str] = dataclasses.field(default_factory=dict)
    history: Mapping[str, list[float]] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        converted = {
            "images": np.asarray(self.images, np.float32),
            "labels": np.asarray(self.labels, np.int64),
            "class_names": tuple(composed(str(name)) for name in self.class_names),
            "provenance": {str(k): str(v) for k, v in self.provenance.items()},
            "history": {k: [float(x) for x in v] for k, v in self.history.items()},
        }
        for name in ("soft_labels", "stored"):
            if getattr(self, name) is not None:
                converted[name] = np.asarray(getattr(self, name), np.float32)
        for name, value in converted.items():
            object.__setattr__(self, name, value)
        _check(self)

    def __repr__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        shape = "x".join(map(str, self.image_shape))
        return (
            f"<DistilledSet{name} of {len(self.images)} images {shape}, "
            f"{self.num_classes} classes>"
        )

    @property
    def num_classes(self) -> int:
        """The number of classes, those without an image included."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        return self.images.shape[1:]

    @property
    def size(self) -> int:
        """The number of stored images, which methods are compared by."""
        return len(self.images if self.stored is None else self.stored)

    @property
    def bytes(self) -> int:
        """Bytes of the stored images and of learned labels, as float32."""
        soft = 0 if self.soft_labels is None else self.soft_labels.nbytes
        return soft + (self.images if self.stored is None else self.stored).nbytes

    @property
    def ipc(self) -> int:
        """Stored images per class; of the largest class where they differ.

        With learned labels no image belongs to one class alone: it is the mean over
        the classes, rounded up.
        """
        if self.soft_labels is not None:
            return -(-self.size // self.num_classes)
        parts = len(self.images) // self.size
        return -(-int(np.bincount(self.labels).max()) // parts)

    def to_numpy(
        self, space: Space = "pixels", soft_labels: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns images and labels as arrays.

        Args:
            space: "pixels", or "network" for what the preprocessing makes of them.
            soft_labels: Give the probabilities of the classes in place of their
                positions; 0 and 1 where no labels were learned.

        Returns:
            float32 `[n, height, width, channels]`, and int64 `[n]` or float32
            `[n, classes]`.

        Raises:
            UserError: the space is unknown.
        """
        check_space(space)
        images, labels = self.images, self.labels
        if space == "network" and self.preprocessing is not None:
            seen = self.preprocessing(tf.constant(images))
            images = np.asarray(seen, np.float32)
        if soft_labels:
            labels = self.soft_labels
            if labels is None:
                labels = np.eye(self.num_classes, dtype=np.float32)[self.labels]
        return images, labels

    def as_dataset(
        self, space: Space = "pixels", soft_labels: bool = False
    ) -> tf.data.Dataset:
        """Returns a `tf.data.Dataset` of single (image, label) pairs, in order.

        `model.fit` takes it in batches: `distilled.as_dataset("network").batch(32)`.

        Args:
            space: "pixels", or "network" for what the preprocessing makes of them.
            soft_labels: Give the probabilities of the classes in place of their
                positions; 0 and 1 where no labels were learned.

        Raises:
            UserError: the space is unknown.
        """
        return tf.data.Dataset.from_tensor_slices(self.to_numpy(space, soft_labels))

    def preview(self, path: os.PathLike | str) -> None:
        """Writes a picture of the images, a row a class, to the PNG file `path`."""
        from dam_tf import plots  # matplotlib takes its time to import

        plots.save_grid(self.images, self.labels, self.class_names, path)

    def save(
        self,
        folder: os.PathLike | str,
        keep_preprocessing: bool = False,
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        """Writes the set into a run's folder, over what an earlier save left there.

        Each of its two folders is replaced at once: a kill at any moment leaves the
        old one or the new one.

        Args:
            folder: Gets `distilled/` and, with a preprocessing, `preprocessing/`.
                It is made if it is missing.
            keep_preprocessing: Take the `preprocessing/` that lies there for this
                set's without looking: a ZCA's takes its time to read.
            shard_bytes: Bytes of images in a TFRecord file, about; a larger set
                has several.
        """
        write_set(self, pathlib.Path(folder), keep_preprocessing, shard_bytes)

    @classmethod
    def from_arrays(
        cls,
        images: Any,
        labels: Any,
        class_names: Sequence[str] | None = None,
        *,
        space: Space = "pixels",
        mean: Any = None,
        deviation: Any = None,
        pixel_range: tuple[float, float] | None = None,
        preprocessing: Preprocessing | None = None,
        **parts: Any,
    ) -> "DistilledSet":
        """Returns a set of what another program made; nothing is guessed.

        Args:
            images: `[n, h, w, c]`, `[n, c, h, w]` as PyTorch has it, or `[n, h, w]`.
            labels: Positions in the class names, or names, `[n]`; or the classes'
                probabilities, `[n, classes]`.
            class_names: In the order of the labels; numbers if left out.
            space: "pixels": whole numbers of 0 to 255, or floating point, nominally 0
                to 1; or "network": what `preprocessing` made of pixels, such as ZCA.
            mean: `[channels]`, of pixels of 0 to 1, which the images are standardised
                by, with `deviation`. Networks then see the images as they are.
            deviation: `[channels]`.
            pixel_range: The values of black and white, of other pixels.
            preprocessing: From pixels to what networks see.
            **parts: Other attributes of a set, such as `name` or `recipe`.

        Raises:
            UserError: something does not fit; the message says what to give.

        Example:
            >>> images = np.zeros([2, 3, 8, 8], np.uint8)  # channels first
            >>> DistilledSet.from_arrays(images, [0, 1], ["cat", "dog"])
            <DistilledSet of 2 images 8x8x3, 2 classes>
        """
        hard, soft, names = labels_and_names(labels, class_names)
        pixels, seen = pixels_and_preprocessing(
            images, space, mean, deviation, pixel_range, preprocessing
        )
        return cls(pixels, hard, names, seen, **{"soft_labels": soft, **parts})

    @classmethod
    def load(cls, folder: os.PathLike | str) -> "DistilledSet":
        """Reads a set that `save` wrote, in this version of the format or an older.

        Args:
            folder: The run's folder, or `distilled/` in it.

        Raises:
            UserError: there is no such folder, a file in it is missing or damaged
                (it is named), or a later dam_tf has written it.
        """
        distilled, parts = read_set(pathlib.Path(folder))
        try:
            return cls(**parts)
        except UserError as error:
            reason = f"its files do not fit together ({error})"
            raise damaged(distilled, reason) from None


def _check(one: DistilledSet) -> None:
    """Raises a `UserError` where the parts of a set do not fit together."""
    images, labels, names = one.images, one.labels, one.class_names
    if images.ndim != 4 or 0 in images.shape:
        raise UserError(
            f"images must be [n, height, width, channels], not {images.shape}"
        )
    if labels.shape != images.shape[:1]:
        raise UserError(
            f"labels must be [{len(images)}], one an image, not {labels.shape}"
        )
    if labels.min() < 0 or labels.max() >= len(names):
        raise UserError(
            f"labels must be 0 to {len(names) - 1}, as there are {len(names)} "
            f"class names, not {labels.min()} to {labels.max()}"
        )
    check_class_names(names)
    for what, values in (("images", images), ("stored", one.stored)):
        if values is not None and not np.isfinite(values).all():
            raise UserError(f"{what} must be finite: they hold NaN or infinity")
    # One that is not fitted yet has no shape.
    fitted = getattr(one.preprocessing, "image_shape", one.image_shape)
    if tuple(fitted) != one.image_shape:
        raise UserError(
            f"the preprocessing is of images {'x'.join(map(str, fitted))}, and these "
            f"are {'x'.join(map(str, one.image_shape))}"
        )
    _check_soft_labels(one)
    _check_stored(one)
    if one.recipe is not None:
        one.recipe.check_images(len(images))


def _check_soft_labels(one: DistilledSet) -> None:
    soft = one.soft_labels
    if soft is None:
        return
    expected = (len(one.images), one.num_classes)
    if soft.shape != expected:
        raise UserError(
            f"soft_labels must be {list(expected)}, a row of probabilities for each "
            f"image, not {list(soft.shape)}"
        )
    wrong = ~((soft >= 0).all(axis=1) & (np.abs(soft.sum(axis=1) - 1) <= _ROUNDING))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise UserError(
            f"row {row} of soft_labels holds no probabilities: its values must be 0 "
            f"to 1 and add up to 1, not to {soft[row].sum():.6g}"
        )
    wrong = soft[np.arange(len(soft)), one.labels] < soft.max(axis=1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise UserError(
            f"label {one.labels[row]} of image {row} is not its most probable class, "
            f"which is {soft[row].argmax()}; give soft_labels.argmax(axis=1)"
        )


def _check_stored(one: DistilledSet) -> None:
    factor, images, stored = factor_of(one.formation), one.images, one.stored
    if (stored is None) != (factor == 1):
        raise UserError(
            f"formation {one.formation!r} and stored images do not go together: "
            "'raw' has none, and every other formation needs them"
        )
    if stored is None:
        return
    check_sides(*images.shape[1:3], one.formation)
    if (len(stored) * factor**2, *stored.shape[1:]) != images.shape:
        raise UserError(
            f"stored must be {stored_shape(images.shape, one.formation)}, from which "
            f"{one.formation!r} makes images of {list(images.shape)}, not "
            f"{list(stored.shape)}"
        )
