"""The folder of a run: what lies where, and whether a new run may use it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dam_tf.base.errors import UserError
from dam_tf.base.lock import held
from dam_tf.base.output import check_output, check_same
from dam_tf.config.places import absolute, full_path
from dam_tf.config.schema import flat, keys_that_affect, to_dict
from dam_tf.config.sections import NetworkConfig
from dam_tf.config.settings import Config, read_config
from dam_tf.runs.state import state_files

if TYPE_CHECKING:
    from dam_tf.synthetic.distilled_set import DistilledSet

# What another value of a setting may affect in a resumed run.
_FREE = ("length", "evaluation", "selection", "files", "speed")


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """Names the files of a run below `path`."""

    path: pathlib.Path

    @property
    def config(self) -> pathlib.Path:
        return self.path / "config.toml"

    @property
    def provenance(self) -> pathlib.Path:
        return self.path / "provenance.json"

    @property
    def distilled(self) -> pathlib.Path:
        return self.path / "distilled"

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
    def preview_stored(self) -> pathlib.Path:
        return self.path / "preview_stored.png"

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

    def iterations_done(self) -> int | None:
        """Returns the iterations that the newest checkpoint has; None without one."""
        return max(state_files(self.checkpoints), default=None)

    def check_finished(self, then: str) -> None:
        """Raises a `UserError` where the images of the run will still move.

        Args:
            then: What is to be done with a finished run, in words.
        """
        done, wanted = self.iterations_done(), self.settings().distillation.iterations
        if done is not None and done < wanted:
            raise UserError(
                f"{self.path} has done {done} of {wanted} iterations, and its images "
                f"will move; continue it with --resume, then {then}"
            )

    def settings(self, overrides: Mapping[str, Any] | None = None) -> Config:
        """Returns the settings of the run, with `overrides` over them.

        Where they name another architecture than the run's, its depth, width, norm
        and pooling are its own, not those that suited the run's.
        """
        own = read_config(self.config, of_a_run=True)
        overrides = dict(overrides or {})
        if overrides.get("network.name", own.network.name) != own.network.name:
            for field in dataclasses.fields(NetworkConfig):
                overrides.setdefault(f"network.{field.name}", field.default)
        for key, whole in (("dataset.name", absolute), ("dataset.data_dir", full_path)):
            if overrides.get(key):
                overrides[key] = whole(overrides[key])
        return read_config(self.config, overrides, of_a_run=True)

    def check(self, config: Config, resume: bool | None, overwrite: bool) -> bool:
        """Raises a `UserError` where a run of `config` must not write here.

        Of a run that is resumed it compares what is given; `check_same` compares all
        settings, once the data have decided those that are left out. A set without the
        checkpoint that it came from, such as a coreset, cannot be resumed.

        Args:
            config: The settings, some of them None.
            resume: Continue the run that lies here; None for what cannot be continued,
                such as choosing a coreset.
            overwrite: Replace it.

        Returns:
            Whether a run lies here.
        """
        holds = check_output(self.path, "a run", self.holds_run, resume, overwrite)
        if holds and resume:
            given = flat(to_dict(config))
            stored = flat(to_dict(self.settings()))
            self._check_same(stored, {**stored, **given})
            if not state_files(self.checkpoints) and self.distilled.exists():
                raise UserError(
                    f"cannot resume {self.path}: it holds a set of images, but no "
                    f"checkpoint that it could go on from ({self.checkpoints} has "
                    "none); restore one, or start anew with --overwrite"
                )
        return holds

    @contextlib.contextmanager
    def written(
        self,
        config: Config,
        resume: bool | None,
        overwrite: bool,
        is_chief: bool = True,
    ) -> Iterator[bool]:
        """Holds the folder's lock while a run of `config` is written.

        Args:
            config: As for `check`.
            resume: As for `check`.
            overwrite: As for `check`.
            is_chief: Whether this worker writes; the others do not look at the folder.

        Yields:
            Whether a run lies here.

        Raises:
            UserError: as `check`, or another process writes here.
        """
        if not is_chief:
            yield False
            return
        self.check(config, resume, overwrite)
        with held(self.path):  # meanwhile somebody else may have written here
            yield self.check(config, resume, overwrite)

    def check_same(self, config: Config) -> None:
        """Raises a `UserError` where the run here had other settings than `config`.

        Args:
            config: With everything filled in.
        """
        self._check_same(flat(to_dict(self.settings())), flat(to_dict(config)))

    def clear(self) -> None:
        """Removes what a run has written here; other files stay."""
        for entry in self._entries():
            _remove(entry)

    def save_set(
        self, distilled: DistilledSet, keep_preprocessing: bool = False
    ) -> None:
        """Writes a set with its picture, and one of stored images where they differ.

        Args:
            distilled: The set.
            keep_preprocessing: As of `DistilledSet.save`.
        """
        distilled.save(self.path, keep_preprocessing=keep_preprocessing)
        distilled.preview(self.preview)
        if distilled.stored is not None:
            distilled.preview(self.preview_stored, stored=True)

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
            self.distilled,
            self.provenance,
            self.preprocessing,
            self.checkpoints,
            self.snapshots,
            self.metrics,
            self.cost,
            self.tensorboard,
            self.preview,
            self.preview_stored,
            self.evaluation,
            self.confusion,
            self.report,
            self.config,
        ]

    def _check_same(self, stored: dict[str, Any], given: dict[str, Any]) -> None:
        free = keys_that_affect(Config, *_FREE)
        check_same(
            self.path,
            "the run",
            *(
                {key: value for key, value in values.items() if key not in free}
                for values in (stored, given)
            ),
        )


def run_at(path: os.PathLike | str) -> RunFolder | None:
    """Returns the run in folder `path`, which may be its `distilled/`, or None."""
    path = pathlib.Path(path)
    for candidate in (path, path.parent):
        folder = RunFolder(candidate)
        if folder.holds_run():
            return folder
    return None


def find_run(path: os.PathLike | str) -> RunFolder:
    """Returns the run in folder `path`, which may be its `distilled/`.

    Raises:
        UserError: there is no run.
    """
    if (run := run_at(path)) is not None:
        return run
    raise UserError(
        f"no run in {path} (config.toml is missing); give the folder of a run"
    )


def find_runs(paths: Sequence[os.PathLike | str]) -> dict[str, RunFolder]:
    """Returns runs by title: the folder's name, or its path where names repeat.

    Args:
        paths: Their folders.

    Raises:
        UserError: there are none, one is given twice, or a folder holds no run.
    """
    if not paths:
        raise UserError("--runs is missing: the folders of runs")
    runs = [find_run(path) for path in paths]
    places = [run.path.resolve() for run in runs]
    for place in places:
        if places.count(place) > 1:
            raise UserError(f"run {place} is given twice")
    names = [place.name for place in places]
    if len(set(names)) < len(names):
        names = [str(run.path) for run in runs]
    if len(set(names)) < len(names):
        names = [str(place) for place in places]
    return dict(zip(names, runs, strict=True))


def _remove(entry: pathlib.Path) -> None:
    if entry.is_dir():
        shutil.rmtree(entry)
    else:
        entry.unlink(missing_ok=True)
