"""What trained networks take images for, as the soft labels of these.

`training/relabel.py` labels finished sets so, and methods that match through a pool of
trained networks those that they learn.
"""

import numpy as np
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.config.sections import NetworkConfig
from dam_tf.methods.experts import check_statistics
from dam_tf.networks.functional import FunctionalNetwork
from dam_tf.networks.trajectories import Experts
from dam_tf.synthetic.distilled_set import DistilledSet

_BATCH = 256  # images that a teacher sees at a time


def teacher_labels(
    distilled: DistilledSet, teachers: Experts, temperature: float = 1.0
) -> np.ndarray:
    """Returns what trained networks take images for, float32 `[n, classes]`.

    Args:
        distilled: Its images, as its preprocessing shows them, are labelled.
        teachers: The networks, of which the mean is taken.
        temperature: See `relabel`.
    """
    images, _ = distilled.to_numpy("network")
    classes, config = distilled.num_classes, network_of(teachers)
    network = FunctionalNetwork(distilled.image_shape, classes, config)
    check_statistics(teachers, len(network.statistic_names))

    @tf.function(reduce_retracing=True, autograph=False)
    def predict(weights, statistics, batch):
        outputs, _ = network.apply(weights, statistics, batch, training=False)
        return tf.nn.softmax(outputs.logits / temperature)

    labels = np.zeros([len(images), classes])
    for number in range(len(teachers)):
        weights, statistics = teachers.network(number, teachers.epochs)
        for first in range(0, len(images), _BATCH):
            part = slice(first, first + _BATCH)
            labels[part] += predict(weights, statistics, images[part]).numpy()
    labels = (labels / len(teachers)).astype(np.float32)
    return labels / labels.sum(axis=1, keepdims=True)


def network_of(teachers: Experts) -> NetworkConfig:
    """Returns the architecture of trained networks, as they were described.

    Raises:
        UserError: the description is damaged.
    """
    try:
        return NetworkConfig(**teachers.made["network"])
    except TypeError as error:
        raise UserError(
            f"the description of the networks in {teachers.folder} is damaged "
            f"({error}); train them anew"
        ) from None
