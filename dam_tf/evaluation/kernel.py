"""How well a kernel answers by a set: no network is trained, a regression is solved.

It stands beside `evaluate.py`, for sets that were learned through a kernel: their
papers give this accuracy next to that of finite networks.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from dam_tf.config.kernels import kernel_of
from dam_tf.config.settings import Config
from dam_tf.data.preprocessing.preprocessing import Preprocessing
from dam_tf.data.real_data import RealData
from dam_tf.evaluation.evaluate import check_match
from dam_tf.evaluation.results import Evaluation
from dam_tf.methods.infinite_network import InfiniteNetwork
from dam_tf.methods.kernel_regression import ridge_weights
from dam_tf.synthetic.distilled_set import DistilledSet

_BATCH = 500  # test images whose kernel is computed at once


def kernel_accuracy(
    distilled: DistilledSet, config: Config, data: RealData
) -> Evaluation:
    """Tests kernel ridge regression on a set on the real test split.

    Soft labels are what the regression answers, where the set has them; of a set of
    `regression_set.py` they are the learned targets but for a factor and a constant,
    neither of which changes the class that is answered.

    Args:
        distilled: The set.
        config: The kernel is that of its method (KIP's defaults for another method).
        data: The real data.

    Returns:
        One accuracy, and the confusion matrix.

    Raises:
        UserError: the set is not of the classes or the size of the real images.

    Example:
        >>> from dam_tf import make_config
        >>> from dam_tf.data.loading import load_dataset
        >>> config = make_config()
        >>> data = load_dataset(config.dataset)
        >>> images = np.stack([data.train.class_images(k)[0] for k in range(10)]) / 255
        >>> distilled = DistilledSet(images, np.arange(10), data.class_names)
        >>> kernel_accuracy(distilled, config, data).mean > 0.5
        True
    """
    check_match(distilled, data)
    settings, test = kernel_of(config.method), data.tested()
    network = InfiniteNetwork(settings, config.distillation.jit == "xla")
    images, labels = distilled.to_numpy("network", soft_labels=True)
    targets = tf.constant(labels - labels.mean(axis=1, keepdims=True), tf.float64)
    images = tf.constant(images)
    weights = ridge_weights(network.within(images), targets, settings.regularization)
    preprocessing = distilled.preprocessing or Preprocessing("none")
    answers = []
    for start in range(0, len(test.labels), _BATCH):
        pixels = test.images[start : start + _BATCH]
        missing = _BATCH - len(pixels)  # one shape, so that it is compiled once
        padded = np.pad(pixels, [(0, missing), (0, 0), (0, 0), (0, 0)])
        real = preprocessing(padded.astype(np.float32) / 255)
        found = network.between(real, images) @ weights
        answers.append(np.argmax(found, axis=1)[: len(pixels)])
    found = Evaluation.of([np.concatenate(answers)], test.labels, distilled.num_classes)
    return dataclasses.replace(found, kind="regression")
