"""Says when images run away: the learning rate is too large, but all stays finite."""

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from dam_tf.base.messages import log
from dam_tf.data.preprocessing.preprocessing import Preprocessing
from dam_tf.data.real_data import RealData
from dam_tf.synthetic.initial import in_model_space

# How many times the spread of real images an image may have. With the paper's settings
# it is about 10 (digits, 10 classes, 500 iterations), with ten times their learning
# rate 60, with a hundred times 560.
_FAR = 100
_SAMPLE = 256  # real images that tell the spread


class Runaway(keras.callbacks.Callback):
    """Warns, once, where an image has left the range of real ones far behind.

    Args:
        data: The real data.
        preprocessing: A layer, pixels in 0..1 to model space.
        learning_rate: Of the images, for the message.
    """

    def __init__(
        self, data: RealData, preprocessing: Preprocessing, learning_rate: float
    ):
        super().__init__()
        total = len(data.train.labels)
        rows = np.unique(np.linspace(0, total - 1, min(total, _SAMPLE)).astype(int))
        real = in_model_space(data.train.take(rows), preprocessing)
        self._spread = float(np.sqrt(np.mean(np.square(real))))
        self._learning_rate, self._said = learning_rate, self._spread == 0

    def on_epoch_end(self, epoch: int, logs: Mapping | None = None) -> None:
        if self._said:
            return
        images = tf.convert_to_tensor(self.model.synthetic.stored)
        squares = tf.reduce_mean(tf.square(images), axis=list(range(1, images.ndim)))
        times = float(tf.sqrt(tf.reduce_max(squares))) / self._spread
        if times > _FAR:
            self._said = True
            log.warning(
                "The images run away: by iteration %s, values of one are %s times as "
                "large as those of real images. Networks will hardly learn from them, "
                "and 8-bit exports cannot hold them; try a smaller "
                "distillation.learning_rate than %g.",
                f"{epoch:,}",
                f"{times:,.0f}",
                self._learning_rate,
            )
