"""`dam_tf.distill`: data of any kind and keywords in, a distilled set out."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dam_tf.base.errors import UserError
from dam_tf.base.interruption import Interrupted
from dam_tf.base.json_lines import read_json_lines
from dam_tf.base.messages import log
from dam_tf.config.keywords import (
    augmentation_values,
    is_settings,
    named_or_section,
    preprocessing_values,
    refuse_unknown,
    section_values,
    settings_of,
    with_keywords,
)
from dam_tf.config.methods import MethodSettings
from dam_tf.config.presets import BEST, make_config, own_settings
from dam_tf.config.settings import (
    AugmentationConfig,
    Config,
    DistillationConfig,
    NetworkConfig,
)
from dam_tf.data.catalog import ARRAYS
from dam_tf.data.real_data import RealData
from dam_tf.runs.folder import RunFolder

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from dam_tf.api import Arrays, Data, Path
    from dam_tf.data.preprocessing.preprocessing import Preprocessing
    from dam_tf.methods.method import Method
    from dam_tf.networks.pools import NetworkPool
    from dam_tf.synthetic.distilled_set import DistilledSet


def distill(
    data: Data | Config | Path,
    /,
    labels: Arrays | None = None,
    *,
    ipc: int | None = None,
    images_per_class: str | Sequence[int] | None = None,
    method: str | Method | MethodSettings | None = None,
    network: str | NetworkConfig | None = None,
    class_names: Sequence[str] | None = None,
    pixel_range: tuple[float, float] | None = None,
    image_size: int | None = None,
    max_classes: int | None = None,
    preprocessing: str | Preprocessing | None = None,
    augmentation: Sequence[str] | AugmentationConfig | None = None,
    data_dir: str | None = None,
    preset: str | None = None,
    config: Config | Path | None = None,
    init: str | None = None,
    extends: str | Path | None = None,
    formation: str | None = None,
    iterations: int | None = None,
    batch_real: int | None = None,
    classes_per_step: int | None = None,
    learning_rate: float | None = None,
    momentum: float | None = None,
    ema_decay: float | None = None,
    precision: str | None = None,
    jit: str | None = None,
    seed: int | None = None,
    checkpoint_every: int | None = None,
    log_every: int | None = None,
    snapshot_every: int | None = None,
    snapshot_at: Sequence[int] | None = None,
    output_dir: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] | keras.callbacks.Callback = (),
    strategy: tf.distribute.Strategy | None = None,
    networks: NetworkPool | None = None,
    **unknown: Any,
) -> DistilledSet:
    """Distils labelled images into a few synthetic images per class.

    A setting that is left out is that of `config`, if given; for a data set of the
    catalog that of its own file (`configs/<name>.toml`); else the default.

    Args:
        data: Images [n, height, width] or [n, height, width, 1 or 3], as uint8 or
            floating point within 0 to 1 (see `pixel_range`); a `tf.data.Dataset` of
            (image, label); the name of a data set: one of the catalog, `folder:PATH`,
            `npz:PATH` or one of TensorFlow Datasets; or what `dam_tf.load_dataset`
            returned. Or a `Config`, or the path of its TOML file, with the output
            folder next to it: `distill(config, "runs/x")`.
        labels: Of images: whole numbers or texts [n] or [n, 1], or one-hot.
        ipc: Synthetic images per class; 1 by default.
        images_per_class: How they are shared out: "equal" (the default);
            "proportional" to the real images of a class, with `ipc` the mean; or a
            number for each class, such as [5, 3, 1], in the order of their names.
        method: "datadam" (the default), "dm", "dc" or another of `dam_tf.methods`, or a
            method with settings, such as `dam_tf.methods.DataDAM(power=2)`. Or "best",
            the settings that measured best for a data set and an `ipc`.
        network: "convnet" (the default), "resnet18_ap" or another architecture, or
            `dam_tf.NetworkConfig(width=64)`.
        class_names: In the order of the labels; found in the labels if left out.
        pixel_range: The values of black and white of images that are neither uint8
            nor floating point within 0 to 1, such as (-1, 1).
        image_size: Resize the images to this height and width.
        max_classes: Keep only the first classes.
        preprocessing: What networks see: "standardize" (the default), "zca" or "none",
            or a fitted layer.
        augmentation: The operations of DSA, such as ["color", "crop"], none for an
            empty list, or `dam_tf.AugmentationConfig(...)`. By default all six, where
            the images are digits without the flip.
        data_dir: Where a named data set lies, or is downloaded to.
        preset: "paper" (the default) or "reference", the authors' code.
        config: Settings to start from, or their TOML file.
        init: Initial images: "random" (real ones, the default), "k-center" or "noise".
        extends: The folder of a finished run with a smaller ipc, whose images stay as
            they are, the first of each class; the others are learned beside them.
        formation: How images are stored: "raw" (the default), or "factor:2" for four of
            each.
        iterations: Updates of the synthetic images; 8000 by default.
        batch_real: Real images per class and iteration; 256 by default.
        classes_per_step: Classes, drawn anew, that an iteration moves; all by default.
        learning_rate: Of the images; 1 up to 50 images per class, else 10.
        momentum: Of the images' SGD; 0.5 by default.
        ema_decay: Share of the images' moving average that an update keeps. Where it
            is not 0, the average is what is distilled.
        precision: "float32" (the default) or "bfloat16", of real images' maps.
        jit: The compiler of the step: "xla" (the default) or "none".
        seed: Decides every random choice; 0 by default.
        checkpoint_every: Iterations between checkpoints.
        log_every: Iterations between entries of the history; 10 by default.
        snapshot_every: Iterations between images that are kept in `output_dir`.
        snapshot_at: More iterations whose images are kept.
        output_dir: The run's folder: checkpoints, metrics, a picture. Left out,
            nothing is kept but what is returned.
        resume: Continue the run in `output_dir`, if one lies there.
        overwrite: Replace the run in `output_dir`.
        callbacks: Keras callbacks, or one. A batch is a call of the compiled loop, an
            epoch the iterations between two entries of the history.
        strategy: Devices that share the work; one device if left out.
        networks: A pool of stored networks to match through; random ones if left out.
        **unknown: Refused, with the nearest keyword.

    Returns:
        The set. Its `history` has the losses, by name, one value for every
        `log_every` iterations; `history["iteration"]` says after which.

    Raises:
        UserError: something given cannot be used; as `DivergedError`, the loss became
            infinite or not a number.
        Interrupted: Ctrl-C or SIGTERM stopped the run; in `output_dir` its state is
            kept.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).integers(0, 256, [20, 8, 8], np.uint8)
        >>> y = ["cat", "dog"] * 10
        >>> small = NetworkConfig(width=8, depth=1)
        >>> distilled = distill(x, y, ipc=2, iterations=4, log_every=2, network=small)
        >>> distilled.images.shape, distilled.class_names
        ((4, 8, 8, 1), ('cat', 'dog'))
        >>> distilled.history["iteration"], len(distilled.history["loss"])
        ([2.0, 4.0], 2)
    """
    extends = None if extends is None else os.fspath(extends)
    if hasattr(images_per_class, "__iter__") and not isinstance(images_per_class, str):
        images_per_class = ",".join(map(str, images_per_class))
    values = dict(locals())
    if is_settings(data):
        if config is not None:
            raise UserError("config is given twice: first, and as a keyword")
        config, output_dir = data, labels if output_dir is None else output_dir
        data, labels = unknown.pop("data", None), None
    refuse_unknown(unknown, distill)
    if resume and output_dir is None:
        raise UserError("resume=True needs output_dir, the folder of the run")
    chosen = getattr(method, "settings", method)  # a name or settings
    named = None if chosen == BEST else chosen
    method_value = named_or_section("method", named, MethodSettings)
    settings = with_keywords(
        settings_below(data, config, preset, chosen, values),
        **section_values("distillation", DistillationConfig, values),
        **method_value,
        **named_or_section("network", network, NetworkConfig),
        **augmentation_values(augmentation),
        **preprocessing_values(preprocessing),
        dataset__name=data if isinstance(data, str) else None,
        dataset__data_dir=data_dir,
        dataset__image_size=image_size,
        dataset__max_classes=max_classes,
    )
    from dam_tf.api.objects import callback_list, check_pool, check_strategy
    from dam_tf.data.sources.memory import as_real_data
    from dam_tf.runs.run import distill as run
    from dam_tf.training.experts import train_missing

    callbacks = callback_list(callbacks)
    check_strategy(strategy)
    check_pool(networks)
    beside = (labels, class_names, pixel_range)  # refused, for data that have a name
    if data is None or (isinstance(data, str) and all(x is None for x in beside)):
        real = None  # the run loads it, once it knows that it may write
    else:
        if config is not None and not isinstance(data, (str, RealData)):
            _say_whose(settings)
        real = as_real_data(
            data, labels, None, class_names, pixel_range, settings.dataset
        )
    with _kept_in(output_dir) as folder:
        distilled = run(
            settings,
            folder,
            resume,
            overwrite,
            callbacks,
            real,
            None if isinstance(preprocessing, str) else preprocessing,
            networks,
            strategy,
            method if hasattr(method, "settings") else None,
            train_missing,
        )
        history = _history(RunFolder(pathlib.Path(folder)).metrics)
    return dataclasses.replace(distilled, history=history)


def settings_below(
    data: Any,
    config: Config | Path | None,
    preset: str | None,
    method: Any = None,
    images: Mapping[str, Any] | None = None,
) -> Config:
    """Returns the settings that keywords stand over, by the data and the preset.

    Args:
        data: As of `distill`.
        config: As of `distill`.
        preset: As of `distill`.
        method: Its name or settings, if given.
        images: Keywords, of which `ipc` and `images_per_class` tell the best method.
    """
    if config is not None:
        if method == BEST:
            raise UserError(f"method={BEST!r} has a config of its own; give one of two")
        if preset is not None:
            raise UserError("preset is a part of config; give one of the two")
        return settings_of(config)
    # The preset says what it means for which method.
    start = {"preset": preset, "method.name": getattr(method, "name", method)}
    for key in ("ipc", "images_per_class") if method == BEST else ():
        start[f"distillation.{key}"] = images[key]
    start = {key: value for key, value in start.items() if value is not None}
    name = data.name if isinstance(data, RealData) else data
    start["dataset.name"] = name if isinstance(name, str) else ARRAYS
    return make_config(overrides=start)


def _say_whose(config: Config) -> None:
    """Warns where arrays get what was meant for another data set."""
    if own := own_settings(config):
        log.warning(
            "config has settings that dam_tf keeps for %s, and these images get them, "
            "too: %s; make_config(overrides={'dataset.name': '%s'}) has none of them",
            config.dataset.name,
            ", ".join(f"{key} = {value}" for key, value in own.items()),
            ARRAYS,
        )


@contextlib.contextmanager
def _kept_in(output_dir: Path | None) -> Iterator[Path]:
    """Yields the run's folder: if none is given, a temporary one, removed at last."""
    if output_dir is not None:
        yield output_dir
        return
    with tempfile.TemporaryDirectory(prefix="dam_tf-") as folder:
        try:
            yield folder
        except Interrupted as error:
            raise Interrupted(
                f"{str(error).partition(';')[0]}; nothing is kept, since no output_dir "
                "was given",
                error.signal_number,
            ) from None


def _history(metrics: pathlib.Path) -> dict[str, list[float]]:
    """Returns what a run has logged, by name; nothing where another worker wrote it."""
    lines = read_json_lines(metrics)
    return {name: [line[name] for line in lines] for name in (lines[:1] or [{}])[0]}
