"""Where distilled images lie among real ones (Figures 5 and 16).

A network is trained on all real images; t-SNE lays out, in one plane, the embeddings
(before the classifier) of some of them and of the synthetic images of all runs.
"""

import functools
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.base.files import atomic_file
from dam_tf.base.messages import log, progress_bar
from dam_tf.base.npz import Array, read_npz
from dam_tf.base.seeds import Purpose
from dam_tf.base.trials import Trials
from dam_tf.config.settings import Config, settings_that_matter
from dam_tf.data.loading import load_dataset
from dam_tf.data.real_data import RealData
from dam_tf.data.rules import random_rows
from dam_tf.evaluation.evaluate import check_match
from dam_tf.plots.embedding import save_embedding
from dam_tf.runs.folder import RunFolder
from dam_tf.runs.provenance import check_run_data
from dam_tf.studies.checks import check_evaluation
from dam_tf.studies.pictures.runs import fingerprint
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.training.descent import State
from dam_tf.training.trainer import Trainer

PICTURE = "tsne.png"

_TRIAL = "points"  # the only one
_NETWORK = 0  # its number among those for `Purpose.EMBEDDING_NETWORK`
_MOST_REAL = 2000  # real points, unless their number is given


def save_tsne(
    runs: Mapping[str, RunFolder],
    folder: os.PathLike | str,
    overrides: Mapping[str, Any],
    real_per_class: int | None = None,
    perplexity: float = 30.0,
    resume: bool = False,
    overwrite: bool = False,
) -> str:
    """Draws real and synthetic images in the embedding of a trained network.

    All runs share the network, the real points and the plane, so panels can be
    compared. The network is kept after each epoch, so a killed study continues.

    Args:
        runs: By title, as `find_runs` gives them; all of the same data.
        folder: Made if missing; gets `tsne.png`, `settings.json`, `trials.jsonl`
            and `network.npz`.
        overrides: Settings over those of the first run, such as `network.name` and
            `evaluation.epochs`.
        real_per_class: Real training images; up to 200, 2,000 in all, if left out.
        perplexity: Of t-SNE; less where there are few points.
        resume: Continue the study that lies there.
        overwrite: Replace it.

    Returns:
        The path of the picture.

    Raises:
        UserError: the runs are not of the same data.
    """
    config = next(iter(runs.values())).settings(overrides)
    sets = {title: DistilledSet.load(run.path) for title, run in runs.items()}
    _check_same_data(runs)
    settings = {
        "study": "tsne",
        "runs": {title: fingerprint(one.images) for title, one in sets.items()},
        "real_per_class": real_per_class,
        "perplexity": perplexity,
        "seed": config.distillation.seed,
        **_sections(config, "network.", "evaluation.", "augmentation."),
    }
    with Trials(folder, settings, resume, overwrite) as trials:
        data = None
        if _TRIAL not in trials:
            check = functools.partial(check_evaluation, config)
            data = load_dataset(config.dataset, check)
            for title, one in sets.items():
                check_match(one, data)
                check_run_data(runs[title], data)
        if overwrite:
            (trials.folder / "network.npz").unlink(missing_ok=True)

        def trial(_) -> dict[str, Any]:
            return _embed(sets, data, config, trials.folder, real_per_class, perplexity)

        (result,) = trials.run([_TRIAL], trial, "Embedding")
        synthetic = {t: _arrays(points) for t, points in result["sets"].items()}
        path = trials.folder / PICTURE
        names = next(iter(sets.values())).class_names
        save_embedding(_arrays(result["real"]), synthetic, names, path)
    return os.fspath(path)


def _sections(config: Config, *sections: str) -> dict[str, Any]:
    settings = settings_that_matter(config)
    return {key: value for key, value in settings.items() if key.startswith(sections)}


def _check_same_data(runs: Mapping[str, RunFolder]) -> None:
    first: tuple[str, dict] | None = None
    for run in runs.values():
        dataset = _sections(run.settings(), "dataset.")
        if first is None:
            first = str(run.path), dataset
        elif dataset != first[1]:
            raise UserError(
                f"run {run.path} is not of the same data and preprocessing as "
                f"{first[0]}, so they do not fit into one plane; draw them apart"
            )


