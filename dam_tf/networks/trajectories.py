"""Experts on disk: the weights of trained networks after each epoch of training.

`training/experts.py` writes a file for each expert. Methods that follow experts read
single states of them, when they need them.
"""

import functools
import hashlib
import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.base.files import atomic_file
from dam_tf.base.json_lines import parse_json
from dam_tf.base.npz import Array, checksums_in, read_npz
from dam_tf.config.experts import STORAGES

_VERSION = 1  # of the files
_WHAT = "an expert of dam_tf"
_STATE = "state/"
DESCRIPTION = "experts.json"
EXPERTS = "experts "  # before the fingerprint of experts
_BFLOAT16 = tf.bfloat16.as_numpy_dtype


def packed(weights: Sequence[np.ndarray], storage: str) -> np.ndarray:
    """Returns all weights of a network as one vector, as it is stored.

    Args:
        weights: In the order of `FunctionalNetwork.weight_names`.
        storage: "float32", or "bfloat16": the two bytes of each number, as uint16.

    Example:
        >>> packed([np.ones([1, 2]), np.zeros(1)], "bfloat16").tolist()
        [16256, 16256, 0]
    """
    vector = np.concatenate([np.ravel(weight) for weight in weights])
    if storage == "bfloat16":
        return vector.astype(_BFLOAT16).view(np.uint16)
    return vector.astype(np.float32)


def save_expert(
    path: os.PathLike | str,
    names: Sequence[str],
    shapes: Sequence[Sequence[int]],
    states: Sequence[np.ndarray],
) -> None:
    """Writes an expert, atomically, for `Expert` to read.

    Args:
        path: The file.
        names: Of each weight.
        shapes: Of each weight.
        states: After each epoch, from 0 on, as `packed` gives them.
    """
    arrays = {
        "version": np.int64(_VERSION),
        "weights": np.array(names, np.str_),
        "shapes": np.array([_text(shape) for shape in shapes], np.str_),
        "storage": np.array("bfloat16" if states[0].itemsize == 2 else "float32"),
    }
    arrays |= {f"{_STATE}{epoch}": state for epoch, state in enumerate(states)}
    with atomic_file(pathlib.Path(path)) as temporary:
        np.savez(temporary, **arrays)


class Expert:
    """One expert, of whose file only the names are read until a state is asked for.

    Args:
        path: A file of `save_expert`.

    Attributes:
        path: As given.
        names: Of each weight.
        shapes: Of each weight.
        epochs: How long it was trained.
        checksums: Of each array in its file.

    Raises:
        UserError: the file cannot be read, or is of another version.

    Example:
        >>> import tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "expert-0000.npz"
        >>> states = [packed([np.full([2, 2], epoch)], "float32") for epoch in range(3)]
        >>> save_expert(path, ["kernel"], [[2, 2]], states)
        >>> expert = Expert(path)
        >>> expert.epochs, expert.shapes, expert.state(2).tolist()
        (2, [(2, 2)], [2.0, 2.0, 2.0, 2.0])
    """

    def __init__(self, path: os.PathLike | str):
        self.path = path
        texts = Array([None], np.str_)
        head = {"version": Array([], np.integer), "storage": Array([], np.str_)}
        found = read_npz(path, {**head, "weights": texts, "shapes": texts}, _WHAT)
        if found["version"] != _VERSION:
            raise UserError(
                f"{path} is an expert of version {found['version']}, and this dam_tf "
                f"reads version {_VERSION}; train it again"
            )
        self.names = tuple(found["weights"].tolist())
        self._storage = str(found["storage"])
        self.checksums = checksums_in(path, _WHAT)
        self.epochs = sum(name.startswith(_STATE) for name in self.checksums) - 1
        try:
            self.shapes = [_shape(text) for text in found["shapes"].tolist()]
        except ValueError:
            self.shapes = []
        if len(self.shapes) != len(self.names) or self._storage not in STORAGES:
            raise UserError(f"{path} is damaged; it must be {_WHAT}: train it again")

    def stored(self, epoch: int) -> np.ndarray:
        """Returns the state after an epoch as its file has it.

        Raises:
            UserError: it cannot be read.
        """
        name, size = f"{_STATE}{epoch}", sum(map(math.prod, self.shapes))
        kind = np.float32 if self._storage == "float32" else np.uint16
        return read_npz(self.path, {name: Array([size], kind)}, _WHAT)[name]

    def state(self, epoch: int) -> np.ndarray:
        """Returns all weights after an epoch as one vector, float32 `[parameters]`.

        Raises:
            UserError: it cannot be read.
        """
        stored = self.stored(epoch)
        if self._storage == "bfloat16":
            return stored.view(_BFLOAT16).astype(np.float32)
        return stored


