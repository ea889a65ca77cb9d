"""Neural architecture search on proxies of the whole set (section 4.5 of the paper).

Each architecture is trained on each proxy and, to see how well that ranks them, on
the whole set.
"""

import dataclasses
import functools
import gc
import os
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dam_tf.base.errors import UserError, check_each_once
from dam_tf.base.files import atomic_file
from dam_tf.base.interruption import Interrupted, StopRequest, stop_on_signals
from dam_tf.base.json_lines import write_json_lines
from dam_tf.base.messages import log
from dam_tf.base.seeds import Purpose, numpy_generator
from dam_tf.base.trials import Trials
from dam_tf.config.image_counts import check_equal
from dam_tf.config.places import with_absolute_paths
from dam_tf.config.settings import Config
from dam_tf.coresets.select import random_real_set
from dam_tf.data.identity import keep_identity
from dam_tf.data.loading import load_dataset
from dam_tf.data.preprocessing.preprocessing import fit_to_data
from dam_tf.data.real_data import RealData
from dam_tf.data.source import Contents
from dam_tf.evaluation.evaluate import check_match
from dam_tf.plots import ProxyPoints, save_rank_scatter
from dam_tf.runs.folder import run_at
from dam_tf.runs.provenance import check_run_data
from dam_tf.studies.checks import check_evaluation
from dam_tf.studies.search.data import divide
from dam_tf.studies.search.proxies import (
    EARLY_STOPPING,
    RANDOM,
    WHOLE,
    EarlyStopping,
    Proxy,
    SetProxy,
    WholeSet,
)
from dam_tf.studies.search.results import (
    ProxyResult,
    Scores,
    markdown_table,
    proxy_result,
    top_fifth,
)
from dam_tf.studies.search.settings import SearchSettings, study_settings
from dam_tf.studies.search.spaces import Architecture
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.synthetic.initial import check_ipc


def search(
    config: Config,
    architectures: Sequence[Architecture],
    proxies: Sequence[str],
    output_dir: os.PathLike | str,
    settings: SearchSettings | None = None,
    whole: bool = True,
    resume: bool = False,
    overwrite: bool = False,
    devices: Sequence[str] | None = None,
) -> list[ProxyResult]:
    """Ranks architectures by training them on proxies of the whole set.

    Finished networks are kept in `output_dir/trials.jsonl`; results go into
    `results.jsonl`, `table.md` and, with `whole`, `scatter.png`. They do not depend
    on how many devices there are, but for the time that they took.

    Args:
        config: Its dataset, augmentation and evaluation sections say what networks
            are tested on and how they are trained on the proxies, its ipc how large
            `random` is and how long `early_stopping` lasts.
        architectures: What is searched.
        proxies: Folders of runs, `random` or `early_stopping`.
        output_dir: The search's folder; made if missing.
        settings: How the whole set is used; the defaults if left out.
        whole: Train every architecture on the whole set, too, for the correlation;
            otherwise only those that are chosen.
        resume: Continue the search that lies in `output_dir`.
        overwrite: Forget the search that lies there.
        devices: Logical devices, each of which trains one network at a time; all
            GPUs, or the CPU (all of them, if it is split), if left out.

    Returns:
        A result for each proxy and, with `whole`, one for the whole set.

    Raises:
        UserError: something given cannot be used.
        Interrupted: Ctrl-C or SIGTERM came; finished networks are kept.

    Example:
        >>> import tempfile
        >>> from dam_tf.studies.search.spaces import convnet_grid
        >>> from dam_tf import make_config
        >>> space = convnet_grid([1], [32], ["relu"], ["none"], ["avg", "max"])
        >>> tiny = {"evaluation.epochs": 1, "evaluation.networks": 1}
        >>> tiny = make_config(overrides=tiny)
        >>> folder, brief = tempfile.mkdtemp(), SearchSettings(whole_images=100)
        >>> (result,) = search(tiny, space, ["random"], folder, brief, whole=False)
        >>> result.images, result.architectures
        (10, 2)
    """
    settings = settings or SearchSettings()
    folder = pathlib.Path(output_dir)
    config = with_absolute_paths(config)
    trials = Trials(folder, study_settings(config, settings), resume, overwrite)
    check_each_once("proxies", dict.fromkeys(proxies))
    check_each_once("architectures", [one.name for one in architectures])
    with trials:
        with stop_on_signals() as stop:
            runner = _Runner(
                config, settings, architectures, proxies, trials, stop, devices
            )
            sets = [runner.proxy(name) for name in dict.fromkeys(proxies)]
            scores = {proxy.name: runner.train(proxy) for proxy in sets}
            whole_set = runner.whole_set
            chosen = sorted({own.best for own in scores.values()})
            reference = runner.train(whole_set, None if whole else chosen)
        if whole:
            sets, scores[WHOLE] = [*sets, whole_set], reference
        names = [architecture.name for architecture in architectures]
        results = [
            proxy_result(one.name, one.images, names, scores[one.name], reference)
            for one in sets
        ]
        _write(folder, results)
        if whole:
            _draw(folder, results[:-1], scores, reference)
    return results


