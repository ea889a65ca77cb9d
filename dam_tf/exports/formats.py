"""A distilled set in the formats of other programs, and a classifier trained on it.

`export` fills a folder `<output>/<format>/` for each of `FORMATS`:

    tfrecord/     distilled/ and preprocessing/, as in a run's folder
    npz/          distilled.npz: images (float32 NHWC pixels, not clipped),
                  model_images (what networks are trained on), labels, class_names,
                  preprocessing_kind and preprocessing_* (its arrays); where the set
                  has them, soft_labels, stored and recipe (JSON), and its formation
    png/          train/<label>_<class>/<position>.png, and set.json: the names of the
                  classes, and what the 8 bits stand for
    parquet/      train-00000-of-00001.parquet, as Hugging Face `datasets` reads it
    saved_model/  a classifier: signature `serving_default`, uint8 `images` to
                  `probabilities`; signature `class_names`; assets/labels.txt

Folders are sorted as text by those who read them: in the order of the labels. PNG and
Parquet hold what 8 bits can (`pictures.py`). What else a format leaves out of a set,
`left_out` says.
"""

import dataclasses
import json
import os
import pathlib
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
from dam_tf.exports.pictures import (
    PIXELS,
    Pixels,
    Scale,
    say_what_8_bits_hold,
    scale_of,
    write_parquet,
    write_png,
)
from dam_tf.exports.program.folder import export_program
from dam_tf.networks.registry import create
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.training.on_distilled import train_network

_NOTE = "export.json"  # by which a folder is known as an export's
_PICTURES = ("png", "parquet")  # the formats that hold 8 bits


def export(
    distilled: DistilledSet,
    formats: Sequence[str],
    output_dir: os.PathLike | str,
    config: Config,
    overwrite: bool = False,
    pixels: Pixels = "clipped",
) -> dict[str, pathlib.Path]:
    """Writes a set in several formats, all of them or none.

    Args:
        distilled: The set.
        formats: Keys of `FORMATS`.
        output_dir: Gets a folder for each format.
        config: Its network, augmentation and evaluation sections say how the
            classifier of `saved_model` is trained.
        overwrite: Replace an earlier export that lies in `output_dir`.
        pixels: What becomes of pixels outside 0..1 in `png` and `parquet`: they are
            "clipped", or the whole range is "scaled" to 8 bits, and the files say how
            to undo it.

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
        ['0_cat', '1_dog']
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
    if pixels not in PIXELS:
        raise choice_error("pixels", pixels, PIXELS)
    pictures = [name for name in dict.fromkeys(formats) if name in _PICTURES]
    if pixels == "scaled" and not pictures:
        raise UserError(
            f"pixels='scaled' is for {' and '.join(_PICTURES)}, and {formats[0]} keeps "
            "every value as it is; leave it out"
        )
    for name in formats:
        FORMATS[name].check(distilled, config)
    scale = scale_of(distilled.images, pixels)
    if pictures:
        say_what_8_bits_hold(" and ".join(pictures), distilled.images, scale)
    # Resolved, since it is the folder behind a link that is replaced, not the link.
    with atomic_folder(output_dir.resolve()) as temporary:
        for name in formats:
            if missing := left_out(distilled, name):
                log.info("%s leaves out: %s.", name, ", ".join(missing))
            (temporary / name).mkdir(exist_ok=True)
            FORMATS[name].write(distilled, temporary / name, config, scale)
        note = {
            "source": distilled.name,
            "formats": list(formats),
            "left_out": {name: left_out(distilled, name) for name in formats},
            "images": len(distilled.images),
            "stored_images": distilled.size,
            "scale_of_8_bits": dataclasses.asdict(scale),
            "class_names": distilled.class_names,
            "config": to_dict(config),
        }
        text = json.dumps(note, indent=2, ensure_ascii=False)
        (temporary / _NOTE).write_text(f"{text}\n", encoding="utf-8")
    return {name: output_dir / name for name in formats}


# A run, not a set, is what `dam_tf.export.program` exports.
export.program = export_program


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
    distilled: DistilledSet, folder: pathlib.Path, config: Config, scale: Scale
) -> None:
    distilled.save(folder)


def _write_npz(
    distilled: DistilledSet, folder: pathlib.Path, config: Config, scale: Scale
) -> None:
    np.savez(folder / "distilled.npz", **npz_arrays(distilled))


def npz_arrays(distilled: DistilledSet) -> dict[str, np.ndarray]:
    """Returns what `distilled.npz` holds, by name.

    Example:
        >>> pixels = np.zeros([2, 8, 8, 1], np.float32)
        >>> arrays = npz_arrays(DistilledSet(pixels, [0, 1], ("cat", "dog")))
        >>> arrays["images"].shape, arrays["class_names"].tolist()
        ((2, 8, 8, 1), ['cat', 'dog'])
    """
    more = {"soft_labels": distilled.soft_labels, "stored": distilled.stored}
    if distilled.recipe is not None:
        more["recipe"] = np.array(json.dumps(distilled.recipe.to_dict()))
    preprocessing = _preprocessing(distilled).arrays()
    return {
        "images": distilled.images,
        "model_images": distilled.to_numpy("network")[0],
        "labels": distilled.labels,
        "class_names": np.array(distilled.class_names),
        "formation": np.array(distilled.formation),
        "provenance": np.array(json.dumps(dict(distilled.provenance))),
        **{name: values for name, values in more.items() if values is not None},
        **{f"preprocessing_{name}": one for name, one in preprocessing.items()},
    }


def _write_saved_model(
    distilled: DistilledSet, folder: pathlib.Path, config: Config, scale: Scale
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


def _any(distilled: DistilledSet, config: Config) -> None:
    """Every set can be written."""


def _check_pictures(distilled: DistilledSet, config: Config) -> None:
    channels = distilled.image_shape[2]
    if channels not in (1, 3):
        raise UserError(
            f"images of {channels} channels cannot be PNG files, which "
            f"{' and '.join(_PICTURES)} hold; choose --format=npz or tfrecord"
        )


def _write_png(
    distilled: DistilledSet, folder: pathlib.Path, config: Config, scale: Scale
) -> None:
    write_png(distilled, folder, scale)


def _write_parquet(
    distilled: DistilledSet, folder: pathlib.Path, config: Config, scale: Scale
) -> None:
    write_parquet(distilled, folder, scale)


def _check_network(distilled: DistilledSet, config: Config) -> None:
    settings = config.network
    create(settings.name, distilled.image_shape, distilled.num_classes, settings)


@dataclasses.dataclass(frozen=True)
class Format:
    """How a set is written in one format.

    Attributes:
        write: Called with the set, an empty folder, the settings, and how pixels
            become 8 bits.
        check: Called with the set and the settings before anything is written;
            raises a `UserError` where the set cannot be held.
        holds: What it holds beside images and labels, in the words of `left_out`.
    """

    write: Callable[[DistilledSet, pathlib.Path, Config, Scale], None]
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
