"""Runs a benchmark: every row, each number of images per class, each seed.

Each cell is worked on in a process of its own, so that its memory is its own, and what
breaks it breaks no other. Processes that run the same benchmark share its cells.
Nothing here imports TensorFlow.
"""

import contextlib
import dataclasses
import itertools
import os
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from dam_tf.base.apart import OutOfMemory, apart, shown
from dam_tf.base.errors import UserError, check_each_once
from dam_tf.base.interruption import Interrupted, StopRequest, stop_on_signals
from dam_tf.base.lock import InUse, check_free, held
from dam_tf.base.messages import log
from dam_tf.base.threads import side_by_side
from dam_tf.base.trials import Trials
from dam_tf.config.places import with_absolute_paths
from dam_tf.config.schema import to_dict
from dam_tf.config.settings import Config, replace, settings_that_matter
from dam_tf.data.identity import Identity, check_identity
from dam_tf.studies.benchmark.cells import FAILED, Cell, clear, experts_in
from dam_tf.studies.benchmark.report import save_report
from dam_tf.studies.rows import EXPERTS, FOLLOWERS, NO_IPC, WHOLE, Base, Row

_MODULE = "dam_tf.studies.benchmark.work"  # imported in new processes alone
_LOOK_EVERY = 5.0  # seconds, for cells that other processes work on


@dataclasses.dataclass(frozen=True)
class Extent:
    """How large a benchmark is, besides its rows.

    Attributes:
        ipcs: Images per class.
        seeds: Each makes one set in each row, and the networks that are tested on it.
        whole_epochs: Passes over the whole set, in the row `whole`.
        experts: How many are trained, for rows that need some and name no others.
        expert_epochs: Of each of them.
        plain: Whether all sets are also tested without augmentation.
        own: Whether sets with a recipe are also tested by it.
    """

    ipcs: tuple[int, ...] = (1,)
    seeds: tuple[int, ...] = (0,)
    whole_epochs: int = 50
    experts: int = 10
    expert_epochs: int = 3
    plain: bool = False
    own: bool = True


def run_benchmark(
    rows: Sequence[Row],
    base: Base,
    extent: Extent,
    output_dir: os.PathLike | str,
    resume: bool = False,
    overwrite: bool = False,
    retry: bool = False,
) -> list[dict[str, Any]]:
    """Makes and tests the sets of all rows, and writes tables and a chart.

    As each process begins by importing the program that started it, a script calls
    this below `if __name__ == "__main__":`. The same call in another process, with
    `resume`, shares the cells; on several GPUs each has a worker.

    Args:
        rows: Of `rows.find_rows`.
        base: Settings of all rows.
        extent: How large it is.
        output_dir: Made if missing; gets a folder for each row, `results.jsonl`,
            `table.md` and `figure.png`.
        resume: Keep the cells that are finished there, and go on with the others;
            there may be more rows, ipcs and seeds than before.
        overwrite: Replace the benchmark that lies there.
        retry: Do cells anew that have failed.

    Returns:
        For each cell what `work.make` returns, or `failed`, why there is none; with
        its row, ipc and seed.

    Raises:
        UserError: something given cannot be used, or no row can be made with one of
            the numbers of images per class.
        Interrupted: a signal stopped it; finished cells are kept.
    """
    check_each_once("ipcs", extent.ipcs)
    check_each_once("seeds", extent.seeds)
    folder = pathlib.Path(output_dir).absolute()  # as settings name what lies there
    protocol = with_absolute_paths(base.config())
    trials = Trials(folder, study_settings(protocol, extent), resume, overwrite)
    cells = _cells(rows, base, extent, folder)
    if not overwrite:
        for cell in cells:
            cell.check()
    log.info("Checking what is to be measured.")
    named = {
        str(number): (cell.row.kind, to_dict(cell.config))
        for number, cell in enumerate(cells)
        if not cell.needs_experts  # which are not there yet
    }
    most = replace(protocol, distillation__ipc=max(extent.ipcs))
    found = apart(_MODULE, "check", (to_dict(most), named))
    refused = {cells[int(name)]: why for name, why in found["refused"].items()}
    for ipc in {cell.ipc: None for cell in cells}:
        of_ipc = [cell for cell in cells if cell.ipc == ipc]
        if all(cell in refused for cell in of_ipc):  # no mistake of one row's
            raise UserError(refused[of_ipc[0]])
    check_identity(trials, Identity.from_dict(found["data"]))
    if overwrite:
        for path in folder.glob("*/*/*"):
            check_free(path)
        clear(folder)
    trials.begin()
    study = _Study(cells, refused, extent, protocol, folder, retry)
    study.run(_workers(found["gpus"]))
    results = study.results()
    save_report(results, protocol.dataset.name, folder)
    return results


