"""Data sets of TensorFlow Datasets (TFDS): prepared folders, archives, or downloads."""

import contextlib
import itertools
import pathlib
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence

import numpy as np
from absl import logging

from dam_tf.base.errors import UserError
from dam_tf.base.messages import log
from dam_tf.config.sections import DatasetConfig
from dam_tf.data.catalog import Entry
from dam_tf.data.source import (
    CHUNK,
    Chunks,
    Contents,
    Source,
    SplitContents,
    kept_classes,
    progress,
)
from dam_tf.data.sources.resizing import resize

_NETWORK_TIMEOUT = 10.0  # seconds to find out whether an archive can be downloaded


def tfds_source(entry: Entry, config: DatasetConfig) -> Source:
    """Returns a data set of TFDS; downloads and prepares it if it is not there yet.

    A prepared folder in `config.data_dir` is used as it is, without network; else
    archives in `downloads/manual/` of that folder are; else they are downloaded.

    Raises:
        UserError: there is nothing to prepare it from.
    """
    import tensorflow_datasets as tfds

    with _fewer_warnings():
        data_dir = config.data_dir or None
        try:
            builder = tfds.builder(entry.tfds, data_dir=data_dir, try_gcs=False)
        except (ValueError, AssertionError) as error:  # an unknown configuration
            raise UserError(
                f"TFDS cannot make {entry.tfds!r}: {str(error).splitlines()[0][:300]}"
            ) from None
        _check_features(builder, entry)
        if not builder.is_prepared():
            _prepare(builder, entry)
    splits = {
        name: split for name, split in builder.info.splits.items() if split.num_examples
    }
    test = next((name for name in ("test", "validation") if name in splits), None)
    missing = [] if "train" in splits else ["train"]
    if test is None and entry.classes:  # all that the catalog describes have some
        missing.append("test or validation")
    if missing:
        raise UserError(
            f"{entry.name}: the prepared folder {builder.data_path} has no "
            f"{missing[0]} images; remove it, to prepare it again"
        )
    sizes = [(splits[name].num_examples, splits[name].num_bytes) for name in splits]
    return Source(
        name=entry.name,
        identity=f"{builder.data_path} {sizes}",
        look=lambda: _look(builder, test, entry, config),
        origin=f"TFDS {builder.info.full_name}",
    )


def _check_features(builder, entry: Entry) -> None:
    """Raises a `UserError` unless it is a data set of images, each of one class."""
    import tensorflow_datasets as tfds

    features = dict(builder.info.features or {})
    image, label = (features.get(name) for name in ("image", "label"))
    if (
        not isinstance(image, tfds.features.Image)
        or not isinstance(label, tfds.features.ClassLabel)
        or image.shape[2] not in (1, 3)
    ):
        raise UserError(
            f"{entry.name} of TFDS has {', '.join(features) or 'no features'}; it "
            "needs an 'image' of 1 or 3 channels and a 'label' that is a class"
        )


def _look(builder, test: str | None, entry: Entry, config: DatasetConfig) -> Contents:
    features = builder.info.features
    names = [entry.wordnet.get(name, name) for name in features["label"].names]
    classes = kept_classes(config.max_classes, len(names), entry.name)
    height, width, channels = features["image"].shape
    size = config.image_size or entry.image_size
    if size:
        height = width = size
    if height is None or width is None:
        raise UserError(
            f"the images of {entry.name} have several sizes; choose one for all with "
            "dataset.image_size (--image_size), such as 64"
        )
    shape = (height, width, channels)
    return Contents(
        class_names=tuple(names[:classes]),
        image_shape=shape,
        train=_split_contents(builder, "train", classes, shape),
        test=test and _split_contents(builder, test, classes, shape),
    )


def _split_contents(
    builder, split: str, classes: int, shape: tuple[int, int, int]
) -> SplitContents:
    total = builder.info.splits[split].num_examples
    counts = np.zeros([classes], np.int64)
    with progress(total, f"{builder.name} {split} labels") as bar:
        for labels in _labels(builder, split):
            counts += np.bincount(labels[labels < classes], minlength=classes)
            bar.update(len(labels))
    if not counts.all():
        label = int(np.argmin(counts))
        name = builder.info.features["label"].names[label]
        raise UserError(
            f"class {name!r} has no image in split {split!r} of {builder.data_path}; "
            "give a complete data set, or a smaller dataset.max_classes"
        )

    def chunks(first: int) -> Chunks:
        return _images(builder, split, classes, shape, first)

    return SplitContents(counts, chunks)


