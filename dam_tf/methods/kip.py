"""KIP: kernel inducing points (Nguyen et al., ICLR 2021, and NeurIPS 2021)."""

from collections.abc import Iterator

import keras
import tensorflow as tf

from dam_tf.base.devices import replica_id
from dam_tf.config.kernels import KIPSettings
from dam_tf.data.sampling import ClassBatch
from dam_tf.methods.kernel_regression import InfiniteRegression, ridge_weights
from dam_tf.methods.method import Gradients, Logs, Task
from dam_tf.methods.optimizers import adam
from dam_tf.synthetic.regression_set import centred_one_hot
from dam_tf.synthetic.synthetic_set import SyntheticSet


class KIP(InfiniteRegression):
    """Images that a kernel ridge regression answers real images by.

    With S the synthetic images, T a batch of as many real images of each class, and
    centred one-hot labels (1 - 1/C for the class, -1/C for each other):

        answers = K_TS (K_SS + r tr(K_SS)/n I)^-1 Y_S
        loss = 1/2 mean over all entries of (answers - Y_T)^2

    The kernel K is that of a network of infinite width (`infinite_network.py`), so no
    network is trained or drawn. Adam moves the images, and the labels Y_S where they
    are learned; then the set carries them as soft labels (`probabilities`), and the
    most probable class of each image as its label. Kernel, solution and loss are
    float64, the images and labels float32, which hold them to seven digits.

    Settings are those of the authors' notebook (google-research, folder kip). Its
    batch of 5,000 real images is `distillation.batch_real` images of each class here,
    500 for ten classes; for a hundred give 50. `distillation.momentum` is Adam's
    beta_1. The kernel of convolutions with pooling, by which the paper's best numbers
    were found, costs (h w)^2 values a pair of images instead of h w, and is not here.

    Example:
        >>> KIP(depth=2, labels="learned").settings.kernel
        'ntk'
    """

    Settings = KIPSettings

    def optimizer(self, name: str, task: Task) -> keras.optimizers.Optimizer:
        del name
        return adam(task.config.distillation)

    def gradients(
        self, synthetic: SyntheticSet, batches: Iterator, iteration: tf.Tensor
    ) -> tuple[Gradients, Logs]:
        del iteration
        batch: ClassBatch = next(batches)
        pixels = tf.reshape(batch.images, [-1, *batch.images.shape[2:]])
        real, labels = (
            self._model_space(pixels),
            tf.repeat(batch.classes, self._batch_real),
        )
        answers = centred_one_hot(labels, self._classes, tf.float64)
        share = len(self._places[replica_id()]) / self._classes
        learned = self._learned(synthetic)
        with tf.GradientTape() as tape:
            tape.watch(learned)
            weights = ridge_weights(
                self._network.within(learned["images"]),
                tf.cast(self._targets(learned), tf.float64),
                self.settings.regularization,
            )
            kernel = self._network.between(real, learned["images"])
            found = tf.linalg.matmul(kernel, weights)
            loss = share * tf.reduce_mean(tf.square(found - answers)) / 2
        gradients = tape.gradient(loss, learned)
        right = tf.equal(tf.argmax(found, axis=1, output_type=labels.dtype), labels)
        accuracy = share * tf.reduce_mean(tf.cast(right, tf.float32))
        return gradients, {"loss": tf.cast(loss, tf.float32), "accuracy": accuracy}
