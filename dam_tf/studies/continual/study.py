"""Continual learning: classes arrive step by step, a small buffer remembers them.

Section 4.5 and Figure 7 of the paper, in the class-incremental setting of GDumb
(Prabhu et al., ECCV 2020) and DM: at each step ipc images of each new class, chosen
or distilled, join a replay buffer; a network is trained on the buffer from scratch
and tested on all classes seen so far. Real images of earlier steps are gone.
"""

import functools
import itertools
import os
import pathlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dam_tf import plots
from dam_tf.base.errors import UserError, choice_error
from dam_tf.base.files import atomic_file
from dam_tf.base.json_lines import write_json_lines
from dam_tf.base.messages import log
from dam_tf.base.npz import Array, read_npz
from dam_tf.base.seeds import Purpose, numpy_generator
from dam_tf.base.trials import Trials
from dam_tf.base.words import counted
from dam_tf.config.image_counts import check_equal
from dam_tf.config.methods import METHODS
from dam_tf.config.places import with_absolute_paths
from dam_tf.config.schema import to_dict
from dam_tf.config.settings import Config, replace
from dam_tf.coresets.select import RULES, coreset
from dam_tf.data.identity import keep_identity
from dam_tf.data.loading import checked_data
from dam_tf.data.preprocessing.preprocessing import Preprocessing, fit_to_data
from dam_tf.data.real_data import RealData, class_subset
from dam_tf.data.source import Contents
from dam_tf.evaluation.evaluate import evaluate
from dam_tf.runs.checks import check_distillation
from dam_tf.runs.folder import RunFolder
from dam_tf.runs.run import distill
from dam_tf.studies.checks import check_evaluation
from dam_tf.studies.continual.settings import ContinualConfig, Key, split_classes
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.synthetic.formation import factor_of
from dam_tf.synthetic.initial import check_ipc

RESULTS, FIGURE = "results.jsonl", "accuracy.png"
_BUFFERS = "buffers"


def continual_learning(
    config: Config,
    study: ContinualConfig,
    output_dir: os.PathLike | str,
    resume: bool = False,
    overwrite: bool = False,
    data: RealData | None = None,
) -> list[dict[str, Any]]:
    """Runs the study, and keeps it in `output_dir`.

    Every memory sees the same class orders and trains the same random networks. A
    study that was killed continues with `resume` to the same results; the buffers
    lie in `buffers/`, and a distillation that was stopped goes on from its
    checkpoint.

    Args:
        config: The settings of data, networks, distillation and evaluation; its
            `evaluation.networks` networks are trained at each step.
        study: Memories, steps and orders.
        output_dir: Made if missing; gets `results.jsonl`, `accuracy.png`,
            `trials.jsonl`, `settings.json` and `buffers/`.
        resume: Continue the study that lies there; it may have other memories,
            steps and orders.
        overwrite: Replace the study that lies there.
        data: The real data; loaded as `config.dataset` says if left out.

    Returns:
        What `summarize` makes of it.

    Raises:
        UserError: something given cannot be used.
        Interrupted: a signal stopped a distillation; its state is saved.

    Example:
        >>> import tempfile
        >>> from dam_tf import make_config
        >>> settings = {"evaluation.epochs": 1, "evaluation.networks": 1}
        >>> config = make_config(overrides={**settings, "network.width": 4})
        >>> study = ContinualConfig(("random",), steps=(2,), orders=1)
        >>> (line,) = continual_learning(config, study, tempfile.mkdtemp())
        >>> line["classes"], line["memory"]
        ([5, 10], 'random')
    """
    folder = pathlib.Path(output_dir)
    for memory in study.memories:
        if memory not in RULES and memory not in METHODS:
            raise choice_error("memory", memory, (*RULES, *METHODS))
    config = with_absolute_paths(config)
    check = functools.partial(_check_data, config=config, study=study)
    with Trials(folder, study.settings(config), resume, overwrite) as trials:
        data = checked_data(data, config.dataset, check)
        keep_identity(trials, data)
        if overwrite:
            # Buffers go before the settings are replaced: a study that is killed in
            # between is still known as the old one, and its new settings never stand
            # beside old buffers.
            shutil.rmtree(folder / _BUFFERS, ignore_errors=True)
            for name in (RESULTS, FIGURE):
                (folder / name).unlink(missing_ok=True)
        learner = _Learner(config, study, data, folder / _BUFFERS)
        results = trials.run(study.keys(), learner.trial, "Continual learning")
        lines = summarize(results, config, study)
        write_json_lines(folder / RESULTS, lines)
        draw(lines, folder / FIGURE)
    return lines