def sample(
    space: Sequence[Architecture], count: int | None, seed: int
) -> list[Architecture]:
    """Returns `count` of the architectures, at random, in their order.

    A larger sample of the same seed holds the smaller one, so a search can grow.

    Args:
        space: What is drawn from.
        count: How many; all of them if None or more than there are.
        seed: Decides which.

    Example:
        >>> from dam_tf.studies.search.spaces import convnet_grid
        >>> len(sample(convnet_grid(), 100, seed=0))
        100
    """
    order = numpy_generator(seed, Purpose.ARCHITECTURE_SEARCH, 1).permutation(
        len(space)
    )
    return [space[place] for place in sorted(order[:count])]


class _Runner:
    """Trains the architectures on one set after the other, and keeps the results."""

    def __init__(
        self,
        config: Config,
        settings: SearchSettings,
        architectures: Sequence[Architecture],
        proxies: Sequence[str],
        trials: Trials,
        stop: StopRequest,
        devices: Sequence[str] | None,
    ):
        self._config, self._trials, self._stop = config, trials, stop
        self._architectures = {one.name: one for one in architectures}
        self._workers = [
            functools.partial(tf.device, name) for name in devices or _devices()
        ]
        data = load_dataset(config.dataset, self._check_data)
        for name in proxies:
            if name not in (RANDOM, EARLY_STOPPING) and (run := run_at(name)):
                check_run_data(run, data)
        self._data = divide(data, settings, config.distillation.seed)
        keep_identity(trials, data)
        self._preprocessing = fit_to_data(config.dataset, data)
        self.whole_set = WholeSet(
            self._data.whole, self._preprocessing, settings.whole_epochs
        )

    def _check_data(self, data: RealData | Contents) -> None:
        """Raises a `UserError` where no architecture suits the images."""
        settings, reasons = self._config.distillation, []
        check_equal(settings, "a search, whose random images are as many of each class")
        counts = [settings.ipc] * len(data.class_names)
        check_ipc(data.train, data.class_names, counts, instead="")
        for one in self._architectures.values():
            try:
                check_evaluation(one.config(self._config), data)
            except UserError as error:
                reasons.append(str(error))
            else:
                return
        raise UserError(f"no architecture can be trained: {reasons[0]}")

    def proxy(self, name: str) -> Proxy:
        """Returns the proxy that a name stands for."""
        data = self._data
        if name == RANDOM:
            drawn = random_real_set(data.train, self._config, self._preprocessing)
            return SetProxy(name, drawn)
        if name == EARLY_STOPPING:
            size = self._config.distillation.ipc * data.train.num_classes
            return EarlyStopping(data.whole, self._preprocessing, size)
        distilled = DistilledSet.load(name)
        check_match(distilled, data.train)
        return SetProxy(name, distilled)

    def train(self, proxy: Proxy, places: Sequence[int] | None = None) -> Scores:
        """Trains architectures, or those at `places` alone, on a set."""
        names = list(self._architectures)
        places = range(len(names)) if places is None else places
        lines = self._trials.run(
            [[proxy.name, proxy.content, names[place]] for place in places],
            lambda key: self._trial(proxy, self._architectures[key[2]]),
            f"Training on {proxy.name}",
            self._workers,
        )
        scores = np.full([3, len(names)], np.nan)
        for place, line in zip(places, lines, strict=True):
            if "left_out" not in line:
                scores[:, place] = [
                    line[key] for key in ("validation", "accuracy", "seconds")
                ]
        self._tell_left_out([line["left_out"] for line in lines if "left_out" in line])
        if np.all(np.isnan(scores)):
            raise UserError(f"no architecture can be trained: {lines[0]['left_out']}")
        return Scores(*scores)

    def _trial(self, proxy: Proxy, architecture: Architecture) -> dict[str, Any]:
        config = architecture.config(self._config)
        watch = _Watch(self._stop)
        try:
            predictions = proxy.train_and_test(config, self._data.exam, watch)
        except UserError as error:  # such as one block too many for small images
            return {"left_out": str(error)}
        finally:
            self._release()
        right = np.stack(predictions) == self._data.exam.labels
        held_out, tested = np.split(right, [self._data.held_out], axis=1)
        accuracies = np.mean(tested, axis=1)
        return {
            "validation": round(float(np.mean(held_out)), 6),
            "accuracy": round(float(np.mean(accuracies)), 6),
            "accuracies": [round(float(accuracy), 6) for accuracy in accuracies],
            "seconds": round(watch.seconds, 3),
        }

    def _release(self) -> None:
        """Frees the network that was trained, and what Keras remembers of it."""
        if len(self._workers) == 1:
            keras.backend.clear_session()  # collects garbage, too
        else:  # that would break what another thread builds
            gc.collect()

    def _tell_left_out(self, reasons: Sequence[str]) -> None:
        if reasons:
            count, all_of_them = len(reasons), len(self._architectures)
            log.warning(f"{count} of {all_of_them} left out, such as: {reasons[0]}")