def _labels(builder, split: str) -> Iterator[np.ndarray]:
    data = _read(builder, split, {"label": True})
    data = data.map(lambda example: example["label"])
    yield from _batches(builder, data.batch(16 * CHUNK))


def _images(
    builder, split: str, classes: int, shape: tuple[int, int, int], first: int
) -> Chunks:
    import tensorflow as tf

    # What is skipped is not decoded.
    data = _read(builder, split, {"image": True, "label": True}, encoded=("image",))
    data = data.filter(lambda example: example["label"] < classes).skip(first)
    feature = builder.info.features["image"]
    data = data.map(
        lambda example: (feature.decode_example(example["image"]), example["label"]),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    if feature.shape == shape:
        yield from _batches(builder, data.batch(CHUNK))
        return
    examples = _batches(builder, data)  # of several sizes, so one by one
    while part := list(itertools.islice(examples, CHUNK)):
        images = [resize(image[np.newaxis], shape)[0] for image, _ in part]
        yield np.stack(images), np.array([label for _, label in part])


def _read(builder, split: str, features: dict[str, bool], encoded: Sequence[str] = ()):
    import tensorflow_datasets as tfds

    skipped = {name: tfds.decode.SkipDecoding() for name in encoded}
    with _fewer_warnings():
        return builder.as_dataset(
            split=split,
            shuffle_files=False,
            decoders=tfds.decode.PartialDecoding(features, skipped),
            read_config=tfds.ReadConfig(try_autocache=False),
        )


def _batches(builder, data) -> Iterator:
    import tensorflow as tf

    try:
        yield from data.prefetch(tf.data.AUTOTUNE).as_numpy_iterator()
    except tf.errors.OpError as error:
        raise UserError(
            f"cannot read {builder.data_path}: {error.message.splitlines()[0]}; remove "
            "that folder, to prepare it again"
        ) from None


def _prepare(builder, entry: Entry) -> None:
    """Downloads and prepares, or says which file to put where."""
    import tensorflow_datasets as tfds

    downloads = _data_dir(builder, entry) / "downloads"
    # MNIST and Fashion-MNIST have archives of the same names.
    own = downloads / "manual" / entry.name
    manual = own if own.is_dir() else downloads / "manual"
    log.info("%s: preparing %s by TFDS", entry.name, builder.data_path)
    try:
        _check_reachable(builder, entry, downloads, manual)
        if not sys.stderr.isatty():
            tfds.disable_progress_bar()
        download = tfds.download.DownloadConfig(
            manual_dir=manual, try_download_gcs=False
        )
        with contextlib.redirect_stdout(sys.stderr):
            builder.download_and_prepare(
                download_dir=downloads, download_config=download
            )
    except Exception as error:  # TFDS passes on whatever its readers raise
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        reason = next(iter(str(cause).splitlines()), type(cause).__name__)
        archives = entry.downloads or ("the files that TFDS downloads",)
        raise UserError(
            f"{entry.name} cannot be downloaded and prepared ({reason[:400]}); put "
            f"{', '.join(archives)} into {downloads / 'manual'} (or its "
            f"subfolder {entry.name}), or a folder that TFDS prepared elsewhere at "
            f"{builder.data_path}"
        ) from error


def _check_reachable(
    builder, entry: Entry, downloads: pathlib.Path, manual: pathlib.Path
) -> None:
    """Raises OSError if an archive is not here and cannot be had from the network.

    TFDS itself finds that out after minutes of retries.
    """
    here = {file.name for file in manual.glob("*")}
    fetched = "".join(file.read_text() for file in downloads.rglob("*.INFO"))
    for url, info in (builder.url_infos or {}).items():
        name = info.filename
        if entry.downloads and name not in entry.downloads:
            continue
        if name in here or f'"{name}"' in fetched:
            continue
        try:
            request = urllib.request.Request(url, method="HEAD")
            urllib.request.urlopen(request, timeout=_NETWORK_TIMEOUT).close()
        except urllib.error.HTTPError as error:
            error.close()  # an answer, so there is a network: leave the rest to TFDS
        return


def _data_dir(builder, entry: Entry) -> pathlib.Path:
    """Returns the folder that holds the folders of all data sets."""
    return pathlib.Path(builder.data_path).parents[len(entry.tfds.split("/"))]


@contextlib.contextmanager
def _fewer_warnings() -> Iterator[None]:
    """Hides what TFDS says of each folder it looks at or reads."""
    before = logging.get_verbosity()
    logging.set_verbosity(min(before, logging.ERROR))
    try:
        yield
    finally:
        logging.set_verbosity(before)
