"""Runs an ablation: distils and evaluates each variant, then shows them together."""

import dataclasses
import os
import pathlib
import shutil
from collections.abc import Sequence

import numpy as np

from dam_tf.base.errors import DivergedError, check_each_once
from dam_tf.base.json_lines import append_json, write_json_lines
from dam_tf.base.messages import log
from dam_tf.base.output import check_output
from dam_tf.base.trials import Trials, check_folder
from dam_tf.base.words import counted
from dam_tf.config.places import with_absolute_paths
from dam_tf.config.settings import Config, replace
from dam_tf.data.identity import keep_identity
from dam_tf.data.loading import checked_data
from dam_tf.data.preprocessing.preprocessing import fit_to_data
from dam_tf.data.real_data import RealData
from dam_tf.data.source import Contents
from dam_tf.evaluation.evaluate import evaluate
from dam_tf.evaluation.results import Evaluation
from dam_tf.networks.memory import sketch
from dam_tf.networks.pools import NetworkPool
from dam_tf.networks.registry import tap_names
from dam_tf.runs.checks import check_distillation
from dam_tf.runs.folder import RunFolder
from dam_tf.runs.run import distill
from dam_tf.runs.state import load_snapshots
from dam_tf.studies.ablation.ablations import (
    Ablation,
    Pretraining,
    Variant,
    find_ablation,
    study_settings,
)
from dam_tf.studies.checks import check_evaluation
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.training.pretraining import in_bucket, load_pool, pretrain

_RUNS = "*/ipc*/seed*"


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """What came of one variant.

    Attributes:
        variant: The variant.
        ipc: Images per class.
        iteration: Iterations distilled.
        evaluation: Of the sets of all seeds; None if there is none.
        note: What went otherwise than planned, in words.
    """

    variant: Variant
    ipc: int
    iteration: int
    evaluation: Evaluation | None
    note: str = ""


def run_ablation(
    name: str,
    config: Config,
    output_dir: os.PathLike | str,
    seeds: Sequence[int] = (0,),
    ipcs: Sequence[int] = (),
    values: Sequence[str] = (),
    points: int = 8,
    pretraining: Pretraining | None = None,
    resume: bool = False,
    overwrite: bool = False,
    data: RealData | None = None,
) -> list[Result]:
    """Distils and evaluates each variant of an ablation with each seed.

    Each is a run in `output_dir/<variant>/ipc<k>/seed<s>`. Finished evaluations are
    kept in `trials.jsonl`, and half-finished runs are resumed. `results.jsonl` gets a
    line for each result. A variant whose loss diverges is a result, too.

    Args:
        name: A key of `ABLATIONS`.
        config: The settings of all runs, but for what varies.
        output_dir: The folder of the study; made if missing.
        seeds: Each makes one set of each variant.
        ipcs: Images per class, one column each; that of `config` if empty.
        values: Variants, or values of the setting that varies; all if empty.
        points: With learning curves, evaluations after iteration 0.
        pretraining: How networks are trained on the real set, where the ablation
            needs some.
        resume: Continue the study that lies there; it may have more seeds, ipcs and
            values than before.
        overwrite: Replace the study that lies there.
        data: The real data, if they are loaded already.

    Returns:
        The results, in the order of variants, ipcs and iterations.

    Raises:
        UserError: something given cannot be used.
        Interrupted: a signal stopped a run; its state is saved.

    Example:
        >>> import tempfile
        >>> from dam_tf import make_config
        >>> small = {"network.width": 4, "network.depth": 1, "evaluation.epochs": 1}
        >>> run = {"distillation.iterations": 1, "distillation.batch_real": 2}
        >>> config = make_config(overrides={**small, **run, "evaluation.networks": 1})
        >>> results = run_ablation(
        ...     "augmentation", config, tempfile.mkdtemp(), values=["none", "dsa"]
        ... )
        >>> [(r.variant.name, len(r.evaluation.accuracies)) for r in results]
        [('none', 1), ('dsa', 1)]
    """
    ablation, folder = find_ablation(name), pathlib.Path(output_dir)
    pretraining = pretraining or Pretraining()
    ipcs = tuple(ipcs) or (config.distillation.ipc,)
    check_each_once("seeds", seeds)
    check_each_once("ipcs", ipcs)
    config = with_absolute_paths(config)
    settings = study_settings(name, config, points, pretraining)
    variants: list[Variant] = []

    def check(found: RealData | Contents) -> None:
        variants[:] = ablation.variants(_blocks(config, found), values)
        _check(folder, config, found, variants, ipcs, seeds)

    with Trials(folder, settings, resume, overwrite) as trials:
        data = checked_data(data, config.dataset, check)
        keep_identity(trials, data)
        if overwrite:
            _clear(folder)
        trials.begin()
        study = _Study(ablation, config, folder, data, points)
        notes = study.prepare_pools(variants, pretraining)
        keys = [
            [variant.name, ipc, iteration, seed]
            for variant in variants
            if not notes.get(variant.name)
            for ipc in ipcs
            for seed in seeds
            for iteration in study.iterations
        ]
        by_name = {variant.name: variant for variant in variants}
        found = trials.run(
            keys, lambda key: study.trial(by_name[key[0]], *key[1:]), f"Ablation {name}"
        )
        answers = {tuple(key): answer for key, answer in zip(keys, found, strict=True)}
        results = [
            _result(
                variant,
                ipc,
                iteration,
                [answers.get((variant.name, ipc, iteration, seed)) for seed in seeds],
                notes.get(variant.name, ""),
            )
            for variant in variants
            for ipc in ipcs
            for iteration in study.iterations
        ]
        lines = [_line(name, result) for result in results]
        write_json_lines(folder / "results.jsonl", lines)
    return results