def study_settings(protocol: Config, extent: Extent) -> dict[str, Any]:
    """Returns what all cells of a benchmark depend on, ready for JSON.

    Args:
        protocol: Settings of the evaluation, without a row.
        extent: As of `run_benchmark`.
    """
    sections = ("preset", "dataset", "network", "augmentation", "evaluation")
    matter = settings_that_matter(protocol)
    shared = {k: v for k, v in matter.items() if k.partition(".")[0] in sections}
    keys = ("whole_epochs", "experts", "expert_epochs", "plain", "own")
    of_extent = {key: getattr(extent, key) for key in keys}
    return {"study": "benchmark", **of_extent, **shared}


def _cells(
    rows: Sequence[Row], base: Base, extent: Extent, folder: pathlib.Path
) -> list[Cell]:
    """All cells, those of the first seed first, so that tables fill early."""
    cells = []
    for seed, ipc, row in itertools.product(extent.seeds, extent.ipcs, rows):
        whole = row.kind == WHOLE
        if whole and ipc != extent.ipcs[0]:  # it has all images
            continue
        if row.ipcs is not None and ipc not in row.ipcs:
            continue
        place = folder / row.name / f"ipc{0 if whole else ipc}" / f"seed{seed}"
        config, protocol = base.config(ipc, seed, row), base.config(ipc, seed)
        setting = FOLLOWERS.get(row.method)
        if setting and not getattr(config.method, setting):
            changes = {f"method__{setting}": str(experts_in(place))}
            config = replace(config, **changes)
        if whole:
            protocol = replace(protocol, evaluation__epochs=extent.whole_epochs)
            config = protocol
        config, protocol = map(with_absolute_paths, (config, protocol))
        cells.append(Cell(row, 0 if whole else ipc, seed, config, protocol, place))
    if not cells:
        raise UserError(NO_IPC)
    return cells


def _workers(gpus: int) -> list[dict[str, str]]:
    """What the environment of each worker says of GPUs."""
    if gpus < 2:
        return [{}]
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = seen.split(",")[:gpus] if seen else map(str, range(gpus))
    return [{"CUDA_VISIBLE_DEVICES": name} for name in names]