def _embed(sets, data: RealData, config: Config, folder, real_per_class, perplexity):
    """Trains the network, embeds, lays out; returns points ready for JSON."""
    from sklearn.manifold import TSNE

    preprocessing = next(iter(sets.values())).preprocessing
    train = data.train
    trainer = Trainer(
        train.checked_images(),
        train.labels,
        data.num_classes,
        config,
        preprocessing,
        purpose=Purpose.EMBEDDING_NETWORK,
    )
    state = _train(trainer, config, folder / "network.npz")
    test = trainer.predict(state, data.tested().checked_images()).argmax(axis=1)
    rows = _some_of_each(train, data.num_classes, config, real_per_class)
    images = [train.take(rows), *(one.images for one in sets.values())]
    labels = [train.labels[rows], *(one.labels for one in sets.values())]
    vectors = np.concatenate([trainer.embed(state, some) for some in images])
    log.info("Laying out %s points by t-SNE.", f"{len(vectors):,}")
    points = TSNE(
        perplexity=min(perplexity, max(1.0, (len(vectors) - 1) / 3)),
        init="pca",
        random_state=config.distillation.seed,
    ).fit_transform(vectors)
    parts = np.split(points, np.cumsum([len(some) for some in images])[:-1])
    real, *synthetic = [
        _plain(some, of) for some, of in zip(parts, labels, strict=True)
    ]
    return {
        "test_accuracy": round(float(np.mean(test == data.tested().labels)), 6),
        "accuracy_on_synthetic": {
            title: _accuracy(trainer, state, one) for title, one in sets.items()
        },
        "real": real,
        "sets": dict(zip(sets, synthetic, strict=True)),
    }


def _some_of_each(train, classes: int, config: Config, count: int | None):
    """Returns the rows of random real images, as many of each class."""
    count = count or max(10, min(200, _MOST_REAL // classes))
    sizes, seed = np.diff(train.offsets), config.distillation.seed
    return np.concatenate(
        [
            train.offsets[k] + np.sort(random_rows(size, min(count, size), seed, k))
            for k, size in enumerate(sizes)
        ]
    )


def _train(trainer: Trainer, config: Config, path: pathlib.Path) -> State:
    """Trains the network, or what is missing of it, keeping it after each epoch."""
    epochs = config.evaluation.epochs
    state, first = trainer.initial_state(_NETWORK), 0
    if kept := _read_state(path, state):
        state, first = kept
    bar = progress_bar(
        "Training on all images", "epoch", range(first, epochs), initial=first,
        total=epochs,
    )  # fmt: skip
    for epoch in bar:
        state, right = trainer.train_epoch(state, _NETWORK, epoch)
        bar.set_postfix_str(f"{100 * np.mean(right):.1f} % right", refresh=False)
        with atomic_file(path) as temporary:
            arrays = {str(n): x for n, x in enumerate(tf.nest.flatten(state))}
            np.savez(temporary, epochs=epoch + 1, **arrays)
    return state


def _read_state(path: pathlib.Path, like: State) -> tuple[State, int] | None:
    if not path.exists():
        return None
    flat = tf.nest.flatten(like)
    wanted = {
        str(number): Array(tensor.shape, tensor.dtype.as_numpy_dtype)
        for number, tensor in enumerate(flat)
    }
    try:
        wanted["epochs"] = Array([])
        found = read_npz(path, wanted, "a network of this study")
    except UserError as error:
        log.warning("Training anew: %s", error)
        return None
    epochs = int(found.pop("epochs"))
    tensors = [tf.constant(values) for values in found.values()]
    return tf.nest.pack_sequence_as(like, tensors), epochs


def _accuracy(trainer: Trainer, state: State, one: DistilledSet) -> float:
    taken_for = trainer.predict(state, one.images).argmax(axis=1)
    return round(float(np.mean(taken_for == one.labels)), 6)


def _plain(points: np.ndarray, labels: np.ndarray) -> list[list[float]]:
    """Returns [label, x, y] of each point, ready for JSON."""
    rows = zip(labels, points, strict=True)
    return [[int(k), *(round(float(v), 4) for v in point)] for k, point in rows]


def _arrays(rows: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(rows)
    return table[:, 1:], table[:, 0].astype(int)
