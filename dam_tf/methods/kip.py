"""KIP: kernel inducing points (Nguyen et al., ICLR 2021, and NeurIPS 2021)."""

from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from dam_tf.base.devices import replica_id
from dam_tf.base.errors import UserError
from dam_tf.config.methods import KIPSettings
from dam_tf.methods.infinite_network import InfiniteNetwork
from dam_tf.methods.kernel_regression import (
    KernelRegression,
    check_kernel_memory,
    ridge_weights,
)
from dam_tf.methods.method import Gradients, Logs, Task
from dam_tf.methods.optimizers import adam
from dam_tf.synthetic.regression_set import RegressionSet, centred_one_hot
from dam_tf.synthetic.synthetic_set import SyntheticSet


class KIP(KernelRegression):
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

    def check(self, task: Task) -> None:
        super().check(task)
        if task.config.distillation.precision != "float32":
            raise UserError(
                f"distillation.precision {task.config.distillation.precision!r} is not "
                f"for method {self.settings.name!r}, whose kernel is float64; leave it "
                "out"
            )
        check_kernel_memory(task)

    def start(self, task: Task, images: np.ndarray) -> SyntheticSet:
        if self.settings.labels == "fixed":
            return super().start(task, images)
        classes, ipc = images.shape[:2]
        labels = np.repeat(np.arange(classes), ipc)
        return RegressionSet(images, centred_one_hot(labels, classes).numpy())

    def optimizer(self, name: str, task: Task) -> keras.optimizers.Optimizer:
        del name
        return adam(task.config.distillation)

    def build(
        self,
        task: Task,
        synthetic: SyntheticSet,
        preprocessing: keras.layers.Layer,
    ) -> None:
        super().build(task, synthetic, preprocessing)
        jit = task.config.distillation.jit == "xla"
        self._network = InfiniteNetwork(self.settings, jit)
        self._seen = tf.function(self._real, jit_compile=jit)
        self._owners = synthetic.owners

    def gradients(
        self, synthetic: SyntheticSet, batches: Iterator, iteration: tf.Tensor
    ) -> tuple[Gradients, Logs]:
        del iteration
        batch = next(batches)
        real, answers = self._seen(batch.images), self._answers(batch.classes)
        share = len(self._places[replica_id()]) / self._classes
        learned = {
            name: tf.convert_to_tensor(variable)
            for name, variable in synthetic.variables_by_name.items()
        }
        with tf.GradientTape() as tape:
            tape.watch(learned)
            found = self._predictions(learned, real)
            loss = share * tf.reduce_mean(tf.square(found - answers)) / 2
        gradients = tape.gradient(loss, learned)
        right = tf.equal(tf.argmax(found, axis=1), tf.argmax(answers, axis=1))
        logs = {"loss": loss, "accuracy": share * tf.reduce_mean(_numbers(right))}
        return gradients, {name: tf.cast(v, tf.float32) for name, v in logs.items()}

    def _predictions(self, learned, real):
        images = learned["images"]
        targets = learned.get("labels")
        if targets is None:
            targets = centred_one_hot(self._owners, self._classes)
        weights = ridge_weights(
            self._network.within(images),
            tf.cast(targets, tf.float64),
            self.settings.regularization,
        )
        return tf.linalg.matmul(self._network.between(real, images), weights)


def _numbers(flags: tf.Tensor) -> tf.Tensor:
    return tf.cast(flags, tf.float64)