class _Study:
    """Goes through the cells that are not finished and that nobody works on."""

    def __init__(
        self,
        cells: Sequence[Cell],
        refused: Mapping[Cell, str],
        extent: Extent,
        protocol: Config,
        folder: pathlib.Path,
        retry: bool,
    ):
        self._cells, self._refused, self._extent = cells, refused, extent
        self._protocol, self._folder = protocol, folder
        self._experts = folder / EXPERTS
        self._again = {
            cell for cell in cells if retry and FAILED in (cell.result() or {})
        }
        self._done: set[Cell] = set()  # as far as it was looked up
        self._no_experts = ""  # why there are none
        self._stop = StopRequest()
        self._shown = True

    def results(self) -> list[dict[str, Any]]:
        """What there is of the cells that are finished, in their order."""
        return [
            {
                "study": "benchmark",
                "row": cell.row.name,
                "method": cell.row.method,
                "kind": cell.row.kind,
                "ipc": cell.ipc,
                "seed": cell.seed,
                "dataset": cell.config.dataset.name,
                "reduction": getattr(cell.config.method, "reduction", "")
                if cell.row.kind == "generator"
                else "",
                **result,
            }
            for cell in self._cells
            if (result := cell.result()) is not None
        ]

    def run(self, workers: Sequence[Mapping[str, str]]) -> None:
        """Works until all cells are finished, here or elsewhere."""
        self._shown = len(workers) == 1
        with stop_on_signals() as self._stop:
            if len(workers) == 1:  # in this thread, which alone hears of signals
                self._work(workers[0])
                return
            for _ in side_by_side(self._work, workers, len(workers)):
                pass

    def _work(self, environment: Mapping[str, str]) -> None:
        """What one worker does."""
        waits = False
        while left := [cell for cell in self._cells if not self._finished(cell)]:
            if any([self._try(cell, environment) for cell in left]):
                waits = False
                continue
            if not waits:
                cells = "1 cell" if len(left) == 1 else f"{len(left)} cells"
                log.info("Waiting for %s that others work on.", cells)
                waits = True
            self._sleep()

    def _finished(self, cell: Cell) -> bool:
        if cell in self._again:
            return False
        if cell not in self._done and cell.result() is not None:
            self._done.add(cell)
        return cell in self._done

    def _try(self, cell: Cell, environment: Mapping[str, str]) -> bool:
        """Finishes a cell, unless others are at it, or it waits for experts."""
        self._check_stop()
        if cell.needs_experts and not self._have_experts(environment):
            return False
        with contextlib.suppress(InUse), held(cell.folder):
            if self._finished(cell):
                return False
            done = 1 + sum(map(self._finished, self._cells))
            log.info("Cell %d of %d: %s.", done, len(self._cells), cell)
            cell.begin()
            result = self._result(cell, environment)
            cell.keep(result)
            self._again.discard(cell)
            if FAILED in result:
                log.warning("%s: %s", cell, result[FAILED])
            return True
        return False

    def _result(self, cell: Cell, environment: Mapping[str, str]) -> dict[str, Any]:
        if cell in self._refused:
            return {FAILED: self._refused[cell]}
        if cell.needs_experts and self._no_experts:
            return {FAILED: f"no experts: {self._no_experts}"}
        configs = to_dict(cell.config), to_dict(cell.protocol)
        tests = self._extent.plain, self._extent.own
        arguments = (str(cell.folder), cell.row.kind, *configs, *tests)
        return self._apart("make", arguments, cell.log, environment)

    def _have_experts(self, environment: Mapping[str, str]) -> bool:
        """Trains the experts, unless that is done or others are at it."""
        done, extent = self._experts / "finished", self._extent
        if done.exists() or self._no_experts:
            return True
        with contextlib.suppress(InUse):
            check_free(self._experts)
            count, epochs = extent.experts, extent.expert_epochs
            names = ", ".join(
                dict.fromkeys(c.row.name for c in self._cells if c.needs_experts)
            )
            log.info("Training %d experts of %d epochs for %s.", count, epochs, names)
            arguments = to_dict(self._protocol), count, epochs, str(self._experts)
            file = self._folder / "experts.txt"
            result = self._apart("experts", arguments, file, environment)
            if FAILED in result:
                self._no_experts = result[FAILED]
            else:
                done.touch()
            return True
        return False

    def _apart(
        self,
        function: str,
        arguments: tuple,
        file: pathlib.Path,
        environment: Mapping[str, str],
    ) -> dict[str, Any]:
        """Calls a function of `work.py` in a new process; returns its result, or why
        there is none."""
        with shown(file) if self._shown else contextlib.nullcontext():
            try:
                return apart(
                    _MODULE,
                    function,
                    arguments,
                    stop=self._stop,
                    environment=environment,
                    log=file,
                )
            except Interrupted:
                self._check_stop()
                raise
            except (UserError, OutOfMemory) as error:
                return {FAILED: str(error)}
            except RuntimeError as error:
                last = str(error).strip().splitlines()[-1]
                return {FAILED: f"{last} ({file} has more)"}

    def _check_stop(self) -> None:
        if (number := self._stop.signal_number) is not None:
            raise Interrupted(
                "stopped; what is finished is kept: continue with --resume", number
            )

    def _sleep(self) -> None:
        until = time.monotonic() + _LOOK_EVERY
        while time.monotonic() < until:
            self._check_stop()
            time.sleep(0.1)
