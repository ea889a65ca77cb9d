"""What a run starts from: preprocessing and images, new or as its folder holds them.

The chief finds them and sends them to the other workers, so that all have the same to
the last bit, and none but the chief needs the run's folder.
"""

import numpy as np

from dam_tf.base.devices import Workers
from dam_tf.base.messages import log
from dam_tf.config.settings import Config
from dam_tf.data.preprocessing.preprocessing import (
    Preprocessing,
    fit_preprocessing,
    load_preprocessing,
)
from dam_tf.data.real_data import RealData
from dam_tf.runs.checkpoints import Checkpoint, load_checkpoint
from dam_tf.runs.folder import RunFolder
from dam_tf.synthetic.initial import initial_images


def run_preprocessing(
    config: Config,
    folder: RunFolder,
    data: RealData,
    workers: Workers,
    preprocessing: Preprocessing | None = None,
) -> Preprocessing:
    """Returns the run's preprocessing; where it has none yet, fits and saves it.

    Args:
        config: The settings.
        folder: Where it may lie already.
        data: Real images, to fit to.
        workers: Those of the run.
        preprocessing: Fitted already, for a run that has none.
    """
    kind = config.dataset.preprocessing_kind
    if not workers.is_chief:
        preprocessing = preprocessing or Preprocessing(kind)
        preprocessing.build((None, *data.image_shape))
    elif folder.preprocessing.exists():
        preprocessing = load_preprocessing(folder.preprocessing)
    else:
        if preprocessing is None:
            if "zca" in kind:
                log.info("Fitting ZCA whitening to the training images.")
            preprocessing = fit_preprocessing(kind, data.train.checked_images())
        preprocessing.save(folder.preprocessing)
    if workers.count > 1:
        for weight in preprocessing.weights:
            weight.assign(workers.of_chief(weight.numpy()))
    return preprocessing


def first_checkpoint(
    config: Config,
    folder: RunFolder,
    data: RealData,
    preprocessing: Preprocessing,
    workers: Workers,
    resume: bool,
) -> tuple[Checkpoint, bool]:
    """Returns the state that the run starts from, and whether it comes from a file.

    Args:
        config: The settings.
        folder: Where a checkpoint may lie.
        data: Real images, of which the first synthetic ones are made.
        preprocessing: A layer, pixels in 0..1 to model space.
        workers: Those of the run.
        resume: Whether a checkpoint is looked for; the chief decides.
    """
    settings = config.distillation
    shape = (data.num_classes, settings.ipc, *data.image_shape)
    zeros = np.zeros(shape, np.float32)
    averaged = settings.ema_decay > 0
    checkpoint, kept = Checkpoint(0, zeros, zeros, zeros), False
    if workers.is_chief:
        found = None
        if resume:
            found = load_checkpoint(folder.checkpoints, shape, averaged)
            if found is None:
                log.info("No checkpoint yet in %s: starting anew.", folder.path)
        if found is None:
            images = initial_images(
                data.train, data.class_names, settings, preprocessing
            )
            checkpoint = Checkpoint(0, images, zeros, images)
        else:
            checkpoint, kept = found, True
    iteration, kept = workers.of_chief(np.array([checkpoint.iteration, kept]))
    images = workers.of_chief(checkpoint.images)
    momentum = workers.of_chief(checkpoint.momentum)
    average = workers.of_chief(checkpoint.average) if averaged else None
    return Checkpoint(int(iteration), images, momentum, average), bool(kept)
