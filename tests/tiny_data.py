"""Data small enough that a run takes a second: three classes of 8x8 images."""

import dataclasses
import pathlib

import numpy as np

from dam_tf.base.json_lines import append_json
from dam_tf.config.places import with_absolute_paths
from dam_tf.config.settings import Config, read_config, resolve, save_config
from dam_tf.data.loading import load_dataset
from dam_tf.data.preprocessing.preprocessing import fit_preprocessing
from dam_tf.data.real_data import RealData, Split
from dam_tf.evaluation.results import Evaluation
from dam_tf.methods.feature_matching import FeatureMatching
from dam_tf.methods.registry import METHODS
from dam_tf.runs.folder import RunFolder
from dam_tf.runs.provenance import Provenance, settings_fingerprint, versions
from dam_tf.runs.state import save_checkpoint, save_snapshot
from dam_tf.synthetic.distilled_set import DistilledSet

NAMES = ("circle", "cross", "square")


def make_data(per_class=(9, 12, 15), channels=1, size=8, seed=0) -> RealData:
    """Random uint8 images whose classes differ in brightness."""
    rng = np.random.default_rng(seed)

    def split(counts):
        images = np.concatenate(
            [
                rng.integers(80 * k, 80 * k + 90, (count, size, size, channels))
                for k, count in enumerate(counts)
            ]
        ).astype(np.uint8)
        labels = np.repeat(np.arange(len(counts)), counts)
        offsets = np.concatenate([[0], np.cumsum(counts)])
        return Split(images, labels, offsets)

    names, test = (*NAMES, "star", "wave"), split([5] * len(per_class))
    names = names[: len(per_class)]
    return RealData("tiny", names, split(per_class), test)


def save_npz(path, data: RealData) -> str:
    """Writes `data` as the npz file that `npz:PATH` reads; returns that name."""
    np.savez(
        path,
        x_train=data.train.images,
        y_train=data.train.labels,
        x_test=data.test.images,
        y_test=data.test.labels,
    )
    return f"npz:{path}"


def tiny_config(**overrides) -> Config:
    """Settings of a run that takes a second; keys are `section__key`."""
    return read_config(overrides=tiny_overrides(**overrides))


def tiny_overrides(**overrides) -> dict:
    """Those settings by dotted key."""
    values = {
        "network.width": 8,
        "network.depth": 1,
        "distillation.iterations": 6,
        "distillation.batch_real": 4,
        "distillation.ipc": 2,
        "distillation.log_every": 2,
        "distillation.checkpoint_every": 2,
        "distillation.jit": "none",  # compiling it takes longer than running it
        "evaluation.networks": 2,
        "evaluation.epochs": 3,
    }
    values.update({key.replace("__", "."): value for key, value in overrides.items()})
    return values


def made_method(name="datadam", blocks=3, size=32, **settings) -> FeatureMatching:
    """A method as a run of a network of `blocks` on images of `size` has it."""
    method = METHODS[name](**settings)
    config = dataclasses.replace(Config(), method=method.settings)
    method.settings = resolve(config, (size, size, 3)).method
    method.match_blocks(blocks)
    return method


def save_run(folder, dataset="npz:missing", names=NAMES, side=8, seed=0, **overrides):
    """Writes a run as distilling leaves it, without distilling; returns its images.

    It has snapshots at iterations 0, 2 and 4, six iterations and two evaluations.
    Where the data are missing, their fingerprint is made up.
    """
    config = with_absolute_paths(tiny_config(dataset__name=dataset, **overrides))
    dataset = config.dataset.name
    ipc, classes = config.distillation.ipc, len(names)
    rng = np.random.default_rng(seed)
    shape = (classes * ipc, side, side, 1)
    stages = [rng.random(shape, np.float32) * 1.4 - 0.2 for _ in range(4)]
    labels = np.repeat(np.arange(classes), ipc)
    run = RunFolder(folder)
    preprocessing = fit_preprocessing(
        config.dataset.preprocessing_kind,
        rng.integers(0, 256, (20, side, side, 1), np.uint8),
    )
    distilled = DistilledSet(stages[-1], labels, names, preprocessing, dataset)
    distilled.save(folder)
    save_config(config, run.config)
    for iteration, images in zip((0, 2, 4), stages, strict=False):
        save_snapshot(run.snapshots, iteration, images, labels)
    model = np.zeros(shape, np.float32)
    state = {"images": model, "images/momentum": model, "iteration": np.int64(6)}
    save_checkpoint(run.checkpoints, state)
    there = pathlib.Path(dataset.removeprefix("npz:")).exists()
    data = load_dataset(config.dataset).fingerprint if there else "0" * 32
    settings = settings_fingerprint(config)
    made = Provenance(dataset, data, "random", settings, versions())
    made.save(run.provenance)
    for iteration, loss in ((2, 4.0), (4, 2.0), (6, 1.0)):
        line = {"iteration": iteration, "loss": loss, "sam": loss / 2}
        append_json(run.metrics, {**line, "iterations_per_second": 4.0})
    append_json(run.cost, {"first": 0, "last": 6, "seconds": 1.5, "device": "<CPU>"})
    counts = 10 * np.eye(classes, dtype=int) + 5 * np.eye(classes, k=1, dtype=int)
    for accuracies in ((0.25, 0.35), (0.5, 0.7)):
        line = Evaluation(accuracies, counts).record(str(folder), config)
        append_json(run.evaluation, line)
    return dict(zip((0, 2, 4, 6), stages, strict=True))
