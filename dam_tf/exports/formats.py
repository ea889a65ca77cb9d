"""A distilled set in the formats of other programs, and a classifier trained on it.

`export` fills a folder `<output>/<format>/` for each of `FORMATS`:

    tfrecord/     distilled/ and preprocessing/, as in a run's folder
    npz/          distilled.npz: images (float32 NHWC pixels, not clipped),
                  model_images (what networks are trained on), labels, class_names,
                  preprocessing_kind and preprocessing_* (its arrays); where the set
                  has them, soft_labels, stored and recipe (JSON), and its formation
    png/          train/<class>/<position>.png, and classes.tsv: label, folder, name
    parquet/      train-00000-of-00001.parquet, as Hugging Face `datasets` reads it
    saved_model/  a classifier: signature `serving_default`, uint8 `images` to
                  `probabilities`; signature `class_names`; assets/labels.txt

PNG and Parquet hold what 8 bits can: pixels clipped to 0..1 and rounded. What else a
format leaves out of a set, `left_out` says.
"""

import csv
import dataclasses
import io
import json
import os
import pathlib
import re
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from dam_tf.base.errors import UserError, choice_error
from dam_tf.base.files import atomic_folder
from dam_tf.base.messages import log, progress_bar
from dam_tf.base.output import check_output
from dam_tf.config.schema import to_dict
from dam_tf.config.settings import Config
from dam_tf.data.preprocessing.preprocessing import Preprocessing
from dam_tf.networks.registry import create
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.training.trainer import train_network

_NOTE = "export.json"  # by which a folder is known as an export's

# What some file system does not allow in a name, or a shell takes for its own.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]|^[.~ -]|[. ]$')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_LONGEST = 120  # bytes of a folder's name; file systems allow 255


