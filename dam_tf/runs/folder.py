"""The folder of a run: what lies where, and whether a new run may use it."""

import dataclasses
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

from dam_tf.base.errors import UserError
from dam_tf.config.schema import flat, to_dict
from dam_tf.config.settings import Config, NetworkConfig, make_config

# Settings that a resumed run may change: they do not alter its iterations.
_FREE = (
    "dataset.data_dir",
    "dataset.cache",
    "distillation.iterations",
    "distillation.checkpoint_every",
    "distillation.log_every",
    "distillation.snapshot_every",
    "distillation.snapshot_at",
)
_FREE_SECTIONS = ("evaluation", "selection")
# Left out, most settings are what the data decide, whatever the run was started with.
_ALL_IF_LEFT_OUT = ("distillation.classes_per_step",)


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """Names the files of a run below `path`."""

    path: pathlib.Path

    @property
    def config(self) -> pathlib.Path:
        return self.path / "config.toml"

    @property
    def preprocessing(self) -> pathlib.Path:
        return self.path / "preprocessing"

    @property
    def checkpoints(self) -> pathlib.Path:
        return self.path / "checkpoints"

    @property
    def snapshots(self) -> pathlib.Path:
        return self.path / "snapshots"

    @property
    def metrics(self) -> pathlib.Path:
        return self.path / "metrics.jsonl"

    @property
    def cost(self) -> pathlib.Path:
        return self.path / "cost.jsonl"

    @property
    def tensorboard(self) -> pathlib.Path:
        return self.path / "tensorboard"

    @property
    def preview(self) -> pathlib.Path:
        return self.path / "preview.png"

    @property
    def evaluation(self) -> pathlib.Path:
        return self.path / "evaluation.jsonl"

    @property
    def confusion(self) -> pathlib.Path:
        return self.path / "confusion.png"

    @property
    def report(self) -> pathlib.Path:
        return self.path / "report.html"

    def holds_run(self) -> bool:
        """Whether a run has been started here."""
        return self.config.is_file()

    def settings(self, overrides: Mapping[str, Any] | None = None) -> Config:
        """Returns the settings of the run, with `overrides` over them.

        Where they name another architecture than the run's, its depth, width, norm
        and pooling are its own, not those that suited the run's.
        """
        own, overrides = make_config(self.config), dict(overrides or {})
        if overrides.get("network.name", own.network.name) != own.network.name:
            for field in dataclasses.fields(NetworkConfig):
                overrides.setdefault(f"network.{field.name}", field.default)
        return make_config(self.config, overrides)

    def check(self, config: Config, resume: bool | None, overwrite: bool) -> None:
        """Raises a `UserError` where a run of `config` must not write here.

        `resume` is None for what cannot be continued, such as choosing a coreset.
        """
        if resume and overwrite:
            raise UserError("choose one of --resume and --overwrite")
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"output folder {self.path} is a file")
        if not self.path.exists() or not any(self.path.iterdir()):
            return
        if not self.holds_run():
            raise UserError(
                f"output folder {self.path} holds files that are not of a run; "
                "choose another with --output_dir"
            )
        if resume:
            self._check_same(config)
        elif not overwrite:
            raise UserError(
                f"output folder {self.path} holds another run; "
                f"{'' if resume is None else 'continue it with --resume, '}"
                "replace it with --overwrite, or choose another with --output_dir"
            )

    def clear(self) -> None:
        """Removes what a run has written here; other files stay."""
        for entry in self._entries():
            _remove(entry)

    def remove_leftovers(self) -> None:
        """Removes temporary files and folders that a killed run has left."""
        for entry in self._entries():
            for leftover in self.path.glob(f".{entry.stem}-*"):
                _remove(leftover)
        for folder in (self.checkpoints, self.snapshots):
            for leftover in folder.glob(".iteration-*"):
                leftover.unlink(missing_ok=True)

    def _entries(self) -> list[pathlib.Path]:
        # The settings come last: until they go, the folder is known as a run's.
        return [
            self.path / "distilled",
            self.preprocessing,
            self.checkpoints,
            self.snapshots,
            self.metrics,
            self.cost,
            self.tensorboard,
            self.preview,
            self.evaluation,
            self.confusion,
            self.report,
            self.config,
        ]

    def _check_same(self, config: Config) -> None:
        stored = flat(to_dict(self.settings()))
        given = flat(to_dict(config))
        for key in sorted((stored.keys() & given.keys()) | set(_ALL_IF_LEFT_OUT)):
            free = key in _FREE or key.split(".")[0] in _FREE_SECTIONS
            now, before = given.get(key, "all"), stored.get(key, "all")
            if not free and now != before:
                raise UserError(
                    f"cannot resume {self.path} with {key} = {now!r}: the run "
                    f"was started with {before!r}"
                )


def find_run(path: os.PathLike | str) -> RunFolder:
    """Returns the run in folder `path`, which may be its `distilled/`.

    Raises:
        UserError: there is no run.
    """
    path = pathlib.Path(path)
    for candidate in (path, path.parent):
        folder = RunFolder(candidate)
        if folder.holds_run():
            return folder
    raise UserError(
        f"no run in {path} (config.toml is missing); give the folder that "
        "tools/distill.py wrote"
    )


def _remove(entry: pathlib.Path) -> None:
    if entry.is_dir():
        shutil.rmtree(entry)
    else:
        entry.unlink(missing_ok=True)
