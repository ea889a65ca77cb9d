"""What a cell of a benchmark does, in a process of its own: makes a set, tests it.

`study.py` calls it. What is finished is kept in the folder of the cell, so a cell that
was stopped goes on where it was.
"""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from dam_tf.base import messages
from dam_tf.base.errors import UserError
from dam_tf.base.json_lines import append_json, read_json_lines
from dam_tf.base.machine import machine
from dam_tf.base.noise import without_noise
from dam_tf.config.experts import ExpertTraining, expert_config
from dam_tf.config.settings import Config, from_dict, replace
from dam_tf.coresets.select import check_selection, random_real_set, select
from dam_tf.data.identity import Identity
from dam_tf.data.loading import load_dataset
from dam_tf.data.real_data import RealData
from dam_tf.data.source import Contents
from dam_tf.evaluation.evaluate import check_networks, evaluate, evaluate_whole_set
from dam_tf.evaluation.kernel import kernel_accuracy
from dam_tf.evaluation.results import Evaluation
from dam_tf.generators import registry as generators
from dam_tf.generators.generate import generate
from dam_tf.runs.checks import check_distillation
from dam_tf.runs.folder import RunFolder
from dam_tf.runs.run import distill
from dam_tf.studies.checks import check_evaluation
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.training.experts import train_experts

OUT_OF_MEMORY = (MemoryError, tf.errors.ResourceExhaustedError)
_KERNELS = ("kip", "label_solve")  # methods that are tested by their regression, too


def check(
    config: Mapping[str, Any], cells: Mapping[str, tuple[str, Mapping[str, Any]]]
) -> dict[str, Any]:
    """Returns which data there are, and what cannot be made of them.

    Args:
        config: Settings of the evaluation, as nested mappings.
        cells: By name, the kind of a cell and its settings.

    Returns:
        `data`, as `dataclasses.asdict` of an `Identity`; `refused`, by name why a cell
        cannot be; `gpus`, how many there are.

    Raises:
        UserError: the data cannot be read, or networks cannot be tested on them.
    """
    refused: dict[str, str] = {}
    protocol = from_dict(config)

    def check_all(found: RealData | Contents) -> None:
        check_evaluation(protocol, found)
        for name, (kind, settings) in cells.items():
            try:
                _CHECKS[kind](found, from_dict(settings))
            except UserError as error:
                refused[name] = str(error)

    data = load_dataset(protocol.dataset, check_all)
    return {
        "data": dataclasses.asdict(Identity.of(data)),
        "refused": refused,
        "gpus": len(tf.config.list_physical_devices("GPU")),
    }


def experts(config: Mapping[str, Any], count: int, epochs: int, folder: str) -> dict:
    """Trains the experts that methods follow or match through, or goes on with them.

    Args:
        config: Settings of the evaluation, whose network and data they have.
        count: How many.
        epochs: Of each.
        folder: Where they lie.

    Returns:
        `seconds`, of this process alone.
    """
    _speak()
    begun = time.perf_counter()
    settings = ExpertTraining(count)
    config = expert_config(from_dict(config))
    config = replace(config, evaluation__epochs=epochs)
    train_experts(config, settings, folder, resume=True)
    return {"seconds": time.perf_counter() - begun}


