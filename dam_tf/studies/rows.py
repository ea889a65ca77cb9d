"""The rows of a table: what makes a set, and with which settings of its own.

Benchmarks and reports of costs have them.

A plan is a TOML file with a table for each row:

    [mtt]
    distillation.iterations = 300

    [datadam_long]
    by = "datadam"
    ipc = [10]
    distillation.iterations = 20000

Nothing here imports TensorFlow.
"""

import dataclasses
import os
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dam_tf.base.errors import UserError, choice_error
from dam_tf.base.files import file_name
from dam_tf.config.generators import GENERATORS
from dam_tf.config.image_counts import check_mean
from dam_tf.config.methods import METHODS
from dam_tf.config.presets import make_config
from dam_tf.config.schema import flat, read_toml
from dam_tf.config.sections import SelectionConfig
from dam_tf.config.settings import Config

WHOLE, RANDOM, EXPERTS = "whole", "random", "experts"
CORESETS = next(
    field.metadata["choices"]
    for field in dataclasses.fields(SelectionConfig)
    if field.name == "method"
)
# By what a set is made, each kind in another way; whole is all real images.
KINDS = {
    WHOLE: (WHOLE,),
    "coreset": CORESETS,
    "method": tuple(METHODS),
    "generator": tuple(GENERATORS),
}
_GROUPS = {"coresets": "coreset", "methods": "method", "generators": "generator"}
ALL = "all"
NO_IPC = "no row is for these images per class; give others with --ipc"
# Methods that need networks trained on the real set, and the setting that names those.
FOLLOWERS = {
    name: kind.networks_in for name, kind in METHODS.items() if kind.networks_in
}

# One protocol holds for all rows, so none of them changes these.
_SHARED = ("dataset.", "evaluation.", "distillation.ipc", "distillation.seed")


@dataclasses.dataclass(frozen=True)
class Row:
    """One row: a method, a coreset, a generator, or the whole set.

    Attributes:
        name: Of the row, and of its folder.
        method: What makes the sets, one of `KINDS`.
        overrides: Settings of its own, by dotted key.
        ipcs: For which numbers of images per class it is; all if None.
    """

    name: str
    method: str
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    ipcs: tuple[int, ...] | None = None

    @property
    def kind(self) -> str:
        """The key of `KINDS` that the method stands under."""
        return next(kind for kind, names in KINDS.items() if self.method in names)


@dataclasses.dataclass(frozen=True)
class Base:
    """Settings of all rows: those of a TOML file, with flags over them.

    Attributes:
        file: The TOML file; the data set's own if None.
        overrides: By dotted key, as for `make_config`.
    """

    file: os.PathLike | str | None = None
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def config(
        self, ipc: int | None = None, seed: int = 0, row: Row | None = None
    ) -> Config:
        """Returns the settings of a cell, or without a row those of its evaluation.

        Example:
            >>> row = Row("dc", "dc")
            >>> Base().config(10, seed=1, row=row).distillation.init
            'noise'
        """
        values = {"distillation.ipc": ipc or 1, "distillation.seed": seed}
        if row is not None:
            key = "selection.method" if row.kind == "coreset" else "method.name"
            if row.kind != WHOLE:
                values[key] = row.method
            values |= row.overrides
        found = make_config(self.file, {**self.overrides, **values})
        if ipc is not None:
            check_mean(found.distillation, ipc)
        return found


def find_rows(
    names: Sequence[str],
    without: Collection[str] = (),
    plan: os.PathLike | str | None = None,
) -> list[Row]:
    """Returns the rows that are asked for, each once.

    Args:
        names: Rows of the plan, methods, coresets, generators, `whole`, or `all`,
            `coresets`, `methods` and `generators`; those of the plan if there are none.
        without: Names of rows that are left out.
        plan: A TOML file; see above.

    Raises:
        UserError: a name is unknown, or the plan cannot be used.

    Example:
        >>> [row.name for row in find_rows(["coresets", "dm"], without=["herding"])]
        ['random', 'k-center', 'forgetting', 'dm']
    """
    planned = _read_plan(plan) if plan else {}
    usual = [name for kind in KINDS.values() for name in kind]
    known = list(dict.fromkeys([*usual, *planned]))
    if not names and not planned:
        raise UserError(
            f"--methods is missing: {ALL}, {', '.join(_GROUPS)}, or some of: "
            f"{', '.join(known)}"
        )
    chosen: dict[str, None] = {}
    for name in names or planned:
        if name == ALL:
            chosen |= dict.fromkeys(known)
        elif name in _GROUPS:
            chosen |= dict.fromkeys(KINDS[_GROUPS[name]])
        elif name in known:
            chosen[name] = None
        else:
            raise choice_error("method", name, [ALL, *_GROUPS, *known])
    for name in without:
        if name not in chosen:
            raise choice_error("row of --without", name, chosen)
        del chosen[name]
    if not chosen:
        raise UserError("--without leaves no row; leave out fewer")
    return [planned.get(name) or Row(name, name) for name in chosen]


def check_base(overrides: Mapping[str, Any]) -> None:
    """Raises a `UserError` where settings of all rows cannot hold for all of them."""
    if overrides.get("evaluation.label_type") == "hard":
        raise UserError(
            "--set=evaluation.label_type=hard is not for all rows; sets with soft "
            "labels are tested with hard ones, too, so leave it out"
        )
    if overrides.get("evaluation.recipe") == "own":
        raise UserError(
            "--set=evaluation.recipe=own is not for all rows; sets with a recipe are "
            "tested by it, too, so leave it out"
        )
    for key in overrides:
        if key.startswith("method."):
            raise UserError(
                f"--set={key}={overrides[key]} is for one method; a file for --plan "
                f'gives each row its own, such as [datadam] {key} = "..."'
            )


def _read_plan(plan: os.PathLike | str) -> dict[str, Row]:
    tables, path = read_toml(plan), pathlib.Path(plan)
    if not tables:
        raise UserError(f"--plan: {path} has no row, such as [datadam]")
    rows = {}
    for name, table in tables.items():
        if not isinstance(table, Mapping):
            raise UserError(
                f"--plan: {path} has {name} outside of a row; put it below [datadam], "
                "say"
            )
        rows[name] = _row(path, name, dict(table))
    return rows


def _row(path: pathlib.Path, name: str, table: dict[str, Any]) -> Row:
    where = f"--plan: [{name}] of {path}"
    if file_name(name) != name or name in (ALL, EXPERTS, *_GROUPS):
        raise UserError(f"{where} cannot be the name of a row; choose another")
    method = table.pop("by", name)
    known = [one for names in KINDS.values() for one in names]
    if method not in known:
        error = choice_error("method", method, known)
        raise UserError(f"{where}: {error}, as by = ...")
    ipcs = table.pop("ipc", None)
    counts = ipcs if isinstance(ipcs, list) else [ipcs]
    if ipcs is not None and not all(
        isinstance(one, int) and not isinstance(one, bool) and one > 0 for one in counts
    ):
        raise UserError(f"{where}: ipc = {ipcs!r} must be whole numbers from 1 on")
    overrides = flat(table)
    for key in overrides:
        if key == "preset" or key == "method.name" or key.startswith(_SHARED):
            raise UserError(
                f"{where}: {key} is the same for all rows; give it as a flag, or in "
                "--config"
            )
    row = Row(name, method, overrides, None if ipcs is None else tuple(counts))
    try:
        Base().config(row=row)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return row
