"""A whole run: settings in, real data through the distiller, a distilled set out.

It owns the run's folder, and makes everything in memory before it deletes or writes
anything there; `runs.progress` iterates.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Sequence

import keras
import tensorflow as tf

from dam_tf.base.devices import Workers
from dam_tf.base.errors import UserError
from dam_tf.config.places import with_absolute_paths
from dam_tf.config.settings import Config, replace, resolve
from dam_tf.data.loading import checked_data
from dam_tf.data.preprocessing.preprocessing import Preprocessing
from dam_tf.data.real_data import RealData, named
from dam_tf.methods.experts import missing_experts
from dam_tf.methods.method import Method, Task
from dam_tf.methods.registry import create
from dam_tf.networks.pools import NetworkPool
from dam_tf.runs.checks import check_distillation
from dam_tf.runs.extension import Extended
from dam_tf.runs.first import Train, check_training
from dam_tf.runs.folder import RunFolder
from dam_tf.runs.progress import Run
from dam_tf.runs.provenance import tell_start
from dam_tf.synthetic.distilled_set import DistilledSet


def distill(
    config: Config,
    output_dir: os.PathLike | str,
    resume: bool = False,
    overwrite: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    data: RealData | None = None,
    preprocessing: Preprocessing | None = None,
    networks: NetworkPool | None = None,
    strategy: tf.distribute.Strategy | None = None,
    method: Method | None = None,
    train: Train | None = None,
) -> DistilledSet:
    """Distils a data set as `config` says, and keeps the run in `output_dir`.

    On Ctrl-C or SIGTERM it saves a checkpoint and stops; a resumed run ends with
    exactly the images of one that was never stopped (on the same device).

    Args:
        config: The settings, from `dam_tf.make_config`.
        output_dir: The run's folder; made if missing. Where there are several
            workers, only the chief reads and writes it.
        resume: Continue the run that lies there, if one does.
        overwrite: Replace the run that lies there.
        callbacks: More Keras callbacks: a batch is a call of the compiled loop,
            an epoch the iterations between two lines of metrics.
        data: The real data; loaded as `config.dataset` says if left out. Their name
            is what the run records.
        preprocessing: Fitted already; to the training images if left out. A
            resumed run keeps the one in its folder.
        networks: Networks to match through; random ones if left out. The run records
            which, and is resumed with the same only.
        strategy: Devices and workers that share an iteration, such as
            `tf.distribute.MirroredStrategy()`; one device if left out.
        method: How the images are learned; as `config.method` says if left out.
        train: `training.experts.train_missing`, to train networks that the method
            lacks, where its settings ask for that; if left out, they must be there.

    Returns:
        The distilled set, which also lies in `output_dir`.

    Raises:
        UserError: something given cannot be used; as `DivergedError`, the loss
            became infinite or not a number.
        Interrupted: a signal stopped the run; its state is saved.
        WorkerLost: another worker has stopped.

    Example:
        >>> import tempfile
        >>> from dam_tf import make_config
        >>> settings = {"distillation.iterations": 2, "distillation.batch_real": 4}
        >>> network = {"network.width": 8, "network.depth": 1}
        >>> config = make_config(overrides={**settings, **network})
        >>> distill(config, tempfile.mkdtemp()).images.shape
        (10, 8, 8, 1)
    """
    workers, folder = Workers(strategy), RunFolder(pathlib.Path(output_dir))
    if method is not None:
        config = dataclasses.replace(config, method=method.settings)
    if data is not None:
        config = replace(config, dataset__name=data.name)
    config = with_absolute_paths(config)
    method = method or create(config.method)
    replicas = workers.strategy.num_replicas_in_sync
    others = {"method": method, "networks": networks, "replicas": replicas}
    check = functools.partial(check_distillation, config, **others)
    check_first = functools.partial(check, trains=train is not None)
    with folder.written(config, resume, overwrite, workers.is_chief) as holds:
        data = checked_data(data, config.dataset, check_first)
        data = named(data, config.dataset.name)
        given, config = config, resolve(config, data.image_shape)
        shape, names = data.image_shape, data.class_names
        extended = Extended.of(config, shape, names, data)
        if extended and extended.folder.path.resolve() == folder.path.resolve():
            raise UserError(
                f"run {folder.path} cannot extend itself; give another folder"
            )
        if train and missing_experts(given):
            check_training(config, workers, data, folder if holds and resume else None)
            preprocessing = train(given, data, preprocessing)
            check(data)  # now that they are there
        kept = extended.ipc if extended else 0
        task = Task(config, shape, names, networks, replicas, data=data, kept=kept)
        if workers.is_chief:
            flips = method.settings.augments and method.settings.flips
            tell_start(data, config.augmentation if flips else None)
        with workers.watched():
            run = Run(task, method, folder, data, workers, preprocessing, extended)
            run.begin(resumed=holds and resume)
            return run.loop(callbacks)
