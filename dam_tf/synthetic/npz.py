"""Distilled sets in npz files: of other programs, and of our own `export`.

images            pixels, or what else `space`, or `mean` and `deviation` say they are
labels            positions in the class names, or probabilities of the classes
class_names       `[classes]`; those of the data set, if left out

and the other arguments of `DistilledSet.from_arrays`, by their names.
`export --format=npz` adds what else a set has (`exports/formats.py`), and all of it is
read again. Files are read by `base/npz.py`, which trusts nothing.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dam_tf.base.errors import UserError
from dam_tf.base.json_lines import parse_json
from dam_tf.base.npz import Array, names_in, read_npz
from dam_tf.config.keywords import preprocessing_values
from dam_tf.config.settings import Config, replace
from dam_tf.data.preprocessing.preprocessing import (
    Preprocessing,
    fit_to_data,
    read_preprocessing,
)
from dam_tf.data.real_data import RealData
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.synthetic.recipe import Recipe

PREFIX = "npz:"
_WHAT = (
    "a file of numpy.savez with images and labels of a distilled set, as "
    "docs/evaluation.md says"
)
_ANY = Array(dtype=np.generic)  # what does not fit is said with what to do
_NUMBERS, _TEXT = Array(dtype=np.number), Array((), np.str_)
_ARRAYS = {
    "images": _ANY,
    "labels": _ANY,
    "soft_labels": Array((None, None), np.floating),
    "mean": _NUMBERS,
    "deviation": _NUMBERS,
    "space": _TEXT,
    "pixel_range": Array((2,), np.number),
    "class_names": Array((None,), np.str_),
    "stored": Array((None, None, None, None), np.floating),
    "formation": _TEXT,
    "recipe": _TEXT,
    "provenance": _TEXT,
}
_JSON = ("recipe", "provenance")


def npz_file(path: os.PathLike | str) -> pathlib.Path | None:
    """Returns the file that `npz:FILE`, or the path of an npz file, stands for.

    Example:
        >>> npz_file("npz:sets/dc.npz").name, npz_file("runs/a")
        ('dc.npz', None)
    """
    text = os.fspath(path)
    if text.startswith(PREFIX):
        return pathlib.Path(text.removeprefix(PREFIX)).expanduser()
    path = pathlib.Path(text)
    is_file = path.suffix.lower() == ".npz" and not path.is_dir()
    return path if is_file else None


@dataclasses.dataclass(frozen=True)
class NpzSet:
    """What an npz file holds of a distilled set.

    Attributes:
        path: Of the file.
        arrays: By name, of those that `_ARRAYS` lists.
        preprocessing: Where the file has it: what networks see.
    """

    path: pathlib.Path
    arrays: dict[str, Any]
    preprocessing: Preprocessing | None

    @classmethod
    def read(cls, path: os.PathLike | str) -> "NpzSet":
        """Reads a file.

        Raises:
            UserError: it is missing or damaged, or holds no set.
        """
        path = pathlib.Path(path)
        held = names_in(path, _WHAT)
        labels = ["labels"] if "soft_labels" not in held else []
        wanted = {name for name in _ARRAYS if name in held} | {"images", *labels}
        arrays: dict[str, Any] = dict(
            read_npz(path, {name: _ARRAYS[name] for name in sorted(wanted)}, _WHAT)
        )
        for name, array in arrays.items():
            if array.dtype.kind == "U" and not array.ndim:
                arrays[name] = str(array)
        for name in _JSON:
            if name in arrays:
                arrays[name] = _object(path, name, arrays[name])
        preprocessing = None
        if "preprocessing_kind" in held:
            preprocessing = read_preprocessing(path, _WHAT, "preprocessing_")
        return cls(path, arrays, preprocessing)

    def distilled(
        self,
        class_names: Sequence[str] | None = None,
        name: str = "",
        fit: Callable[[], Preprocessing] | None = None,
    ) -> DistilledSet:
        """Returns the set.

        Args:
            class_names: Those of the data, which the file's own must agree with.
            name: Of the data set that it stands for.
            fit: Gives the preprocessing of the data, where the file has none.

        Raises:
            UserError: what the file holds does not fit together; it is named.
        """
        parts = dict(self.arrays)
        names = parts.pop("class_names", None)
        if "soft_labels" in parts and "labels" not in parts:
            parts["labels"] = parts.pop("soft_labels")
        standardised = "mean" in parts or "deviation" in parts
        preprocessing = self.preprocessing
        if preprocessing is not None:  # our own export, whose pixels may be any
            parts.setdefault("pixel_range", np.array([0.0, 1.0]))
        elif fit is not None and not standardised:
            preprocessing = fit()
        try:
            if (recipe := parts.pop("recipe", None)) is not None:
                parts["recipe"] = Recipe.from_dict(recipe)
            if "pixel_range" in parts:
                parts["pixel_range"] = tuple(parts["pixel_range"].tolist())
            return DistilledSet.from_arrays(
                class_names=class_names if names is None else names,
                preprocessing=preprocessing,
                name=name,
                **parts,
            )
        except UserError as error:
            raise UserError(f"{self.path}: {error}") from None

    def of_data(self, data: RealData, config: Config) -> tuple[DistilledSet, Config]:
        """Returns the set as one of `data`, and settings that say what networks see.

        Networks see what the file says (`mean` and `deviation`, or the preprocessing of
        an export), and else what `config.dataset` makes of the pixels.

        Args:
            data: The real data that it stands for.
            config: The settings of the evaluation.

        Raises:
            UserError: what the file holds does not fit together.
        """
        one = self.distilled(
            data.class_names, data.name, lambda: fit_to_data(config.dataset, data)
        )
        seen = preprocessing_values(one.preprocessing)
        seen |= {"distillation__formation": one.formation}
        return one, replace(config, distillation__ipc=one.ipc, **seen)


def load_npz(path: os.PathLike | str) -> DistilledSet:
    """Returns the set in an npz file alone, without the data that it stands for.

    Raises:
        UserError: the file cannot be read, or needs the preprocessing of its data.
    """
    return NpzSet.read(path).distilled()


def _object(path: pathlib.Path, name: str, text: str) -> dict[str, Any]:
    try:
        found = parse_json(text)
    except ValueError as error:
        raise UserError(f"{path}: its {name} is no JSON ({error})") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: its {name} holds no object")
    return found
