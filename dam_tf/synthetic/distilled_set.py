"""A distilled set: synthetic images, their labels, and how a network sees them.

Distillation hands it on; evaluation, export and the applications read it. On disk
it is `distilled/`, a data set that TensorFlow Datasets opens without dam_tf, and
`preprocessing/` beside it. Images are stored as pixels, so that anyone can look at
them, and the preprocessing turns them into what the network was shown.
"""

import contextlib
import dataclasses
import math
import os
import pathlib
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from dam_tf.base.errors import UserError, choice_error
from dam_tf.base.files import atomic_folder
from dam_tf.data.preprocessing.preprocessing import Preprocessing, load_preprocessing

DISTILLED = "distilled"
PREPROCESSING = "preprocessing"
SPLIT = "train"
SHARD_BYTES = 2**30
_RECORD_OVERHEAD = 16  # bytes around a record: its length, and two checksums

Space = Literal["pixels", "model"]
SPACES: tuple[Space, ...] = typing.get_args(Space)


@dataclasses.dataclass(frozen=True, eq=False)
class DistilledSet:
    """A few synthetic images per class, ready to train on, look at or save.

    Classes may have different numbers of images, in any order.

    Args:
        images: float32 `[n, height, width, channels]`, pixels: nominally 0 to 1,
            not clipped.
        labels: int64 `[n]`, positions in `class_names`.
        class_names: The name of each class, all different.
        preprocessing: The fitted layer from pixels to what networks are trained
            on; None where they are trained on pixels.
        name: The data set that the images stand for.

    Raises:
        ValueError: shapes, labels and class names do not fit together.

    Example:
        >>> pixels = np.zeros([2, 8, 8, 1], np.float32)
        >>> distilled = DistilledSet(pixels, np.array([0, 1]), ("cat", "dog"))
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

    def __post_init__(self):
        images = np.asarray(self.images, np.float32)
        labels = np.asarray(self.labels, np.int64)
        names = tuple(str(name) for name in self.class_names)
        if images.ndim != 4 or len(images) == 0:
            raise ValueError(
                f"images must be [n, height, width, channels], not {images.shape}"
            )
        if labels.shape != images.shape[:1]:
            raise ValueError(
                f"labels must be [{len(images)}], one an image, not {labels.shape}"
            )
        if labels.min() < 0 or labels.max() >= len(names):
            raise ValueError(
                f"labels must be 0 to {len(names) - 1}, as there are {len(names)} "
                f"class names, not {labels.min()} to {labels.max()}"
            )
        _check_names(names)
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "class_names", names)

    @property
    def num_classes(self) -> int:
        """The number of classes, those without an image included."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        return self.images.shape[1:]

    @property
    def ipc(self) -> int:
        """Images per class; of the largest class where they differ."""
        return int(np.bincount(self.labels).max())

    def to_numpy(self, space: Space = "pixels") -> tuple[np.ndarray, np.ndarray]:
        """Returns images and labels as arrays.

        Args:
            space: "pixels", or "model" for what the preprocessing makes of them.

        Returns:
            float32 `[n, height, width, channels]` and int64 `[n]`.
        """
        if space not in SPACES:
            raise choice_error("space", space, SPACES)
        if space == "pixels" or self.preprocessing is None:
            return self.images, self.labels
        images = self.preprocessing(tf.constant(self.images))
        return np.asarray(images, np.float32), self.labels

    def as_dataset(self, space: Space = "pixels") -> tf.data.Dataset:
        """Returns a `tf.data.Dataset` of single (image, label) pairs, in order.

        Args:
            space: "pixels", or "model" for what the preprocessing makes of them.
        """
        return tf.data.Dataset.from_tensor_slices(self.to_numpy(space))

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
        folder = pathlib.Path(folder)
        stored = folder / PREPROCESSING
        if self.preprocessing is not None and not (
            keep_preprocessing and stored.is_dir()
        ):
            _save_preprocessing(self.preprocessing, stored)
        with atomic_folder(folder / DISTILLED) as temporary:
            self._write(temporary, shard_bytes)

    @classmethod
    def load(cls, folder: os.PathLike | str) -> "DistilledSet":
        """Reads a set that `save` wrote.

        Args:
            folder: The run's folder, or `distilled/` in it.

        Raises:
            UserError: there is no such folder, or a file in it is missing or
                damaged; the file is named.
        """
        folder = pathlib.Path(folder)
        if not folder.is_dir():
            raise UserError(f"no such folder: {folder}; expected a distillation run")
        run = folder.absolute().parent if folder.name == DISTILLED else folder
        distilled = folder if folder.name == DISTILLED else folder / DISTILLED
        info = _read_info(distilled)
        images, labels = _read_shards(info)
        preprocessing = None
        if info.metadata["preprocessing"]:
            if not (run / PREPROCESSING).is_dir():
                raise UserError(
                    f"{run} has no folder {PREPROCESSING}/, without which the images "
                    f"in {distilled} cannot be trained on; copy both"
                )
            preprocessing = load_preprocessing(run / PREPROCESSING)
        names = tuple(info.features["label"].names)
        try:
            return cls(images, labels, names, preprocessing, info.metadata["source"])
        except ValueError as error:
            raise UserError(
                f"{distilled} is damaged: its images and label.labels.txt do not fit "
                f"together ({error})"
            ) from None

    def _write(self, folder: pathlib.Path, shard_bytes: int) -> None:
        """Writes TFRecords and the metadata with which TFDS opens them."""
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Tensor(shape=self.image_shape, dtype=np.float32),
                "label": tfds.features.ClassLabel(names=self.class_names),
            }
        )
        template = tfds.core.ShardedFileTemplate(
            data_dir=folder,
            dataset_name=DISTILLED,
            split=SPLIT,
            filetype_suffix="tfrecord",
        )
        shards = np.array_split(
            np.arange(len(self.images)), math.ceil(self.images.nbytes / shard_bytes)
        )
        num_bytes = 0
        for number, shard in enumerate(shards):
            path = template.sharded_filepath(shard_index=number, num_shards=len(shards))
            with tf.io.TFRecordWriter(os.fspath(path)) as writer:
                for index in shard:
                    example = features.serialize_example(
                        {"image": self.images[index], "label": self.labels[index]}
                    )
                    num_bytes += len(example)
                    writer.write(example)
        split = tfds.core.SplitInfo(
            name=SPLIT,
            shard_lengths=[len(shard) for shard in shards],
            num_bytes=num_bytes,
            filename_template=template,
        )
        tfds.folder_dataset.write_metadata(
            data_dir=folder,
            features=features,
            split_infos=[split],
            check_data=False,
            description=(
                f"Synthetic images distilled from {self.name or 'a data set'}, "
                f"{self.ipc} per class; pixels, nominally 0 to 1."
            ),
            supervised_keys=("image", "label"),
            metadata=tfds.core.MetadataDict(
                source=self.name, preprocessing=self.preprocessing is not None
            ),
        )


