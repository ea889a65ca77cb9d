"""The folder of a distilled set: which files it has, and which versions are read.

distilled/      the records, and what describes them (`records.py`)
    metadata.json   where the set comes from, and which of these there are:
    stored.npz      what the images are made from, where a formation makes them
    recipe.json     how to train on the set, where that was learned
preprocessing/  from pixels to what a network sees
"""

import contextlib
import json
import pathlib
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from dam_tf.base.errors import UserError
from dam_tf.base.files import atomic_folder
from dam_tf.base.npz import Array, read_npz
from dam_tf.data.preprocessing.preprocessing import Preprocessing, load_preprocessing
from dam_tf.synthetic.formation import stored_shape
from dam_tf.synthetic.recipe import Recipe
from dam_tf.synthetic.records import (
    LABELS,
    NAME,
    Records,
    check_there,
    damaged,
    read_json,
    read_records,
    write_records,
)

VERSION = 2  # of these files; version 1 had hard labels and raw images only
PREPROCESSING = "preprocessing"
_METADATA, _STORED, _RECIPE = "metadata.json", "stored.npz", "recipe.json"

# Images have checksums in their records; names, one letter of which is another class,
# have one in metadata.json.
_NAMES_CRC32 = "class_names_crc32"

# What metadata.json holds, and what version 1, which had not all, meant.
_KINDS = {
    "source": str,
    "preprocessing": bool,
    "formation": str,
    "recipe": bool,
    "provenance": dict,
}
_VERSION_1 = {"formation": "raw", "recipe": False, "provenance": {}}


class Parts(Protocol):
    """What of a distilled set is written; `DistilledSet` says what each is."""

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    preprocessing: Preprocessing | None
    name: str
    soft_labels: np.ndarray | None
    stored: np.ndarray | None
    formation: str
    recipe: Recipe | None
    provenance: Mapping[str, str]
    ipc_text: str


def write_set(
    one: Parts,
    folder: pathlib.Path,
    keep_preprocessing: bool,
    shard_bytes: int,
) -> None:
    """Writes a set; the arguments are those of `DistilledSet.save`."""
    stored = folder / PREPROCESSING
    if one.preprocessing is not None and not (keep_preprocessing and stored.is_dir()):
        _save_preprocessing(one.preprocessing, stored)
    metadata = {
        "source": one.name,
        "preprocessing": one.preprocessing is not None,
        "version": VERSION,
        "formation": one.formation,
        "recipe": one.recipe is not None,
        _NAMES_CRC32: _crc32(one.class_names),
        "provenance": dict(one.provenance),
    }
    with atomic_folder(folder / NAME) as temporary:
        write_records(
            temporary,
            Records(one.images, one.labels, one.soft_labels, one.class_names),
            f"Synthetic images distilled from {one.name or 'a data set'}, "
            f"{one.ipc_text} {_counted(one.formation)}per class; pixels, nominally "
            "0 to 1.",
            metadata,
            shard_bytes,
        )
        if one.stored is not None:
            np.savez(temporary / _STORED, stored=one.stored)
        if one.recipe is not None:
            text = json.dumps(one.recipe.to_dict(), indent=2)
            (temporary / _RECIPE).write_text(f"{text}\n", encoding="utf-8")


def _counted(formation: str) -> str:
    return "" if formation == "raw" else f"stored (formation {formation}) "


def read_set(folder: pathlib.Path) -> tuple[pathlib.Path, dict[str, Any]]:
    """Returns where a set lies, and its parts by their names in `DistilledSet`.

    Args:
        folder: A run's folder, or `distilled/` in it.

    Raises:
        UserError: a file is missing or damaged, or of an unknown version.
    """
    if not folder.is_dir():
        raise UserError(
            f"no such folder: {folder}; give that of a run or of a saved set"
        )
    run = folder.absolute().parent if folder.name == NAME else folder
    distilled = folder if folder.name == NAME else folder / NAME
    check_there(distilled)
    metadata = _read_metadata(distilled / _METADATA)
    parts = read_records(distilled)._asdict()
    found = _crc32(parts["class_names"])
    if metadata.get(_NAMES_CRC32, found) != found:  # older sets do not say
        reason = "its names are not those that were written"
        raise damaged(distilled / LABELS, reason)
    formation = metadata["formation"]
    if formation != "raw":
        path = distilled / _STORED
        parts["stored"] = _read_stored(path, parts["images"].shape, formation)
    if metadata["recipe"]:
        parts["recipe"] = _read_recipe(distilled / _RECIPE)
    if metadata["preprocessing"]:
        parts["preprocessing"] = _read_preprocessing(run, distilled)
    parts |= {"name": metadata["source"], "formation": formation}
    return distilled, parts | {"provenance": metadata["provenance"]}


def _crc32(names: Sequence[str]) -> int:
    return zlib.crc32("\n".join(names).encode())


def _read_metadata(path: pathlib.Path) -> dict[str, Any]:
    """Returns what `metadata.json` says, in the names of this version."""
    found = read_json(path)
    version = found.get("version", 1)
    if version not in (1, VERSION):
        raise UserError(
            f"{path.parent} is of version {version!r} of the format; this dam_tf reads "
            f"versions 1 and {VERSION}: use the one that wrote it, or a newer one"
        )
    found = (_VERSION_1 if version == 1 else {}) | found
    for name, kind in _KINDS.items():
        if not isinstance(found.get(name), kind):
            raise damaged(path, f"its {name!r} is {found.get(name)!r}")
    return found


def _read_stored(
    path: pathlib.Path, shape: tuple[int, ...], formation: str
) -> np.ndarray:
    if not path.is_file():
        raise UserError(f"{path} is missing; copy the folder again")
    try:
        expected = Array(stored_shape(shape, formation), np.float32)
    except UserError as error:
        raise damaged(path.with_name(_METADATA), str(error)) from None
    what = f"the images that {formation} makes those of the set from"
    return read_npz(path, {"stored": expected}, what)["stored"]


def _read_recipe(path: pathlib.Path) -> Recipe:
    values = read_json(path)
    try:
        return Recipe.from_dict(values)
    except UserError as error:
        raise damaged(path, str(error)) from None


def _read_preprocessing(run: pathlib.Path, distilled: pathlib.Path) -> Preprocessing:
    if not (run / PREPROCESSING).is_dir():
        raise UserError(
            f"{run} has no folder {PREPROCESSING}/, without which the images in "
            f"{distilled} cannot be trained on; copy both"
        )
    return load_preprocessing(run / PREPROCESSING)


def _save_preprocessing(preprocessing: Preprocessing, folder: pathlib.Path) -> None:
    """Writes the preprocessing unless it is there already: a ZCA's is large."""
    if folder.is_dir():
        with contextlib.suppress(UserError):  # a damaged one is written anew
            if _same(load_preprocessing(folder), preprocessing):
                return
    with atomic_folder(folder) as temporary:
        preprocessing.write(temporary)


def _same(first: Preprocessing, second: Preprocessing) -> bool:
    return (first.kind, first.eps, first.image_shape) == (
        second.kind,
        second.eps,
        second.image_shape,
    ) and all(map(np.array_equal, first.get_weights(), second.get_weights()))
