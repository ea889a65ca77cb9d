"""What the networks of a search are trained on: proxies of the whole set, and it.

A proxy is a distilled set, random real images, or a training on everything that is
stopped early (section 4.5 of the paper).
"""

import abc
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dam_tf.config.settings import Config, replace
from dam_tf.data.preprocessing.preprocessing import Preprocessing
from dam_tf.data.real_data import RealData, Split
from dam_tf.evaluation.scheduling import train_and_test
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.training.on_distilled import trainer_of
from dam_tf.training.trainer import Trainer

RANDOM, EARLY_STOPPING, WHOLE = "random", "early_stopping", "whole"

# Called with the epochs done, and the predictions of the networks that are trained.
Progress = Callable[[int, Sequence[np.ndarray]], Any]


class Proxy(abc.ABC):
    """What networks are trained on.

    Attributes:
        name: What it is called.
        images: How many images are kept for it.
        content: Tells it from others of its name.
    """

    name: str
    images: int
    content: str = ""

    @abc.abstractmethod
    def train_and_test(
        self, config: Config, test: Split, on_progress: Progress
    ) -> list[np.ndarray]:
        """Trains networks from scratch, and returns what each takes images for.

        Args:
            config: Its network, augmentation and evaluation sections and its seed.
            test: The images, uint8.
            on_progress: Called now and then.

        Returns:
            An int64 `[len(test.images)]` for each of `evaluation.networks` networks.

        Raises:
            UserError: the network cannot take images of this size.
        """


class SetProxy(Proxy):
    """A small set: distilled, or random real images.

    Args:
        name: What it is called.
        images: The set.
    """

    def __init__(self, name: str, images: DistilledSet):
        self.name, self._set = name, images
        self.images = len(images.images)
        self.content = hashlib.sha256(
            images.images.tobytes() + images.labels.tobytes()
        ).hexdigest()[:16]

    def train_and_test(self, config, test, on_progress):
        trainer = trainer_of(self._set, config)
        return train_and_test(trainer, test, config.evaluation, on_progress)


class WholeSet(Proxy):
    """All real images.

    Args:
        data: Whose training split it is.
        preprocessing: Fitted to it.
        epochs: Passes over it, in place of `evaluation.epochs`.
    """

    name = WHOLE

    def __init__(self, data: RealData, preprocessing: Preprocessing, epochs: int):
        self._data, self._preprocessing, self._epochs = data, preprocessing, epochs
        self.images = len(data.train.images)

    def train_and_test(self, config, test, on_progress):
        config = replace(config, evaluation__epochs=self._epochs)
        trainer = _trainer(self._data, config, self._preprocessing)
        return train_and_test(trainer, test, config.evaluation, on_progress)


class EarlyStopping(Proxy):
    """All real images, but no more updates than a small set would have.

    Whole passes, and then as many batches of one more as are due. The learning rate
    goes by those passes.

    Args:
        data: Whose training split it is.
        preprocessing: Fitted to it.
        proxy_images: Images of the small set.
    """

    name = EARLY_STOPPING

    def __init__(self, data: RealData, preprocessing: Preprocessing, proxy_images: int):
        self._data, self._preprocessing = data, preprocessing
        self._proxy_images = proxy_images
        self.images = len(data.train.images)

    def updates(self, config: Config) -> int:
        """Returns how often a network is updated in `evaluation.epochs` of a set."""
        batches = -(-self._proxy_images // config.evaluation.batch_size)
        return config.evaluation.epochs * batches

    def train_and_test(self, config, test, on_progress):
        size = min(config.evaluation.batch_size, self.images)
        passes, rest = divmod(self.updates(config), -(-self.images // size))
        config = replace(config, evaluation__epochs=passes + (rest > 0))
        trainer = _trainer(self._data, config, self._preprocessing)
        done: list[np.ndarray] = []
        zero, passes, rest = map(tf.constant, (0, passes, rest))
        for index in map(tf.constant, range(config.evaluation.networks)):
            state = trainer.initial_state(index)
            for epoch in range(passes):
                first, last = tf.constant(epoch), tf.constant(epoch + 1)
                (state,) = trainer.train([state], [index], first, last)
                on_progress(len(done) * config.evaluation.epochs + epoch + 1, done)
            if rest:
                state = trainer.train_batches(state, index, passes, zero, rest)
                on_progress((len(done) + 1) * config.evaluation.epochs, done)
            done.append(trainer.predict(state, test.checked_images()).argmax(axis=1))
            on_progress(len(done) * config.evaluation.epochs, done)
        return done


def _trainer(data, config, preprocessing):
    train = data.train
    return Trainer(
        train.checked_images(), train.labels, data.num_classes, config, preprocessing
    )