def make(
    folder: str,
    kind: str,
    config: Mapping[str, Any],
    protocol: Mapping[str, Any],
    plain: bool,
    own: bool,
) -> dict[str, Any]:
    """Makes the set of a cell, tests it, and returns what came of that.

    Args:
        folder: Of the cell.
        kind: A key of `rows.KINDS`.
        config: Settings that make the set, as nested mappings.
        protocol: Settings by which it is evaluated.
        plain: Whether networks are also trained without augmentation.
        own: Whether they are also trained by the set's recipe, where it has one.

    Returns:
        `accuracies`, by protocol those of all networks: `common`; `hard`, with hard
        labels where the set's are soft; `own`, by the set's recipe where it has one,
        and `random_own`, that of random real images by that recipe; `kernel`, of the
        regression of KIP and label solve; `plain`, without augmentation. Then what the
        set cost: see `_cost`.
    """
    _speak()
    made = from_dict(config)
    iterations = made.distillation.iterations
    cell = _Work(pathlib.Path(folder), from_dict(protocol), iterations)
    if kind == "whole":
        cell.test("common", evaluate_whole_set)
        if plain:
            cell.test("plain", evaluate_whole_set, _plain(cell.protocol))
        return {"accuracies": cell.accuracies(), **cell.times(), **_where()}
    with cell.timed("make"):
        distilled = _MAKERS[kind](made, cell.run, cell.data)
    peak = machine()
    cell.test("common", lambda c, d: evaluate(distilled, c, d))
    if distilled.soft_labels is not None:
        hard = replace(cell.protocol, evaluation__label_type="hard")
        cell.test("hard", lambda c, d: evaluate(distilled, c, d), hard)
    if own and distilled.recipe is not None:
        recipe = replace(cell.protocol, evaluation__recipe="own")
        cell.test("own", lambda c, d: evaluate(distilled, c, d), recipe)
        random = _in_place_of(distilled, cell.data, cell.protocol)
        cell.test("random_own", lambda c, d: evaluate(random, c, d), recipe)
    if made.method.name in _KERNELS and kind == "method":
        cell.test("kernel", lambda c, d: kernel_accuracy(distilled, c, d), made)
    if plain:
        cell.test(
            "plain", lambda c, d: evaluate(distilled, c, d), _plain(cell.protocol)
        )
    return {
        "accuracies": cell.accuracies(),
        **cell.times(),
        **_cost(distilled, cell.run, peak),
        **_where(),
    }


