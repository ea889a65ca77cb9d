"""The records of a distilled set: TFRecord files that TensorFlow Datasets opens.

`distilled_set.py` says what belongs to a set; here its images and labels become files
and come back. TFDS writes the description (`features.json`, `dataset_info.json`). It
does not read it: it would import any module that a stranger's `features.json` names.
"""

import math
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.base.json_lines import parse_json

NAME = "distilled"
LABELS = "label.labels.txt"  # the class names, one a line
SPLIT = "train"
SHARD_BYTES = 2**30
_RECORD_OVERHEAD = 16  # bytes around a record: its length, and two checksums
_FLOAT_BYTES = 4
_LARGEST_TEXT = 2**28  # bytes of a file of JSON or names; a set's has a few thousand

_FEATURES = "tensorflow_datasets.core.features."
_DICT = _FEATURES + "features_dict.FeaturesDict"
_TENSOR = _FEATURES + "tensor_feature.Tensor"
_CLASSES = {
    "image": _TENSOR,
    "label": _FEATURES + "class_label_feature.ClassLabel",
    "soft_label": _TENSOR,
}
# What a file of something else raises; the last of them is of JSON's Infinity.
_UNEXPECTED = (LookupError, TypeError, ValueError, AttributeError, OverflowError)


class Records(NamedTuple):
    """What is in the records of a set.

    Attributes:
        images: float32 `[n, height, width, channels]`.
        labels: int64 `[n]`.
        soft_labels: float32 `[n, classes]`, or None.
        class_names: The names of the classes.
    """

    images: np.ndarray
    labels: np.ndarray
    soft_labels: np.ndarray | None
    class_names: tuple[str, ...]


class _Layout(NamedTuple):
    """What the files of a folder say of its records."""

    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    soft: bool
    shards: dict[pathlib.Path, int]  # the records in each file

    @property
    def record_bytes(self) -> int:
        """What parsing a record takes in memory, and the least that it has on disk."""
        soft = len(self.class_names) if self.soft else 0
        return _FLOAT_BYTES * (math.prod(self.image_shape) + soft)

    @property
    def specification(self) -> dict[str, Any]:
        classes = len(self.class_names) if self.soft else None
        return record_specification(self.image_shape, classes)