def class_order(seed: int, order: int, classes: int) -> list[int]:
    """Returns order number `order` of the labels, a function of the seed.

    Args:
        seed: The study's.
        order: From 0.
        classes: How many labels.

    Example:
        >>> sorted(class_order(0, 3, 5))
        [0, 1, 2, 3, 4]
    """
    generator = numpy_generator(seed, Purpose.CLASS_ORDER, order)
    return generator.permutation(classes).tolist()


def summarize(
    results: Iterable[Mapping[str, Any]], config: Config, study: ContinualConfig
) -> list[dict[str, Any]]:
    """Returns a line of Figure 7 for each number of steps and memory, ready for JSON.

    Args:
        results: Of all trials.
        config: As of `continual_learning`.
        study: As of `continual_learning`.

    Returns:
        Among others `classes`, those seen after each step, `accuracy` and
        `deviation`, over the orders, and `accuracies`, `[orders][steps]`, each the
        mean of `evaluation.networks` networks. Accuracies are shares, 0 to 1.
    """
    found = {(r["steps"], r["memory"], r["order"], r["step"]): r for r in results}
    lines = []
    for steps in study.steps:
        for memory in study.memories:
            rows = [
                [found[steps, memory, order, step] for step in range(steps)]
                for order in range(study.orders)
            ]
            accuracies = np.array([[r["accuracy"] for r in row] for row in rows])
            lines.append(
                {
                    "study": "continual learning",
                    "dataset": config.dataset.name,
                    "memory": memory,
                    "steps": steps,
                    "ipc": config.distillation.ipc,
                    "orders": study.orders,
                    "statistics": study.statistics,
                    "classes": [r["classes"] for r in rows[0]],
                    "accuracy": accuracies.mean(axis=0).round(6).tolist(),
                    "deviation": accuracies.std(axis=0).round(6).tolist(),
                    "accuracies": accuracies.tolist(),
                    "config": to_dict(_with_memory(config, memory)),
                }
            )
    return lines


def draw(lines: Sequence[Mapping[str, Any]], path: os.PathLike | str) -> None:
    """Draws results like Figure 7: accuracy against classes, a panel a split.

    Args:
        lines: Of `summarize`, or of a file that it went to.
        path: The PNG file to write.
    """
    panels: dict[str, list[plots.Band]] = {}
    for line in lines:
        title = counted(line["steps"], "step")
        mean, deviation = (
            100 * np.array(line[name]) for name in ("accuracy", "deviation")
        )
        band = plots.Band(line["memory"], line["classes"], mean, deviation)
        panels.setdefault(title, []).append(band)
    plots.save_bands(
        panels,
        path,
        x_label="number of classes",
        y_label="test accuracy on classes seen so far (%)",
    )