class _Work:
    """What is done in the folder of one cell, and what was done before.

    Accuracies hold for a set of as many iterations alone.
    """

    def __init__(self, folder: pathlib.Path, protocol: Config, iterations: int):
        self.protocol, self.run = protocol, RunFolder(folder / "run")
        self._of_set = {"iterations": iterations}
        self.data = load_dataset(protocol.dataset)
        self._times, self._tests = folder / "times.jsonl", folder / "evaluation.jsonl"

    def test(
        self,
        name: str,
        test: Callable[[Config, RealData], Evaluation],
        config: Config | None = None,
    ) -> None:
        """Tests by one protocol, unless that is done."""
        if name not in self.accuracies():
            messages.log.info("Evaluating: %s.", name)
            with self.timed("evaluate"):
                found = test(config or self.protocol, self.data)
            accuracies = [round(a, 6) for a in found.accuracies]
            line = {"protocol": name, "accuracies": accuracies, **self._of_set}
            append_json(self._tests, line)

    def accuracies(self) -> dict[str, list[float]]:
        """By protocol, those of all networks."""
        return {
            line["protocol"]: line["accuracies"]
            for line in read_json_lines(self._tests)
            if line.items() >= self._of_set.items()
        }

    @contextlib.contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Adds a line when it begins and one when it ends, however it does."""
        begun = time.perf_counter()
        append_json(self._times, {"what": what})
        try:
            yield
        finally:
            seconds = round(time.perf_counter() - begun, 3)
            append_json(self._times, {"what": what, "seconds": seconds})

    def times(self) -> dict[str, Any]:
        """Seconds to make and to evaluate; of stretches that a kill cut, nothing."""
        lines = read_json_lines(self._times)
        begun = sum("seconds" not in line for line in lines)
        seconds = {"make": 0.0, "evaluate": 0.0}
        for line in lines:
            seconds[line["what"]] += line.get("seconds", 0.0)
        return {"seconds": seconds, "time_lost": 2 * begun > len(lines)}


def _select(config: Config, run: RunFolder, data: RealData) -> DistilledSet:
    del data  # it loads its own
    if run.distilled.exists():
        return DistilledSet.load(run.path)
    return select(config, run.path, overwrite=run.holds_run())


_MAKERS = {
    "coreset": _select,
    "method": lambda c, run, data: distill(c, run.path, run.holds_run(), data=data),
    "generator": lambda c, run, data: generate(c, run.path, run.holds_run(), data=data),
}


def _check_generator(found: RealData | Contents, config: Config) -> None:
    check_distillation(config, found, generators.create(config.method))


_CHECKS: dict[str, Callable[[RealData | Contents, Config], None]] = {
    "whole": lambda found, config: check_networks(config, found, whole=True),
    "coreset": check_selection,
    "method": lambda found, config: check_distillation(config, found),
    "generator": _check_generator,
}


def _in_place_of(
    distilled: DistilledSet, data: RealData, protocol: Config
) -> DistilledSet:
    """Returns random real images with hard labels and the recipe of a set.

    They stand in the order of the set's images, which a recipe may name. Beside a set
    whose images are cut from stored ones they are as many as are stored.
    """
    seen, classes = distilled.preprocessing, distilled.num_classes
    if distilled.formation != "raw":
        counts = None
        if distilled.soft_labels is None:
            stored = distilled.what_is_stored()[1]
            counts = np.bincount(stored, minlength=classes)
        chosen = random_real_set(data, protocol, seen, counts)
        return dataclasses.replace(chosen, recipe=distilled.recipe)
    counts = np.bincount(distilled.labels, minlength=classes)
    # As many of each class as of the largest, so that all are drawn alike, or all.
    most = np.maximum(counts, np.minimum(counts.max(), data.train.counts))
    chosen = random_real_set(data, protocol, seen, most)
    place = np.zeros(len(distilled.labels), int)
    for label in range(classes):
        rows = distilled.labels == label
        place[rows] = np.flatnonzero(chosen.labels == label)[: rows.sum()]
    images = chosen.images[place]
    return dataclasses.replace(distilled, images=images, soft_labels=None)


def _plain(config: Config) -> Config:
    return replace(config, evaluation__augmentation="none", evaluation__cutmix=0.0)


def _cost(distilled: DistilledSet, run: RunFolder, peak: Mapping) -> dict[str, Any]:
    """What a set cost: Table 4.

    Returns:
        `seconds_per_step` and `iterations`, where it was learned by such; `peak_memory`
        in bytes, and `memory_of` what; `stored_images` and `stored_bytes`, of the
        folder with images and labels.
    """
    stretches = read_json_lines(run.cost)
    steps = sum(line["last"] - line["first"] for line in stretches)
    found: dict[str, Any] = {}
    if steps:
        seconds = sum(line["seconds"] for line in stretches)
        found["seconds_per_step"] = seconds / steps
        found["iterations"] = max(line["last"] for line in stretches)
    device = peak.get("peak_device_bytes")
    found["peak_memory"] = device or peak["peak_process_bytes"]
    found["memory_of"] = "GPU" if device else "process"
    # A cell that was stopped has the peak of that time, too.
    name = "peak_device_bytes" if device else "peak_process_bytes"
    earlier = [line.get(name, 0) for line in stretches]
    found["peak_memory"] = max(found["peak_memory"], *earlier, 0)
    found["stored_images"] = distilled.size
    files = (path for path in run.distilled.rglob("*") if path.is_file())
    found["stored_bytes"] = sum(path.stat().st_size for path in files)
    return found


def _where() -> dict[str, str]:
    found = machine()
    return {"device": found["device"], "tensorflow": found["tensorflow"]}


def _speak() -> None:
    """Makes this process say what goes on, and nothing else."""
    messages.show()
    logging.set_verbosity(logging.ERROR)  # TensorFlow's and Keras', not ours
    with without_noise():
        tf.config.list_logical_devices()