def write_records(
    folder: pathlib.Path,
    records: Records,
    description: str,
    metadata: Mapping[str, Any],
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Writes TFRecord files and the description with which TFDS opens them.

    Args:
        folder: An empty folder.
        records: What to write.
        description: A sentence about the set.
        metadata: Goes into `metadata.json`.
        shard_bytes: Bytes of images in a file, about; a larger set has several.
    """
    import tensorflow_datasets as tfds  # it takes its time, and reading needs none

    images = records.images
    columns = {"image": images, "label": records.labels}
    features = {
        "image": tfds.features.Tensor(shape=images.shape[1:], dtype=np.float32),
        "label": tfds.features.ClassLabel(names=records.class_names),
    }
    if records.soft_labels is not None:
        columns["soft_label"] = records.soft_labels
        features["soft_label"] = tfds.features.Tensor(
            shape=records.soft_labels.shape[1:], dtype=np.float32
        )
    features = tfds.features.FeaturesDict(features)
    count = min(len(images), math.ceil(images.nbytes / shard_bytes))
    shards = np.array_split(np.arange(len(images)), count)
    num_bytes = 0
    for path, rows in zip(_shard_files(folder, count), shards, strict=True):
        with tf.io.TFRecordWriter(os.fspath(path)) as writer:
            for row in rows:
                example = features.serialize_example(
                    {name: column[row] for name, column in columns.items()}
                )
                num_bytes += len(example)
                writer.write(example)
    split = tfds.core.SplitInfo(
        name=SPLIT,
        shard_lengths=[len(rows) for rows in shards],
        num_bytes=num_bytes,
        filename_template=tfds.core.ShardedFileTemplate(
            data_dir=folder,
            dataset_name=NAME,
            split=SPLIT,
            filetype_suffix="tfrecord",
        ),
    )
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=features,
        split_infos=[split],
        check_data=False,
        description=description,
        supervised_keys=("image", "label"),
        metadata=tfds.core.MetadataDict(metadata),
    )


def read_records(folder: pathlib.Path) -> Records:
    """Reads what `write_records` wrote.

    Raises:
        UserError: a file is missing or damaged; it is named, and so is the place of
            a damaged record.
    """
    layout = _read_layout(folder)
    columns: dict[str, list] = {name: [] for name in layout.specification}
    for path, length in layout.shards.items():
        parsed = _parse(path, _read_shard(path, length, layout), layout.specification)
        for name, values in parsed.items():
            columns[name].append(values.numpy())
    arrays = {name: np.concatenate(parts) for name, parts in columns.items()}
    return Records(
        arrays["image"],
        arrays["label"],
        arrays.get("soft_label"),
        layout.class_names,
    )


def record_specification(
    image_shape: Sequence[int], num_classes: int | None = None
) -> dict[str, Any]:
    """Returns what `tf.io.parse_example` needs to read the records of a set.

    Args:
        image_shape: Height, width and channels.
        num_classes: Given, soft labels over so many classes are read too.
    """
    specification = {
        "image": tf.io.FixedLenFeature(image_shape, tf.float32),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }
    if num_classes is not None:
        soft_label = tf.io.FixedLenFeature([num_classes], tf.float32)
        specification["soft_label"] = soft_label
    return specification


def record_files(folder: os.PathLike | str) -> list[str]:
    """Returns the TFRecord files of the set in a run's folder, in order.

    Args:
        folder: The run's folder, or `distilled/` in it.

    Raises:
        UserError: there is no set, or its description is damaged.
    """
    folder = pathlib.Path(folder)
    layout = _read_layout(folder if folder.name == NAME else folder / NAME)
    return [os.fspath(path) for path in layout.shards]


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Returns the object in a JSON file of a set.

    Raises:
        UserError: the file is missing, or holds something else.
    """
    text = _read_text(path)
    try:
        found = parse_json(text)
    except ValueError as error:
        raise damaged(path, _first_line(error)) from None
    if not isinstance(found, dict):
        raise damaged(path, "it holds no object")
    return found


def check_there(folder: pathlib.Path) -> None:
    """Raises a `UserError` where the folder holds no set at all."""
    for name in ("dataset_info.json", "metadata.json"):
        if not (folder / name).is_file():
            raise UserError(f"no distilled set in {folder}: {name} is missing")


def damaged(path: pathlib.Path, reason: str) -> UserError:
    """Returns the error for a file of a set that holds what it should not."""
    return UserError(f"{path} is damaged: {reason}; copy the folder again")


def _missing(path: pathlib.Path) -> UserError:
    return UserError(f"{path} is missing; copy the folder again")


def _shard_files(folder: pathlib.Path, count: int) -> list[pathlib.Path]:
    stem = f"{NAME}-{SPLIT}.tfrecord"
    return [folder / f"{stem}-{i:05d}-of-{count:05d}" for i in range(count)]


def _read_layout(folder: pathlib.Path) -> _Layout:
    """Reads and checks the description of a set."""
    check_there(folder)
    path = folder / "features.json"
    found = read_json(path)
    try:
        features = found["featuresDict"]["features"]
        classes = {name: one["pythonClassName"] for name, one in features.items()}
        if found["pythonClassName"] != _DICT or not (
            {"image", "label"} <= set(classes) and classes.items() <= _CLASSES.items()
        ):
            raise ValueError(f"its features are {', '.join(classes)}")
        shape = _tensor_shape(features["image"], 3)
        count = int(features["label"]["classLabel"]["numClasses"])
        soft = "soft_label" in features
        if soft and _tensor_shape(features["soft_label"], 1) != (count,):
            raise ValueError(f"soft_label has not the {count} classes of label")
    except _UNEXPECTED as error:
        raise damaged(path, f"no distilled set is described ({error})") from None
    names = _read_names(folder / LABELS, count)
    return _Layout(shape, names, soft, _read_shards(folder))


def _tensor_shape(feature: Mapping[str, Any], axes: int) -> tuple[int, ...]:
    tensor = feature["tensor"]
    shape = tuple(int(side) for side in tensor["shape"]["dimensions"])
    if len(shape) != axes or min(shape) < 1 or tensor["dtype"] != "float32":
        raise ValueError(f"a feature is {tensor['dtype']} {list(shape)}")
    return shape


def _read_names(path: pathlib.Path, count: int) -> tuple[str, ...]:
    *names, rest = _read_text(path).split("\n")
    if rest or len(names) != count:
        raise damaged(path, f"it has not the names of {count} classes, one a line")
    return tuple(names)


def _read_text(path: pathlib.Path) -> str:
    # What is no file, such as a pipe, might never end.
    if not path.is_file():
        raise _missing(path)
    try:
        if (size := path.stat().st_size) > _LARGEST_TEXT:
            raise ValueError(f"it has {size:,} bytes")
        return path.read_text(encoding="utf-8")
    except MemoryError:
        raise damaged(path, "there is no memory for it") from None
    except (OSError, ValueError) as error:
        raise damaged(path, _first_line(error)) from None


def _read_shards(folder: pathlib.Path) -> dict[pathlib.Path, int]:
    path = folder / "dataset_info.json"
    found = read_json(path)
    try:
        (split,) = found["splits"]
        lengths = [int(length) for length in split["shardLengths"]]
        if split["name"] != SPLIT or min(lengths) < 1:
            raise ValueError(f"{split['name']} has {lengths} images")
    except _UNEXPECTED as error:
        raise damaged(path, f"it has no split {SPLIT!r} ({error})") from None
    return dict(zip(_shard_files(folder, len(lengths)), lengths, strict=True))


def _read_shard(path: pathlib.Path, length: int, layout: _Layout) -> list[bytes]:
    if not path.is_file():
        raise _missing(path)
    records: list[bytes] = []
    try:
        for record in tf.data.TFRecordDataset(os.fspath(path)).as_numpy_iterator():
            # Parsing takes memory for whole images, whatever the records hold.
            if len(record) < layout.record_bytes:
                raise _damaged_record(path, records, length, "its image is incomplete")
            records.append(record)  # those before a bad one tell where it lies
    except tf.errors.OpError as error:
        raise _damaged_record(path, records, length, _first_line(error)) from None
    if len(records) != length:
        raise UserError(
            f"{path} has {len(records)} images instead of {length}; copy it again"
        )
    return records


def _parse(
    path: pathlib.Path, records: Sequence[bytes], specification: Mapping[str, Any]
) -> dict[str, tf.Tensor]:
    try:
        return tf.io.parse_example(records, specification)
    except tf.errors.OpError:
        for number, record in enumerate(records):
            try:
                tf.io.parse_single_example(record, specification)
            except tf.errors.OpError as error:
                raise _damaged_record(
                    path, records[:number], len(records), _first_line(error)
                ) from None
        raise


def _damaged_record(
    path: pathlib.Path, before: Sequence[bytes], length: int, reason: str
) -> UserError:
    """The error for the record that follows the good ones `before` it."""
    start = sum(len(record) + _RECORD_OVERHEAD for record in before)
    return damaged(
        path,
        f"record {len(before) + 1} of {length}, at byte {start}, cannot be read "
        f"({reason})",
    )


def _first_line(error: Exception) -> str:
    text = str(getattr(error, "message", error)).strip() or type(error).__name__
    # TensorFlow puts the place in its own graph around what went wrong.
    return re.sub(r"\{\{.*?\}\} |,? \[Op:.*", "", text.splitlines()[0])
