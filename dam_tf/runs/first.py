"""What a run begins with: its preprocessing, its first images, networks it trains.

Preprocessing and images come from its folder, from the run that it extends, from the
user, or from the data, in this order.
"""

from collections.abc import Callable

import numpy as np

from dam_tf.base.devices import Workers
from dam_tf.base.errors import UserError
from dam_tf.config.experts import role_of
from dam_tf.config.settings import Config
from dam_tf.data.preprocessing.preprocessing import (
    Preprocessing,
    fit_to_data,
    load_preprocessing,
)
from dam_tf.data.real_data import RealData
from dam_tf.methods.method import Task
from dam_tf.runs.extension import Extended
from dam_tf.runs.folder import RunFolder
from dam_tf.runs.provenance import check_preprocessing, check_run_data
from dam_tf.synthetic.initial import initial_images

# Trains the networks that the method lacks, on the run's data and preprocessing, which
# is fitted if it is not given, and returned.
Train = Callable[[Config, RealData, Preprocessing | None], Preprocessing]


def check_training(
    config: Config, workers: Workers, data: RealData, resumed: RunFolder | None
) -> None:
    """Raises a `UserError` where a run must not train its networks before it begins.

    Args:
        config: With everything filled in.
        workers: Only one may train.
        data: What they are trained on.
        resumed: The run that goes on, if one does: it must be of the same data.
    """
    if workers.count > 1:
        raise UserError(
            "method.train_networks is for one worker; train the networks first, with "
            f"`python -m dam_tf {role_of(config.method).command}`"
        )
    if resumed:
        resumed.check_same(config)
        check_run_data(resumed, data)


def first_preprocessing(
    task: Task,
    workers: Workers,
    given: Preprocessing | None,
    resumed: RunFolder | None,
    extended: Extended | None,
) -> Preprocessing:
    """Returns a run's preprocessing, the same for all workers.

    Args:
        task: With the data.
        workers: The chief finds it, and sends it to the others.
        given: By the user, if any.
        resumed: The run that goes on, if one does.
        extended: What the run extends, if anything.

    Raises:
        UserError: the one that is given is not that of the folder.
    """
    config, found = task.config.dataset, given
    if not workers.is_chief:
        found = found or Preprocessing(config.preprocessing_kind)
        found.build((None, *task.image_shape))
    elif resumed and resumed.preprocessing.exists():
        found = load_preprocessing(resumed.preprocessing)
        check_preprocessing(resumed.path, found, given)
    elif extended:
        found = extended.preprocessing
        check_preprocessing(extended.folder.path, found, given, "extend")
    elif found is None:
        found = fit_to_data(config, task.data)
    if workers.count > 1:
        for weight in found.weights:
            weight.assign(workers.of_chief(weight.numpy()))
    return found


def first_images(
    task: Task,
    preprocessing: Preprocessing,
    are_needed: bool,
    extended: Extended | None,
) -> np.ndarray | list[np.ndarray]:
    """Returns initial images in model space, by class, as of `SyntheticSet`.

    Args:
        task: With the data.
        preprocessing: The run's.
        are_needed: Give zeros if not, as others will take their place.
        extended: What the run extends, if anything: those are there in any case.
    """
    settings, data = task.config.distillation, task.data
    if are_needed:
        names = data.class_names
        images = initial_images(data.train, names, settings, preprocessing)
    else:
        images = [
            np.zeros([count, *data.image_shape], np.float32) for count in task.counts
        ]
    if extended:
        images = np.stack(images)
        images[:, : extended.ipc] = extended.in_model_space(preprocessing)
    return images