class _Study:
    """What the trials of an ablation share."""

    def __init__(
        self,
        ablation: Ablation,
        config: Config,
        folder: pathlib.Path,
        data: RealData,
        points: int,
    ):
        self._folder, self._data = folder, data
        last = config.distillation.iterations
        self.iterations: tuple[int, ...] = (last,)
        self._curves = ablation.chart == "curves"
        if self._curves:
            spaced = np.linspace(0, last, points + 1).round()
            self.iterations = tuple(sorted({int(number) for number in spaced}))
            config = replace(config, distillation__snapshot_at=self.iterations)
        self._config = config
        self._preprocessing = fit_to_data(config.dataset, data)
        self._pools: dict[tuple[int, int], NetworkPool] = {}
        self._finished: dict[pathlib.Path, str] = {}  # why it failed, or ""

    def prepare_pools(
        self, variants: Sequence[Variant], settings: Pretraining
    ) -> dict[str, str]:
        """Trains the networks that variants need, if any do.

        Returns:
            By name, why a variant cannot be: no network is so good, or so bad.
        """
        if not any(variant.bucket for variant in variants):
            return {}
        pool = self._folder / "pool"
        found = pretrain(self._data, self._preprocessing, self._config, settings, pool)
        notes = {}
        for variant in variants:
            if variant.bucket is None:
                continue
            inside = in_bucket(found, *variant.bucket)
            if inside:
                self._pools[variant.bucket] = load_pool(inside)
                count = len({one.network for one in inside})
                log.info(
                    "%s %%: %d states of %d networks.", variant.name, len(inside), count
                )
            else:
                best = max(found, key=lambda one: one.accuracy)
                notes[variant.name] = (
                    f"no network of {variant.name} %: the best has "
                    f"{100 * best.accuracy:.1f} % after "
                    f"{counted(settings.epochs, 'epoch')}"
                )
        return notes

    def trial(self, variant: Variant, ipc: int, iteration: int, seed: int) -> dict:
        """Distils, unless that is done, and evaluates one set."""
        config = variant.config(self._config, ipc, seed)
        folder = _run_folder(self._folder, variant, ipc, seed)
        if folder not in self._finished:
            self._finished[folder] = self._finish(config, folder, variant)
        if reason := self._finished[folder]:
            return {"accuracies": [], "note": reason}
        distilled = DistilledSet.load(folder)
        if self._curves:
            kept = RunFolder(folder).snapshots
            images = load_snapshots(kept, distilled.images.shape)[iteration]
            distilled = dataclasses.replace(distilled, images=images)
        evaluation = evaluate(distilled, config, self._data)
        if iteration == self.iterations[-1]:
            line = evaluation.record(str(folder), config)
            append_json(RunFolder(folder).evaluation, line)
        return {"accuracies": list(evaluation.accuracies)}

    def _finish(self, config: Config, folder: pathlib.Path, variant: Variant) -> str:
        """Finishes a run; returns why it failed, or nothing."""
        shared = {
            "data": self._data,
            "preprocessing": self._preprocessing,
            "networks": self._pools[variant.bucket] if variant.bucket else None,
        }
        log.info("Variant %s, in %s:", variant.name, folder)
        try:
            distilled = distill(
                config, folder, resume=RunFolder(folder).holds_run(), **shared
            )
            if self._curves:
                shape, kept = distilled.images.shape, RunFolder(folder).snapshots
                if not set(self.iterations) <= load_snapshots(kept, shape).keys():
                    log.warning("Snapshots of %s are gone: distilling anew.", folder)
                    distill(config, folder, overwrite=True, **shared)
        except DivergedError as error:
            log.warning("%s: %s", variant.name, error)
            return str(error)
        return ""