def record_specification(image_shape: Sequence[int]) -> dict[str, Any]:
    """Returns what `tf.io.parse_example` needs to read the records of a set.

    Args:
        image_shape: Height, width and channels.
    """
    return {
        "image": tf.io.FixedLenFeature(image_shape, tf.float32),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }


def record_files(folder: os.PathLike | str) -> list[str]:
    """Returns the TFRecord files of the set in a run's folder, in order.

    Args:
        folder: The run's folder, or `distilled/` in it.

    Raises:
        UserError: there is no set, or its metadata are damaged.
    """
    folder = pathlib.Path(folder)
    info = _read_info(folder if folder.name == DISTILLED else folder / DISTILLED)
    return [os.fspath(path) for path in info.splits[SPLIT].filepaths]


def _check_names(names: tuple[str, ...]) -> None:
    if len(set(names)) != len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"class names must differ: {double!r} is there twice")
    for name in names:
        # The label file of TFDS has one name a line, spaces around it removed.
        if name != name.strip() or len(name.splitlines()) != 1:
            raise ValueError(
                f"class name {name!r} is empty, begins or ends with a space, or has "
                "several lines; rename it"
            )


def _save_preprocessing(preprocessing: Preprocessing, folder: pathlib.Path) -> None:
    """Writes the preprocessing unless it is there already: a ZCA's is large."""
    if folder.is_dir():
        with contextlib.suppress(UserError):  # a damaged one is written anew
            if _same(load_preprocessing(folder), preprocessing):
                return
    with atomic_folder(folder) as temporary:
        temporary.rmdir()  # `Preprocessing.save` makes its folder itself
        preprocessing.save(temporary)


