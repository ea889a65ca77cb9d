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
from dam_tf.data.real_data import composed
from dam_tf.synthetic.arrays import (
    Space,
    check_space,
    labels_and_names,
    pixels_and_preprocessing,
)
from dam_tf.synthetic.budgets import first_of_each
from dam_tf.synthetic.folder import read_set, write_set
from dam_tf.synthetic.recipe import Recipe
from dam_tf.synthetic.records import SHARD_BYTES, damaged
from dam_tf.synthetic.set_checks import check_set


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class DistilledSet:
    """A few synthetic images per class, ready to train on, look at or save.

    Classes may have different numbers of images, in any order.

    Args:
        images: float32 `[n, height, width, channels]`, pixels: nominally 0 to 1,
            not clipped.
        labels: int64 `[n]`, positions in `class_names`. Where labels were learned,
            it is the most probable class; where a teacher gave soft ones, the class
            that an image was made for.
        class_names: The name of each class, all different.
        preprocessing: The fitted layer from pixels to what networks are trained
            on; None where they are trained on pixels.
        name: The data set that the images stand for.
        soft_labels: float32 `[n, classes]`, the probabilities of the classes, where
            labels were learned or given by a teacher.
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
        check_set(self)

    def __repr__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        shape = "x".join(map(str, self.image_shape))
        made = f" (of {self.size} stored)" if self.stored is not None else ""
        return (
            f"<DistilledSet{name} of {len(self.images)} images {shape}{made}, "
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
        return len(self.what_is_stored()[0])

    @property
    def bytes(self) -> int:
        """Bytes of the stored images and of learned labels, as float32."""
        soft = 0 if self.soft_labels is None else self.soft_labels.nbytes
        return soft + self.what_is_stored()[0].nbytes

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

    @property
    def counts(self) -> tuple[int, ...]:
        """Stored images of each class; of learned labels by the most probable class."""
        labels = self.what_is_stored()[1]
        return tuple(np.bincount(labels, minlength=self.num_classes).tolist())

    @property
    def ipc_text(self) -> str:
        """Stored images per class for a caption: "5", or "1 to 5" where they differ."""
        least = min(self.counts) if self.soft_labels is None else self.ipc
        return str(self.ipc) if least == self.ipc else f"{least} to {self.ipc}"

    def first(self, ipc: int) -> "DistilledSet":
        """Returns the first images of each class: a set of a smaller budget.

        Of a set that extends another (`distill(..., extends=run)`), with the ipc of
        that one, it is that one's images to the last bit.

        Args:
            ipc: Stored images per class; a class that has fewer keeps all.

        Raises:
            UserError: no class has so many, or labels or the order of images were
                learned for all of them together.

        Example:
            >>> images = np.zeros([4, 8, 8, 1], np.float32)
            >>> distilled = DistilledSet(images, [0, 0, 1, 1], ("cat", "dog"))
            >>> distilled.first(1)
            <DistilledSet of 2 images 8x8x1, 2 classes>
        """
        return first_of_each(self, ipc)

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

    def what_is_stored(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns what the budget counts, `[m, h, w, c]`, and its classes `[m]`.

        It is the images themselves where no formation makes them. Of learned labels
        the class of a stored image is that of its first part.
        """
        if self.stored is None:
            return self.images, self.labels
        return self.stored, self.labels[:: len(self.labels) // len(self.stored)]

    def preview(self, path: os.PathLike | str, stored: bool = False) -> None:
        """Writes a picture of the images, a row a class, to a PNG file.

        Args:
            path: Of the file.
            stored: Show what is stored in place of what networks are trained on.
        """
        from dam_tf import plots  # matplotlib takes its time to import

        shown = self.what_is_stored() if stored else (self.images, self.labels)
        plots.save_grid(*shown, self.class_names, path)

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