def _check(
    folder: pathlib.Path,
    config: Config,
    data: RealData | Contents,
    variants: Sequence[Variant],
    ipcs: Sequence[int],
    seeds: Sequence[int],
) -> None:
    """Refuses now what a run of the study would refuse after hours of work."""
    check_evaluation(config, data)
    for variant in variants:
        for ipc in ipcs:
            check_distillation(variant.config(config, ipc, seeds[0]), data)
            for seed in seeds:
                variant.config(config, ipc, seed)
                run = RunFolder(_run_folder(folder, variant, ipc, seed))
                check_output(run.path, "a run", run.holds_run, True, False)
    if any(variant.bucket for variant in variants):
        check_folder(folder / "pool", None, True, False)


def _run_folder(
    folder: pathlib.Path, variant: Variant, ipc: int, seed: int
) -> pathlib.Path:
    return folder / variant.folder / f"ipc{ipc}" / f"seed{seed}"


def _blocks(config: Config, data: RealData | Contents) -> int:
    network = sketch(data.image_shape, len(data.class_names), config.network)
    return len(tap_names(network))


def _clear(folder: pathlib.Path) -> None:
    """Removes the runs and networks of an earlier study; other files stay."""
    for run in folder.glob(_RUNS):
        if RunFolder(run).holds_run():
            RunFolder(run).clear()
    if (folder / "pool" / "settings.json").is_file():
        shutil.rmtree(folder / "pool")


def _result(variant, ipc, iteration, answers, note) -> Result:
    done = [
        Evaluation(tuple(a["accuracies"])) for a in answers if a and a["accuracies"]
    ]
    failed = [answer["note"] for answer in answers if answer and "note" in answer]
    if failed:
        note = f"{len(failed)} of {len(answers)} runs diverged: {failed[0]}"
    return Result(
        variant, ipc, iteration, Evaluation.join(done) if done else None, note
    )


def _line(name: str, result: Result) -> dict:
    evaluation, variant = result.evaluation, result.variant
    found = {
        "ablation": name,
        "variant": variant.name,
        "overrides": dict(variant.overrides),
        "ipc": result.ipc,
        "iteration": result.iteration,
        "accuracy": evaluation and round(evaluation.mean, 6),
        "deviation": evaluation and round(evaluation.deviation, 6),
        "sets": evaluation.sets if evaluation else 0,
        "accuracies": [round(a, 6) for a in evaluation.accuracies]
        if evaluation
        else [],
    }
    if result.note:
        found["note"] = result.note
    if result.ipc in variant.paper:
        found["paper"] = list(variant.paper[result.ipc])
    return found