def _same(first: Preprocessing, second: Preprocessing) -> bool:
    return (first.kind, first.eps, first.image_shape) == (
        second.kind,
        second.eps,
        second.image_shape,
    ) and all(map(np.array_equal, first.get_weights(), second.get_weights()))


def _read_info(folder: pathlib.Path) -> tfds.core.DatasetInfo:
    if not (folder / "dataset_info.json").is_file():
        raise UserError(f"no distilled set in {folder}: dataset_info.json is missing")
    try:
        info = tfds.builder_from_directory(folder).info
        features = dict(info.features)
        names, shape = features["label"].names, features["image"].shape
        if len(shape) != 3 or None in shape or SPLIT not in info.splits:
            raise ValueError(f"unexpected features {features}")
        text = (folder / "label.labels.txt").read_text("utf-8")
        if text != "".join(f"{name}\n" for name in names):
            raise ValueError("label.labels.txt is incomplete")
        if not {"preprocessing", "source"} <= set(info.metadata):
            raise ValueError("metadata.json is incomplete")
    except Exception as error:  # TFDS has no base class for what a bad file raises
        raise UserError(
            f"{folder} is damaged: its dataset_info.json, features.json, "
            f"label.labels.txt or metadata.json cannot be read ({_first_line(error)})"
        ) from None
    return info


def _read_shards(info: tfds.core.DatasetInfo) -> tuple[np.ndarray, np.ndarray]:
    specification = record_specification(info.features["image"].shape)
    split = info.splits[SPLIT]
    images, labels = [], []
    for path, length in zip(split.filepaths, split.shard_lengths, strict=True):
        records = _read_records(os.fspath(path), length)
        try:
            parsed = tf.io.parse_example(records, specification)
        except tf.errors.OpError:
            _name_the_culprit(os.fspath(path), records, specification)
            raise
        images.append(parsed["image"].numpy())
        labels.append(parsed["label"].numpy())
    return np.concatenate(images), np.concatenate(labels)


def _read_records(path: str, length: int) -> list[bytes]:
    records: list[bytes] = []
    try:
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
            records.append(record)  # those before a bad one tell where it lies
    except tf.errors.NotFoundError:
        raise UserError(f"{path} is missing; copy the folder again") from None
    except tf.errors.OpError as error:
        raise _damaged_record(path, records, length, _first_line(error)) from None
    if len(records) != length:
        raise UserError(
            f"{path} has {len(records)} images instead of {length}; copy it again"
        )
    return records


def _name_the_culprit(
    path: str, records: Sequence[bytes], specification: Mapping[str, Any]
) -> None:
    for number, record in enumerate(records):
        try:
            tf.io.parse_single_example(record, specification)
        except tf.errors.OpError as error:
            raise _damaged_record(
                path, records[:number], len(records), _first_line(error)
            ) from None


def _damaged_record(
    path: str, before: Sequence[bytes], length: int, reason: str
) -> UserError:
    """The error for the record that follows the good ones `before` it."""
    start = sum(len(record) + _RECORD_OVERHEAD for record in before)
    return UserError(
        f"{path} is damaged: record {len(before) + 1} of {length}, at byte {start}, "
        f"cannot be read ({reason}); copy the file again"
    )


def _first_line(error: Exception) -> str:
    text = str(getattr(error, "message", error)).strip() or type(error).__name__
    # TensorFlow puts the place in its own graph around what went wrong.
    return re.sub(r"\{\{.*?\}\} |,? \[Op:.*", "", text.splitlines()[0])