def export(
    distilled: DistilledSet,
    formats: Sequence[str],
    output_dir: os.PathLike | str,
    config: Config,
    overwrite: bool = False,
) -> dict[str, pathlib.Path]:
    """Writes a set in several formats, all of them or none.

    Args:
        distilled: The set.
        formats: Keys of `FORMATS`.
        output_dir: Gets a folder for each format.
        config: Its network, augmentation and evaluation sections say how the
            classifier of `saved_model` is trained.
        overwrite: Replace an earlier export that lies in `output_dir`.

    Returns:
        The folder of each format.

    Raises:
        UserError: a format is unknown or cannot hold these images, the network of
            `saved_model` cannot be made for them, or `output_dir` is in the way.
            Nothing has been written then.

    Example:
        >>> import tempfile
        >>> pixels = np.zeros([2, 8, 8, 1], np.float32)
        >>> distilled = DistilledSet(pixels, np.array([0, 1]), ("cat", "dog"))
        >>> folder = pathlib.Path(tempfile.mkdtemp()) / "export"
        >>> paths = export(distilled, ["npz", "png"], folder, Config())
        >>> file = paths["npz"] / "distilled.npz"
        >>> np.load(file, allow_pickle=False)["class_names"].tolist()
        ['cat', 'dog']
        >>> sorted(path.name for path in paths["png"].glob("train/*"))
        ['cat', 'dog']
    """
    if not formats:
        raise UserError(f"no format is given; choose of: {', '.join(FORMATS)}")
    for name in formats:
        if name not in FORMATS:
            raise choice_error("format", name, FORMATS)
    output_dir = pathlib.Path(output_dir)
    check_output(
        output_dir, "an export", lambda: _is_export(output_dir), None, overwrite
    )
    for name in formats:
        FORMATS[name].check(distilled, config)
    # Resolved, since it is the folder behind a link that is replaced, not the link.
    with atomic_folder(output_dir.resolve()) as temporary:
        for name in formats:
            if missing := left_out(distilled, name):
                log.info("%s leaves out: %s.", name, ", ".join(missing))
            (temporary / name).mkdir(exist_ok=True)
            FORMATS[name].write(distilled, temporary / name, config)
        note = {
            "source": distilled.name,
            "formats": list(formats),
            "left_out": {name: left_out(distilled, name) for name in formats},
            "images": len(distilled.images),
            "class_names": distilled.class_names,
            "config": to_dict(config),
        }
        text = json.dumps(note, indent=2, ensure_ascii=False)
        (temporary / _NOTE).write_text(f"{text}\n", encoding="utf-8")
    return {name: output_dir / name for name in formats}


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Returns float32 pixels, nominally 0..1, clipped and rounded to 0..255.

    Example:
        >>> to_uint8(np.array([-0.2, 0.5, 1.3])).tolist()
        [0, 128, 255]
    """
    return np.round(np.clip(images, 0, 1) * 255).astype(np.uint8)


def folder_names(class_names: Sequence[str]) -> list[str]:
    """Returns a folder name for each class that any file system accepts.

    They differ even where upper and lower case are one, and none begins as a
    hidden file or a flag does.

    Example:
        >>> folder_names(["cat", "Cat", "a/b", "..", "con", "犬"])
        ['cat', 'Cat_2', 'a_b', '__', 'con_', '犬']
    """
    taken: set[str] = set()
    names = []
    for class_name in class_names:
        stem = class_name
        while (safe := _UNSAFE.sub("_", stem)) != stem:
            stem = safe
        stem = stem.encode()[:_LONGEST].decode(errors="ignore")
        if _RESERVED.fullmatch(stem):
            stem += "_"
        name, number = stem, 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name.casefold())
        names.append(name)
    return names


def left_out(distilled: DistilledSet, name: str) -> list[str]:
    """Returns what of a set a format does not hold, in words.

    Args:
        distilled: The set.
        name: A key of `FORMATS`.

    Example:
        >>> pixels = np.zeros([1, 8, 8, 1], np.float32)
        >>> soft = np.array([[0.9, 0.1]], np.float32)
        >>> distilled = DistilledSet(pixels, [0], ("cat", "dog"), soft_labels=soft)
        >>> left_out(distilled, "png"), left_out(distilled, "npz")
        (['soft labels'], [])
    """
    parts = {
        "preprocessing": distilled.preprocessing,
        "soft labels": distilled.soft_labels,
        "stored images": distilled.stored,
        "recipe": distilled.recipe,
        "provenance": distilled.provenance or None,
    }
    holds = FORMATS[name].holds
    return [x for x, part in parts.items() if part is not None and x not in holds]


def _is_export(folder: pathlib.Path) -> bool:
    entries = {entry.name for entry in folder.iterdir()}
    return _NOTE in entries and entries <= {_NOTE, *FORMATS}


def _write_tfrecord(
    distilled: DistilledSet, folder: pathlib.Path, config: Config
) -> None:
    distilled.save(folder)


def _write_npz(distilled: DistilledSet, folder: pathlib.Path, config: Config) -> None:
    arrays = _preprocessing(distilled).arrays()
    more = {"soft_labels": distilled.soft_labels, "stored": distilled.stored}
    if distilled.recipe is not None:
        more["recipe"] = np.array(json.dumps(distilled.recipe.to_dict()))
    np.savez(
        folder / "distilled.npz",
        images=distilled.images,
        model_images=distilled.to_numpy("network")[0],
        labels=distilled.labels,
        class_names=np.array(distilled.class_names),
        formation=np.array(distilled.formation),
        provenance=np.array(json.dumps(dict(distilled.provenance))),
        **{name: values for name, values in more.items() if values is not None},
        **{f"preprocessing_{name}": values for name, values in arrays.items()},
    )


def _write_png(distilled: DistilledSet, folder: pathlib.Path, config: Config) -> None:
    names = folder_names(distilled.class_names)
    for name in names:
        (folder / "train" / name).mkdir(parents=True)
    digits = len(str(len(distilled.images) - 1))
    for position, data in enumerate(_png_files(distilled)):
        name = names[distilled.labels[position]]
        path = folder / "train" / name / f"{position:0{digits}}.png"
        path.write_bytes(data)
    with (folder / "classes.tsv").open("w", encoding="utf-8", newline="") as file:
        # A name with a tab in it is put in quotes.
        rows = csv.writer(file, delimiter="\t", lineterminator="\n")
        rows.writerow(["label", "folder", "name"])
        for label, name in enumerate(names):
            rows.writerow([label, name, distilled.class_names[label]])


def _write_parquet(
    distilled: DistilledSet, folder: pathlib.Path, config: Config
) -> None:
    # It takes its time to import, and only this format needs it.
    import pyarrow
    import pyarrow.parquet

    image_type = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    features = {
        "image": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": list(distilled.class_names)},
    }
    types = {"image": image_type, "label": pyarrow.int64()}
    images = [{"bytes": data, "path": None} for data in _png_files(distilled)]
    columns = {"image": images, "label": distilled.labels}
    if distilled.soft_labels is not None:
        probability = {"_type": "Value", "dtype": "float32"}
        features["soft_label"] = {
            "_type": "Sequence",
            "feature": probability,
            "length": distilled.num_classes,
        }
        types["soft_label"] = pyarrow.list_(pyarrow.float32(), distilled.num_classes)
        columns["soft_label"] = list(distilled.soft_labels)
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    schema = pyarrow.schema(types, metadata=metadata)
    table = pyarrow.table(columns, schema=schema)
    # Into memory first: an error of the disk is then Python's, and says so.
    data = io.BytesIO()
    pyarrow.parquet.write_table(table, data)
    (folder / "train-00000-of-00001.parquet").write_bytes(data.getbuffer())


def _write_saved_model(
    distilled: DistilledSet, folder: pathlib.Path, config: Config
) -> None:
    network = _trained(distilled, config)
    preprocessing = _preprocessing(distilled)
    names = distilled.class_names

    def probabilities(images: tf.Tensor) -> dict[str, tf.Tensor]:
        seen = preprocessing(tf.cast(images, tf.float32) / 255)
        logits = network(seen, training=False)
        return {"probabilities": tf.nn.softmax(tf.cast(logits, tf.float32))}

    images = tf.TensorSpec([None, *distilled.image_shape], tf.uint8, name="images")
    archive = keras.export.ExportArchive()
    archive.track(preprocessing)
    archive.track(network)
    archive.add_endpoint("serving_default", probabilities, [images])
    archive.add_endpoint("class_names", lambda: {"class_names": tf.constant(names)}, [])
    archive.write_out(os.fspath(folder), verbose=False)
    (folder / "assets").mkdir(exist_ok=True)
    text = "".join(f"{name}\n" for name in names)
    (folder / "assets" / "labels.txt").write_text(text, encoding="utf-8")


def _trained(distilled: DistilledSet, config: Config) -> keras.Model:
    total = config.evaluation.epochs
    with progress_bar("Training", "epoch", total=total) as bar:
        return train_network(distilled, config, lambda done: bar.update(done - bar.n))


def _preprocessing(distilled: DistilledSet) -> Preprocessing:
    if distilled.preprocessing is not None:
        return distilled.preprocessing
    preprocessing = Preprocessing("none")
    preprocessing.build((None, *distilled.image_shape))
    return preprocessing


def _png_files(distilled: DistilledSet) -> list[bytes]:
    return [tf.io.encode_png(image).numpy() for image in to_uint8(distilled.images)]


def _any(distilled: DistilledSet, config: Config) -> None:
    """Every set can be written."""


def _check_pictures(distilled: DistilledSet, config: Config) -> None:
    channels = distilled.image_shape[2]
    if channels not in (1, 3):
        raise UserError(
            f"images of {channels} channels cannot be PNG files, which png and parquet "
            "hold; choose --format=npz or tfrecord"
        )


def _check_network(distilled: DistilledSet, config: Config) -> None:
    settings = config.network
    create(settings.name, distilled.image_shape, distilled.num_classes, settings)


@dataclasses.dataclass(frozen=True)
class Format:
    """How a set is written in one format.

    Attributes:
        write: Called with the set, an empty folder and the settings.
        check: Called with the set and the settings before anything is written;
            raises a `UserError` where the set cannot be held.
        holds: What it holds beside images and labels, in the words of `left_out`.
    """

    write: Callable[[DistilledSet, pathlib.Path, Config], None]
    check: Callable[[DistilledSet, Config], None] = _any
    holds: tuple[str, ...] = ()


_ALL = ("preprocessing", "soft labels", "stored images", "recipe", "provenance")
_TRAINED = ("preprocessing", "soft labels")  # which the classifier is trained with
FORMATS: dict[str, Format] = {
    "tfrecord": Format(_write_tfrecord, holds=_ALL),
    "npz": Format(_write_npz, holds=_ALL),
    "png": Format(_write_png, _check_pictures),
    "parquet": Format(_write_parquet, _check_pictures, ("soft labels",)),
    "saved_model": Format(_write_saved_model, _check_network, _TRAINED),
}
