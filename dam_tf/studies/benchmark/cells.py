"""The cells of a benchmark: a row, images per class, a seed, and what is kept of it.

A cell has a folder: `cell.json` says what it is, `run/` holds the set as a run, and
`result.json` is there once the cell is finished, or has failed. Whoever holds the lock
of the folder works on it, so several processes share the cells of a benchmark.
"""

import dataclasses
import json
import pathlib
import shutil
from typing import Any

from dam_tf.base.errors import UserError
from dam_tf.base.files import atomic_file
from dam_tf.base.json_lines import parse_json
from dam_tf.base.messages import log
from dam_tf.base.words import counted
from dam_tf.config.settings import Config, settings_that_matter
from dam_tf.studies.rows import EXPERTS, FOLLOWERS, WHOLE, Row

FAILED = "failed"
_ITERATIONS = "distillation.iterations"


@dataclasses.dataclass(frozen=True, eq=False)
class Cell:
    """One set of one row, or one training on the whole set.

    Attributes:
        row: The row.
        ipc: Images per class; 0 for the whole set.
        seed: Of the set and of the networks that are tested.
        config: With which the set is made.
        protocol: With which it is evaluated.
        folder: Of the cell.
    """

    row: Row
    ipc: int
    seed: int
    config: Config
    protocol: Config
    folder: pathlib.Path

    def __str__(self) -> str:
        if self.row.kind == WHOLE:
            return f"{self.row.name}, seed {self.seed}"
        images = f"{counted(self.ipc, 'image')} per class"
        return f"{self.row.name}, {images}, seed {self.seed}"

    @property
    def log(self) -> pathlib.Path:
        """What the process that works on the cell prints."""
        return self.folder / "log.txt"

    @property
    def needs_experts(self) -> bool:
        """Whether it needs experts that the benchmark trains."""
        setting = FOLLOWERS.get(self.row.method)
        place = str(experts_in(self.folder))
        return bool(setting) and getattr(self.config.method, setting) == place

    def result(self) -> dict[str, Any] | None:
        """Returns what came of the cell, if it is finished."""
        found = _read(self.folder / "result.json")
        if found is None and (self.folder / "result.json").exists():
            log.warning("%s is damaged; the cell is done again.", self.folder)
        if found and self._grows(_read(self.folder / "cell.json") or {}):
            return None
        return found

    def keep(self, result: dict[str, Any]) -> None:
        """Writes what came of the cell: it is finished then."""
        _write(self.folder / "result.json", result)

    def begin(self) -> None:
        """Says in the folder what the cell is."""
        _write(self.folder / "cell.json", self._description())

    def check(self) -> None:
        """Raises a `UserError` where the cell in the folder had other settings."""
        stored = _read(self.folder / "cell.json")
        if stored is None:
            return
        mine = self._description()
        if self._grows(stored):
            return
        before, now = stored.get("settings", {}), mine["settings"]
        for key in sorted({*before, *now}):
            if before.get(key) != now.get(key):
                raise UserError(
                    f"{self.folder} was made with {key} = {before.get(key)!r}, not "
                    f"{now.get(key)!r}; give the row another name in --plan, remove "
                    "that folder, or start anew with --overwrite"
                )

    def _grows(self, stored: dict[str, Any]) -> bool:
        """Whether only more iterations are asked for than `stored` says."""
        before, now = dict(stored.get("settings", {})), self._description()["settings"]
        few, many = before.pop(_ITERATIONS, None), now.pop(_ITERATIONS, None)
        known = isinstance(few, int) and isinstance(many, int)
        return before == now and known and few < many and self.row.kind == "method"

    def _description(self) -> dict[str, Any]:
        """What the cell is, without what all cells share: the data may have moved."""
        settings = {
            key: value
            for key, value in settings_that_matter(self.config).items()
            if not key.startswith("dataset.")
        }
        if self.needs_experts:  # the benchmark may move, too
            settings[f"method.{FOLLOWERS[self.row.method]}"] = EXPERTS
        line = {
            "row": self.row.name,
            "method": self.row.method,
            "ipc": self.ipc,
            "seed": self.seed,
            "settings": settings,
        }
        return json.loads(json.dumps(line))


def experts_in(folder: pathlib.Path) -> pathlib.Path:
    """Returns where the experts of the benchmark lie that a cell's folder is in."""
    return folder.parents[2] / EXPERTS


def clear(folder: pathlib.Path) -> None:
    """Removes the cells and experts of a benchmark; other files stay."""
    for path in folder.glob("*/*/*/cell.json"):
        shutil.rmtree(path.parent)
        for above in (path.parents[1], path.parents[2]):
            if not any(above.iterdir()):
                above.rmdir()
    if (folder / EXPERTS / "settings.json").is_file():
        shutil.rmtree(folder / EXPERTS)


def _read(path: pathlib.Path) -> dict[str, Any] | None:
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _write(path: pathlib.Path, value: dict[str, Any]) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
