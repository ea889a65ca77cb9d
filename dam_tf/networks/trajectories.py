"""Experts on disk: the weights of trained networks after each epoch of training.

`training/experts.py` writes a file for each expert. Methods that follow experts read
single states of them, when they need them; methods that match through trained networks
read the first and the last.
"""

import dataclasses
import functools
import hashlib
import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.base.files import atomic_file
from dam_tf.base.json_lines import parse_json
from dam_tf.base.npz import Array, checksums_in, read_npz
from dam_tf.config.experts import EXPERT, STORAGES, Role

_VERSION = 1  # of the files
_WHAT = "an expert of dam_tf"
_STATE, _STATISTICS = "state/", "statistics/"
DESCRIPTION = "experts.json"
_BFLOAT16 = tf.bfloat16.as_numpy_dtype


class Moment(NamedTuple):
    """An expert after an epoch.

    Attributes:
        packed: Its weights, as `packed` gives them.
        statistics: Those of batch norm, in the order of
            `FunctionalNetwork.statistic_names`; none where there is none.
    """

    packed: np.ndarray
    statistics: Sequence[np.ndarray] = ()


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
    moments: Mapping[int, Moment],
) -> None:
    """Writes an expert, atomically, for `Expert` to read.

    Args:
        path: The file.
        names: Of each weight.
        shapes: Of each weight.
        moments: By epoch, from 0 on: all, or the first and the last.
    """
    arrays = {
        "version": np.int64(_VERSION),
        "weights": np.array(names, np.str_),
        "shapes": np.array([_text(shape) for shape in shapes], np.str_),
        "storage": np.array(
            "bfloat16" if moments[0].packed.itemsize == 2 else "float32"
        ),
    }
    for epoch, moment in moments.items():
        arrays[f"{_STATE}{epoch}"] = moment.packed
        for place, values in enumerate(moment.statistics):
            arrays[f"{_STATISTICS}{epoch}/{place}"] = values
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
        whole: Whether its state after every epoch is kept, and not the ends alone.
        checksums: Of each array in its file.

    Raises:
        UserError: the file cannot be read, or is of another version.

    Example:
        >>> import tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "expert-0000.npz"
        >>> def moment(epoch):
        ...     return Moment(packed([np.full([2, 2], epoch)], "float32"))
        >>> save_expert(path, ["kernel"], [[2, 2]], {0: moment(0), 2: moment(2)})
        >>> expert = Expert(path)
        >>> expert.epochs, expert.whole, expert.shapes, expert.state(2).tolist()
        (2, False, [(2, 2)], [2.0, 2.0, 2.0, 2.0])
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
        kept = [n.removeprefix(_STATE) for n in self.checksums if n.startswith(_STATE)]
        try:
            self.shapes = [_shape(text) for text in found["shapes"].tolist()]
            self.epochs = max(map(int, kept), default=-1)
        except ValueError:
            self.shapes = []
        if len(self.shapes) != len(self.names) or self._storage not in STORAGES:
            raise UserError(f"{path} is damaged; it must be {_WHAT}: train it again")
        self.whole = len(kept) == self.epochs + 1

    def moment(self, epoch: int) -> Moment:
        """Returns the expert after an epoch as its file has it.

        Raises:
            UserError: it cannot be read.
        """
        return Moment(self.stored(epoch), self.statistics(epoch))

    def statistics(self, epoch: int) -> list[np.ndarray]:
        """Returns those of batch norm after an epoch; none where none are kept.

        Raises:
            UserError: they cannot be read.
        """
        names = [f"{_STATISTICS}{epoch}/{place}" for place in range(self.kept(epoch))]
        values = read_npz(self.path, dict.fromkeys(names, Array()), _WHAT)
        return [values[name] for name in names]

    def kept(self, epoch: int) -> int:
        """Returns how many statistics of batch norm are kept; reads nothing."""
        start = f"{_STATISTICS}{epoch}/"
        return sum(name.startswith(start) for name in self.checksums)

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
        role: What they are for.

    Attributes:
        folder: As given.
        role: As given.
        made: Of which data, network and preprocessing they are: `experts.json`.
        epochs: How long each was trained.
        names: Of each weight.
        shapes: Of each weight.
        whole: Whether their states after every epoch are kept.
        unfinished: How many were left out.

    Raises:
        UserError: there are no experts, or a file is damaged.
    """

    def __init__(self, folder: os.PathLike | str, role: Role = EXPERT):
        self.folder, self.role = pathlib.Path(folder), role
        self.made = read_description(self.folder, role)
        self.epochs = self.made["epochs"]
        found = [Expert(path) for path in sorted(self.folder.glob("expert-*.npz"))]
        self._experts = [one for one in found if one.epochs == self.epochs]
        self.unfinished = len(found) - len(self._experts)
        if not self._experts:
            raise UserError(
                f"no {role.word} in {self.folder} is trained to its end; go on with "
                f"`python -m dam_tf {role.command} --resume`"
            )
        self.whole = all(one.whole for one in self._experts)
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
        """64 hexadecimal digits that tell all weights, behind what they are.

        They are made of the checksums that the files hold, which are compared with
        the weights whenever these are read.
        """
        digest = hashlib.sha256()
        for one in self._experts:
            digest.update(json.dumps([one.names, one.checksums]).encode())
        return f"{self.role.word}s {digest.hexdigest()}"

    def have_statistics(self, count: int) -> bool:
        """Tells whether all are kept with batch norm's statistics; reads nothing.

        Args:
            count: How many statistics their network has.
        """
        return all(one.kept(self.epochs) == count for one in self._experts)

    def state(self, expert: int, epoch: int) -> np.ndarray:
        """Returns the weights of an expert after an epoch, float32 `[parameters]`.

        Args:
            expert: Its number, from 0.
            epoch: From 0, before training, to `epochs`.

        Raises:
            UserError: its file cannot be read.
        """
        return self._experts[expert].state(epoch)

    def network(
        self, expert: int, epoch: int
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Returns an expert after an epoch: its weights, each in its shape, float32.

        Args:
            expert: As of `state`.
            epoch: As of `state`.

        Returns:
            The weights, and the statistics of batch norm: none where none are kept.

        Raises:
            UserError: its file cannot be read.
        """
        ends = np.cumsum([math.prod(shape) for shape in self.shapes])[:-1]
        parts = np.split(self.state(expert, epoch), ends)
        weights = [x.reshape(s) for x, s in zip(parts, self.shapes, strict=True)]
        return weights, self._experts[expert].statistics(epoch)


