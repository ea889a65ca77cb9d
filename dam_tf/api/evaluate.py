"""`dam_tf.evaluate` and `dam_tf.load`: a set and test images of any kind in."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from typing import TYPE_CHECKING, Any

from dam_tf.base.errors import UserError
from dam_tf.base.messages import log
from dam_tf.config.keywords import (
    is_settings,
    named_or_section,
    refuse_unknown,
    section_values,
    settings_of,
    with_keywords,
)
from dam_tf.config.presets import make_config
from dam_tf.config.settings import Config, EvaluationConfig, NetworkConfig
from dam_tf.data.catalog import ARRAYS, lookup
from dam_tf.runs.folder import run_at

if TYPE_CHECKING:
    import tensorflow as tf

    from dam_tf.api import Arrays, Data, Path
    from dam_tf.evaluation.results import Evaluation
    from dam_tf.synthetic.distilled_set import DistilledSet


def evaluate(
    distilled: DistilledSet | Path,
    /,
    x_test: Data | None = None,
    y_test: Arrays | None = None,
    *,
    test: Data | tuple[Arrays, Arrays] | None = None,
    networks: int | None = None,
    network: str | NetworkConfig | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    momentum: float | None = None,
    weight_decay: float | None = None,
    schedule: str | None = None,
    augmentation: str | None = None,
    cutmix: float | None = None,
    loss: str | None = None,
    label_type: str | None = None,
    recipe: str | None = None,
    networks_at_once: int | None = None,
    seed: int | None = None,
    pixel_range: tuple[float, float] | None = None,
    image_size: int | None = None,
    data_dir: str | None = None,
    config: Config | Path | None = None,
    strategy: tf.distribute.Strategy | None = None,
    **unknown: Any,
) -> Evaluation:
    """Trains fresh networks on a set and tests them on real images.

    A setting that is left out is that of `config`, if given; for a folder of a run
    that of the run; for a set of the catalog's data that of their own file; else the
    default.

    Args:
        distilled: What `distill` returned, or the folder of a run or of a saved set, or
            the npz file of another program's. Where such a file does not say what
            networks see, they see what `config.dataset` makes of the pixels of the
            data set in `test`, if that is one.
        x_test: Test images, as `distill` takes images; or anything that `test` takes.
        y_test: Their labels. Texts are class names, and so are whole numbers where all
            class names are; else those are positions in the class names of the set.
        test: In place of both: a pair (images, labels), a `tf.data.Dataset`, the name
            of a data set or what `dam_tf.load_dataset` returned, whose test images are
            meant. Left out, those of the data that the set was made of, if they have a
            name.
        networks: How many are trained from scratch; 5 by default.
        network: Their architecture, or `dam_tf.NetworkConfig(...)`; "convnet", or that
            of the run, by default.
        epochs: Passes over the set; 1000 by default.
        batch_size: Images per update; 256 by default.
        learning_rate: Of the networks' SGD; 0.01 by default.
        momentum: Of the networks' SGD; 0.9 by default.
        weight_decay: L2 penalty; 0.0005 by default.
        schedule: Of the learning rate: "step" (the default), "paper" or "constant".
        augmentation: Of the training images: "dsa" (the default), "none",
            "autoaugment" or "randaugment".
        cutmix: Share of batches that are mixed by CutMix; 0 by default.
        loss: "cross_entropy" (the default), "kl" or "mse", with soft labels where the
            set has them.
        label_type: "soft" (the default) for those of a set that has some, or "hard".
        recipe: "common" (the default), or "own": as the recipe of the set says, which
            then stands over the keywords above.
        networks_at_once: How many are trained at the same time; by the set if left
            out.
        seed: Decides every random choice; 0, or that of the run, by default.
        pixel_range: The values of black and white of test images that are neither uint8
            nor floating point within 0 to 1.
        image_size: Resize test images to this height and width, if the images of the
            set were.
        data_dir: Where a named data set lies, or is downloaded to.
        config: Settings to start from, or their TOML file.
        strategy: Devices, each of which trains some of the networks.
        **unknown: Refused, with the nearest keyword.

    Returns:
        The accuracies and the confusion matrix; printed, mean and deviation.

    Raises:
        UserError: something given cannot be used, or the test images are of another
            shape or of other classes than the set.

    Example:
        >>> import numpy as np, dam_tf
        >>> grey = np.full([2, 8, 8, 1], 0.5, np.float32)
        >>> distilled = dam_tf.DistilledSet(grey, [0, 1], ("cat", "dog"))
        >>> x_test, y_test = np.zeros([4, 8, 8], np.uint8), ["dog", "cat", "dog", "cat"]
        >>> small = NetworkConfig(width=8, depth=1)
        >>> print(evaluate(
        ...     distilled, x_test, y_test, networks=2, epochs=1, network=small
        ... ))
        50.0 ± 0.0 % over 2 networks
    """
    values = dict(locals())
    data = unknown.pop("data", None)
    if is_settings(x_test):  # evaluate(distilled, config, data)
        config, data, x_test, y_test = x_test, y_test or data, None, None
    refuse_unknown(unknown, evaluate)
    if x_test is not None and test is not None:
        raise UserError("give test images either as x_test, y_test or as test")
    if x_test is not None:
        test = x_test if y_test is None else (x_test, y_test)

    run, file = None, None
    if isinstance(distilled, (str, os.PathLike)):
        from dam_tf.synthetic.npz import npz_file

        if (file := npz_file(distilled)) is None:
            run, distilled = run_at(distilled), load(distilled)
    if config is not None:
        config = settings_of(config)
    elif run is not None:
        config = run.settings()
    else:
        known = distilled if file is None else test or data
        name = known if isinstance(known, str) else getattr(known, "name", "")
        config = make_config(overrides={"dataset.name": name or ARRAYS})
    if isinstance(network, str) and network != config.network.name:
        network = NetworkConfig(network)  # all else is what that architecture is like
    config = with_keywords(
        config,
        **section_values("evaluation", EvaluationConfig, values),
        **named_or_section("network", network, NetworkConfig),
        distillation__seed=seed,
        dataset__data_dir=data_dir,
        dataset__image_size=image_size,
    )
    from dam_tf.api.objects import check_strategy
    from dam_tf.data.sources.memory import test_split
    from dam_tf.evaluation import evaluate as evaluation

    check_strategy(strategy)
    if file is not None:
        distilled, test, config = _set_of_file(file, test or data, config)
    if test is not None:
        split = test_split(
            test,
            distilled.class_names,
            distilled.image_shape,
            pixel_range,
            config.dataset,
        )
        return evaluation.evaluate_on(distilled, split, config, strategy)
    if data is None and not distilled.name:
        raise UserError(
            "the set does not say of which data it is; give test images: x_test, y_test"
        )
    if data is None and distilled.name.startswith(f"{ARRAYS}:"):
        lookup(distilled.name)  # says that the images must be given again
    return evaluation.evaluate(run.path if run else distilled, config, data, strategy)


def _set_of_file(
    file: pathlib.Path, test: Any, config: Config
) -> tuple[DistilledSet, Any, Config]:
    """Returns the set of another program, what it is tested on, and the settings."""
    from dam_tf.data.loading import load_dataset
    from dam_tf.data.real_data import RealData
    from dam_tf.evaluation.evaluate import sets_of_files
    from dam_tf.synthetic.npz import NpzSet

    found = NpzSet.read(file)
    if isinstance(test, str):
        test = load_dataset(dataclasses.replace(config.dataset, name=test))
    if isinstance(test, RealData):
        (one,), config = sets_of_files([found], config, test)
        return one, test, config
    one = found.distilled()
    if one.preprocessing is None:
        log.info("%s does not say what networks see: they are shown pixels.", file)
    return one, test, config


def load(folder: Path) -> DistilledSet:
    """Returns a set that `DistilledSet.save` wrote, or that lies in a run's folder.

    Args:
        folder: The folder that was given to `save`, or to a run as `output_dir`; or an
            npz file of `export`, or of another program (`DistilledSet.from_arrays`).

    Raises:
        UserError: there is no set, or a file of it is missing or damaged.

    Example:
        >>> import numpy as np, tempfile, dam_tf
        >>> grey = np.full([2, 8, 8, 1], 0.5, np.float32)
        >>> folder = tempfile.mkdtemp()
        >>> dam_tf.DistilledSet(grey, [0, 1], ("cat", "dog")).save(folder)
        >>> load(folder).class_names
        ('cat', 'dog')
    """
    from dam_tf.synthetic.distilled_set import DistilledSet
    from dam_tf.synthetic.npz import load_npz, npz_file

    file = npz_file(folder)
    return DistilledSet.load(folder) if file is None else load_npz(file)