class Experts:
    """The experts in a folder, which stay there: a state is read when it is needed.

    Experts whose training is not finished yet are none of them.

    Args:
        folder: What `training/experts.py` writes.

    Attributes:
        folder: As given.
        made: Of which data, network and preprocessing they are: `experts.json`.
        epochs: How long each was trained.
        names: Of each weight.
        shapes: Of each weight.
        unfinished: How many were left out.

    Raises:
        UserError: there are no experts, or a file is damaged.
    """

    def __init__(self, folder: os.PathLike | str):
        self.folder = pathlib.Path(folder)
        self.made = read_description(self.folder)
        self.epochs = self.made["epochs"]
        found = [Expert(path) for path in sorted(self.folder.glob("expert-*.npz"))]
        self._experts = [one for one in found if one.epochs == self.epochs]
        self.unfinished = len(found) - len(self._experts)
        if not self._experts:
            raise UserError(
                f"no expert in {self.folder} is trained to its end; go on with "
                "`python -m dam_tf experts --resume`"
            )
        first = self._experts[0]
        self.names, self.shapes = first.names, first.shapes
        for one in self._experts:
            if (one.names, one.shapes) != (self.names, self.shapes):
                raise UserError(
                    f"{one.path} is of another network than {first.path}; train it "
                    "again"
                )

    def __len__(self) -> int:
        """The number of experts."""
        return len(self._experts)

    @functools.cached_property
    def fingerprint(self) -> str:
        """64 hexadecimal digits that tell all weights, behind the word experts.

        They are made of the checksums that the files hold, which are compared with
        the weights whenever these are read.
        """
        digest = hashlib.sha256()
        for one in self._experts:
            digest.update(json.dumps([one.names, one.checksums]).encode())
        return EXPERTS + digest.hexdigest()

    def state(self, expert: int, epoch: int) -> np.ndarray:
        """Returns the weights of an expert after an epoch, float32 `[parameters]`.

        Args:
            expert: Its number, from 0.
            epoch: From 0, before training, to `epochs`.

        Raises:
            UserError: its file cannot be read.
        """
        return self._experts[expert].state(epoch)


def save_description(folder: pathlib.Path, made: Mapping[str, Any]) -> None:
    """Writes of which data, network and preprocessing experts are, atomically."""
    with atomic_file(folder / DESCRIPTION) as temporary:
        temporary.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


def read_description(folder: pathlib.Path) -> dict[str, Any]:
    """Returns what `save_description` wrote.

    Raises:
        UserError: there are no experts, or the file is damaged.
    """
    path = folder / DESCRIPTION
    try:
        made = parse_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"no experts in {folder} ({DESCRIPTION} is missing); train some with "
            "`python -m dam_tf experts`, and give their folder"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is damaged ({error}); train the experts anew"
        ) from None
    kinds = {"epochs": int, "network": dict, "preprocessing": str, "data": dict}
    wrong = not isinstance(made, dict) or any(
        type(made.get(name)) is not kind for name, kind in kinds.items()
    )
    if wrong:
        raise UserError(f"{path} is damaged; train the experts anew")
    return made


def _text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(side) for side in text.split("x") if side)