@dataclasses.dataclass(frozen=True)
class PlannedExperts:
    """Experts that a run will train before it takes them: what is known of them now.

    Attributes:
        folder: Where they will lie.
        epochs: How long each will be trained.
        whole: Whether their states after every epoch will be kept.
    """

    folder: pathlib.Path
    epochs: int
    whole: bool


def save_description(folder: pathlib.Path, made: Mapping[str, Any]) -> None:
    """Writes of which data, network and preprocessing experts are, atomically."""
    with atomic_file(folder / DESCRIPTION) as temporary:
        temporary.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


def read_description(folder: pathlib.Path, role: Role) -> dict[str, Any]:
    """Returns what `save_description` wrote.

    Args:
        folder: Of the experts.
        role: What they are for.

    Raises:
        UserError: there are no experts, or the file is damaged.
    """
    path = folder / DESCRIPTION
    try:
        made = parse_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"no {role.word}s in {folder} ({DESCRIPTION} is missing); train some with "
            f"`python -m dam_tf {role.command}`, and give their folder"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is damaged ({error}); train the {role.word}s anew"
        ) from None
    kinds = {"epochs": int, "network": dict, "preprocessing": str, "data": dict}
    wrong = not isinstance(made, dict) or any(
        type(made.get(name)) is not kind for name, kind in kinds.items()
    )
    if wrong:
        raise UserError(f"{path} is damaged; train the {role.word}s anew")
    return made


def _text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(side) for side in text.split("x") if side)
