"""How far attention is matched already: SAM and MMD beside their noise.

Two batches of real images, drawn apart, differ by chance. Their loss against each other
is the noise floor: near it a loss has little left to teach. The study measures it, and
the loss and its gradient for images where distillation starts and where it ended.
"""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dam_tf.base.errors import UserError, check_each_once
from dam_tf.base.files import atomic_file
from dam_tf.base.json_lines import write_json_lines
from dam_tf.base.seeds import Purpose, numpy_generator, tensor_seed
from dam_tf.base.trials import Trials
from dam_tf.config.places import with_absolute_paths
from dam_tf.config.settings import Config, replace, resolve
from dam_tf.data.identity import keep_identity
from dam_tf.data.loading import checked_data
from dam_tf.data.preprocessing.preprocessing import Preprocessing, fit_to_data
from dam_tf.data.real_data import RealData
from dam_tf.data.source import Contents
from dam_tf.evaluation.evaluate import check_match
from dam_tf.methods.method import Task
from dam_tf.studies.attention import report
from dam_tf.studies.attention.measure import Measurement, Terms
from dam_tf.studies.attention.settings import AttentionConfig, check_batches
from dam_tf.studies.pictures.runs import fingerprint
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.synthetic.initial import check_ipc, initial_images

# What trials of floors are called, in place of a set.
_FLOOR = [report.FLOOR, 0, ""]


def measure_attention(
    config: Config,
    study: AttentionConfig,
    output_dir: os.PathLike | str,
    distilled: Mapping[str, DistilledSet] = {},
    resume: bool = False,
    overwrite: bool = False,
    data: RealData | None = None,
) -> list[dict[str, Any]]:
    """Measures floors and sets, and keeps them in `output_dir`.

    Every set sees the same networks, batches and augmentation. Real images of a set
    may be among those of a batch.

    Args:
        config: The settings of data, networks, augmentation and DataDAM.
        study: What is measured.
        output_dir: Made if missing; gets `results.jsonl`, `table.md`, `figure.png`,
            `trials.jsonl` and `settings.json`.
        distilled: Sets that are measured beside the initial images, by name. They are
            preprocessed as the real images here.
        resume: Continue the study that lies there; it may have other norms, batches,
            sets and networks.
        overwrite: Replace the study that lies there.
        data: The real data; loaded as `config.dataset` says if left out.

    Returns:
        The lines of `report.summarize`.

    Raises:
        UserError: something given cannot be used.

    Example:
        >>> import tempfile
        >>> from dam_tf import make_config
        >>> small = {"network.width": 4, "distillation.jit": "none"}
        >>> study = AttentionConfig((1.0,), ("batch",), (8,), ("random",), (2,), 1)
        >>> config = make_config(overrides=small)
        >>> floor, chosen = measure_attention(config, study, tempfile.mkdtemp())
        >>> floor["set"], chosen["set"], chosen["over_floor"]["sam"][0] > 1
        ('floor', 'random', True)
    """
    config = with_absolute_paths(config)
    settings = study.settings(config)
    check_each_once("sets", [*dict.fromkeys(study.inits), *distilled, report.FLOOR])

    def check(found: RealData | Contents) -> None:
        _check(config, study, distilled, found)

    with Trials(output_dir, settings, resume, overwrite) as trials:
        data = checked_data(data, config.dataset, check)
        keep_identity(trials, data)
        study_of = _Study(config, study, distilled, data)
        keys = study_of.keys()
        found = trials.run(keys, study_of.trial, "Measuring")
        resolved = resolve(config, data.image_shape)
        matched, blocks = study_of.layers()
        lines = report.summarize(
            zip(keys, found, strict=True), study.powers, matched, blocks, resolved
        )
        folder = pathlib.Path(output_dir)
        write_json_lines(folder / report.RESULTS, lines)
        with atomic_file(folder / report.TABLE) as temporary:
            temporary.write_text(report.table(lines), encoding="utf-8")
        report.draw(lines, folder / report.FIGURE)
    return lines


def by_class(distilled: DistilledSet, name: str) -> np.ndarray:
    """Returns a set's images, pixels, `[classes, ipc, h, w, c]`.

    Raises:
        UserError: its classes have different numbers of images.

    Example:
        >>> images = np.zeros([2, 8, 8, 1], np.float32)
        >>> by_class(DistilledSet(images, [1, 0], ("cat", "dog")), "pets").shape
        (2, 1, 8, 8, 1)
    """
    counts = np.bincount(distilled.labels, minlength=distilled.num_classes)
    if counts.min() < counts.max():
        raise UserError(
            f"the classes of {name} have {counts.min()} to {counts.max()} images; "
            "attention is measured where each class has as many"
        )
    order = np.argsort(distilled.labels, kind="stable")
    shape = [len(counts), counts[0], *distilled.image_shape]
    return distilled.images[order].reshape(shape)