class _Learner:
    """Fills the buffers of a study, trains on them and tests."""

    def __init__(
        self,
        config: Config,
        study: ContinualConfig,
        data: RealData,
        buffers: pathlib.Path,
    ):
        self._config, self._study, self._data = config, study, data
        self._buffers = buffers
        self._fitted: tuple[list[int], Preprocessing] | None = None

    def trial(self, key: Key) -> dict[str, Any]:
        """Returns how a network does after one step."""
        steps, order, memory, step = key
        log.info(
            "%s, order %d of %d: step %d of %d",
            memory,
            order + 1,
            self._study.orders,
            step + 1,
            steps,
        )
        groups = self._groups(steps, order)[: step + 1]
        seen, many = list(itertools.chain(*groups)), self._per_class(memory)
        data = class_subset(self._data, seen)
        buffer = DistilledSet(
            np.concatenate([self._remembered((*key[:3], s)) for s in range(step + 1)]),
            np.repeat(np.arange(len(seen)), many),
            data.class_names,
            self._preprocessing(steps, order),
            data.name,
        )
        result = evaluate(buffer, self._step_config(order, step), data)
        return {
            "steps": steps,
            "order": order,
            "memory": memory,
            "step": step,
            "classes": len(seen),
            "images": len(seen) * self._config.distillation.ipc,
            "accuracy": round(result.mean, 6),
            "deviation": round(result.deviation, 6),
            "accuracies": [round(accuracy, 6) for accuracy in result.accuracies],
            "accuracy_by_step": _by_step(result.confusion, map(len, groups)),
            "labels": seen,
        }

    def _per_class(self, memory: str) -> int:
        """Images that a memory gives of a class: a formation makes many of each."""
        settings = self._config.distillation
        parts = 1 if memory in RULES else factor_of(settings.formation) ** 2
        return settings.ipc * parts

    def _remembered(self, key: Key) -> np.ndarray:
        """What joins the buffer at a step, `[n, h, w, c]` pixels: kept, or made now."""
        steps, order, memory, step = key
        classes = self._groups(steps, order)[step]
        path = self._buffers / f"{memory}_{steps}-steps_order-{order}_step-{step}.npz"
        count = len(classes) * self._per_class(memory)
        images = _read_images(path, (count, *self._data.image_shape))
        if images is None:
            images = self._fill(key, class_subset(self._data, classes), path)
        # Also that of a study that was killed once the buffer lay there.
        shutil.rmtree(path.with_suffix(".run"), ignore_errors=True)
        return images

    def _fill(self, key: Key, data: RealData, path: pathlib.Path) -> np.ndarray:
        steps, order, memory, step = key
        config = self._step_config(order, step, memory)
        preprocessing = self._preprocessing(steps, order)
        run = RunFolder(path.with_suffix(".run"))
        if memory in RULES:
            chosen = coreset(data, config, preprocessing)
        else:
            if not run.holds_run():  # a kill before it began, or no run at all
                shutil.rmtree(run.path, ignore_errors=True)
            chosen = distill(
                config, run.path, resume=True, data=data, preprocessing=preprocessing
            )
        with atomic_file(path) as temporary:
            np.savez(temporary, images=chosen.images, labels=chosen.labels)
        return chosen.images

    def _step_config(self, order: int, step: int, memory: str | None = None) -> Config:
        """The settings of one step, which shares its random numbers with no other."""
        seed = self._config.distillation.seed
        generator = numpy_generator(seed, Purpose.CONTINUAL_STEP, order, step)
        drawn = int(generator.integers(2**31))
        config = replace(self._config, distillation__seed=drawn)
        return _with_memory(config, memory) if memory else config

    def _groups(self, steps: int, order: int) -> list[list[int]]:
        seed = self._config.distillation.seed
        return split_classes(class_order(seed, order, self._data.num_classes), steps)

    def _preprocessing(self, steps: int, order: int) -> Preprocessing:
        """The one preprocessing of an order, fitted before its first step."""
        strict = self._study.statistics == "first_step"
        classes = self._groups(steps, order)[0] if strict else []
        if self._fitted is None or self._fitted[0] != classes:
            data = class_subset(self._data, classes) if strict else self._data
            self._fitted = classes, fit_to_data(self._config.dataset, data)
        return self._fitted[1]


def _with_memory(config: Config, memory: str) -> Config:
    if memory in RULES:
        return replace(config, selection__method=memory)
    return replace(config, method__name=memory)


def _check_data(
    data: RealData | Contents, config: Config, study: ContinualConfig
) -> None:
    check_equal(config.distillation, "continual learning, whose classes share alike")
    check_evaluation(config, data)
    ipcs = len(data.class_names) * [config.distillation.ipc]
    fewest = len(split_classes(range(len(ipcs)), max(study.steps))[-1])
    for memory in study.memories:
        if memory in RULES:
            check_ipc(data.train, data.class_names, ipcs, instead="")
        else:
            check_distillation(_with_memory(config, memory), data, classes=fewest)
    if 0 in (counts := list(data.test.counts)):
        name = data.class_names[counts.index(0)]
        raise UserError(f"class {name!r} has no test image")


def _read_images(path: pathlib.Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Returns the images in `path`, or None where they must be made again."""
    if not path.exists():
        return None
    try:
        wanted = {"images": Array(shape, np.float32)}
        return read_npz(path, wanted, "a buffer of this study")["images"]
    except UserError as error:
        log.warning("A buffer is damaged and is made again: %s", error)
        return None


def _by_step(confusion: np.ndarray, sizes: Iterable[int]) -> list[float]:
    """Accuracy on the classes of each step."""
    starts = np.cumsum([0, *sizes])[:-1]
    right = np.add.reduceat(np.diag(confusion), starts)
    tested = np.add.reduceat(confusion.sum(axis=1), starts)
    return (right / tested).round(6).tolist()