class _Watch:
    """Adds up the time from the start that is no test, and ends what is to stop."""

    def __init__(self, stop: StopRequest):
        self._stop = stop
        self._tested = 0
        self._last = time.perf_counter()
        self.seconds = 0.0

    def __call__(self, epochs: int, predictions: Sequence[np.ndarray]) -> None:
        now = time.perf_counter()
        if len(predictions) == self._tested:
            self.seconds += now - self._last
        self._tested, self._last = len(predictions), now
        if (number := self._stop.signal_number) is not None:
            raise Interrupted(
                "stopped; finished networks are kept: continue with --resume", number
            )


def _devices() -> list[str]:
    found = tf.config.list_logical_devices("GPU")
    return [one.name for one in found or tf.config.list_logical_devices("CPU")]


def _write(folder: pathlib.Path, results: Sequence[ProxyResult]) -> None:
    write_json_lines(folder / "results.jsonl", map(dataclasses.asdict, results))
    with atomic_file(folder / "table.md") as temporary:
        temporary.write_text(markdown_table(results))


def _draw(
    folder: pathlib.Path,
    results: Sequence[ProxyResult],
    scores: Mapping[str, Scores],
    reference: Scores,
) -> None:
    points = [
        ProxyPoints(
            one.proxy,
            scores[one.proxy].accuracy,
            scores[one.proxy].best,
            one.correlation,
            one.correlation_top,
        )
        for one in results
    ]
    best, picture = top_fifth(reference), folder / "scatter.png"
    save_rank_scatter(points, reference.accuracy, best, picture)