class _Study:
    """What the trials share."""

    def __init__(
        self,
        config: Config,
        study: AttentionConfig,
        distilled: Mapping[str, DistilledSet],
        data: RealData,
    ):
        self._config, self._study, self._data = config, study, data
        self._distilled = {name: by_class(one, name) for name, one in distilled.items()}
        self._per_class = _per_class(study, self._distilled)
        self._preprocessing: Preprocessing | None = None
        self._sets: dict[tuple, np.ndarray] = {}
        self._measurements: dict[str, Measurement] = {}
        self._target: tuple = (None, None)  # the last one, and what it is of

    def keys(self) -> list[list]:
        """Returns the trials: norm, batch, network, and a set."""
        sets = [_FLOOR, *([init, ipc, ""] for init, ipc in self._study.chosen())]
        for name, images in self._distilled.items():
            sets.append([name, images.shape[1], fingerprint(images)])
        return [
            [norm, batch, network, *one]
            for norm in self._study.norms
            for batch in self._study.batches
            for network in range(self._study.networks)
            for one in sets
        ]

    def layers(self) -> tuple[tuple[int, ...], int]:
        """Returns the blocks that are matched, and how many there are."""
        norm = self._study.norms[0]
        task = _task(self._config, norm, self._study, self._data, self._per_class)
        terms = Terms(task, self._study.powers)
        return terms.matched, terms.blocks

    def trial(self, key: Sequence) -> dict[str, Any]:
        """Measures a floor or a set, ready for JSON."""
        norm, batch, network, name, ipc, _ = key
        measurement = self._measurement(norm)
        seed = self._config.distillation.seed
        theta, parameters = drawn = measurement.draw(
            tensor_seed(seed, Purpose.MEASURED_NETWORK, network)
        )
        if self._target[0] != (norm, batch, network):
            vectors = measurement.real_vectors(
                self._batch(batch, network, 0), parameters, theta
            )
            self._target = (norm, batch, network), vectors
        target = self._target[1]
        if name == report.FLOOR:
            other = self._batch(batch, network, 1)
            other = measurement.real_vectors(other, parameters, theta)
            found = measurement.between(target, other)
        else:
            found = measurement.of_set(target, self._images(name, ipc), *drawn[::-1])
        return {what: np.asarray(value).tolist() for what, value in found.items()}

    def _batch(self, batch: int, network: int, part: int) -> np.ndarray:
        """The first or the second batch of a network, uint8 [classes, n, h, w, c]."""
        train, seed = self._data.train, self._config.distillation.seed
        images = []
        for label, size in enumerate(train.counts):
            generator = numpy_generator(seed, Purpose.MEASURED_BATCH, network, label)
            rows = generator.permutation(int(size))[part * batch : (part + 1) * batch]
            images.append(train.take(train.offsets[label] + np.sort(rows)))
        return np.stack(images)

    def _measurement(self, norm: str) -> Measurement:
        if norm not in self._measurements:
            self._measurements.clear()  # trials of a norm are neighbours
            self._measurements[norm] = Measurement(
                _task(self._config, norm, self._study, self._data, self._per_class),
                self._study.powers,
                self._per_class,
                self._fitted(),
            )
        return self._measurements[norm]

    def _images(self, name: str, ipc: int) -> np.ndarray:
        """A set in model space, float32 [classes, ipc, h, w, c]."""
        if (name, ipc) not in self._sets:
            if name in self._distilled:
                pixels = self._distilled[name]
                flat = pixels.reshape(-1, *pixels.shape[2:])
                seen = np.asarray(self._fitted()(flat), np.float32)
                self._sets[name, ipc] = seen.reshape(pixels.shape)
            else:
                config = replace(
                    self._config, distillation__init=name, distillation__ipc=ipc
                )
                self._sets[name, ipc] = initial_images(
                    self._data.train,
                    self._data.class_names,
                    config.distillation,
                    self._fitted(),
                )
        return self._sets[name, ipc]

    def _fitted(self) -> Preprocessing:
        if self._preprocessing is None:
            self._preprocessing = fit_to_data(self._config.dataset, self._data)
        return self._preprocessing


def _per_class(study: AttentionConfig, sets: Mapping[str, np.ndarray]) -> int:
    """Images per class of the largest set; 1 where there is none."""
    chosen = [ipc for _, ipc in study.chosen()]
    return max([1, *chosen, *(one.shape[1] for one in sets.values())])


def _task(
    config: Config,
    norm: str,
    study: AttentionConfig,
    data: RealData | Contents,
    per_class: int,
) -> Task:
    """What a run of the largest batch and set would know."""
    config = replace(
        config,
        network__norm=norm,
        method__power=study.powers[0],
        distillation__batch_real=max(study.batches),
        distillation__ipc=per_class,
    )
    return Task(resolve(config, data.image_shape), data.image_shape, data.class_names)


def _check(
    config: Config,
    study: AttentionConfig,
    distilled: Mapping[str, DistilledSet],
    data: RealData | Contents,
) -> None:
    """Refuses what a measurement would refuse, before images are read."""
    check_batches(study.batches, data)
    for init, ipc in study.chosen():
        if init != "noise":
            counts = [ipc] * len(data.class_names)
            check_ipc(data.train, data.class_names, counts)
    sets = {}
    for name, one in distilled.items():
        check_match(one, data)
        sets[name] = by_class(one, name)
    for norm in study.norms:
        task = _task(config, norm, study, data, _per_class(study, sets))
        Terms(task, study.powers)
