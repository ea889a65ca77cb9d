"""Algorithm 1 as a Keras model whose only trainable weights are the images.

It stands between the mathematics (networks, augmentation, matching) and the loop
that feeds it (`distillation.py`).
"""

from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from dam_tf import augmentation
from dam_tf.class_gradient import ClassGradient
from dam_tf.config import Config, default_learning_rate
from dam_tf.networks.pool import NetworkPool
from dam_tf.seeds import Purpose, tensor_seed


@keras.saving.register_keras_serializable(package="dam_tf")
class Distiller(keras.Model):
    """Learns synthetic images whose features match those of real ones.

    The images live in model space, that is after `preprocessing`. Each
    `train_step` draws a fresh random network, takes one augmentation for each
    class and shares it between real and synthetic images, and moves the images
    down the gradient of the objective.

    Args:
        images: Initial synthetic images `[classes, ipc, h, w, c]`, float32, in
            model space.
        config: The settings of the run.
        preprocessing: A layer, pixels in 0..1 to model space.
        networks: Networks to match through in place of random ones.

    Attributes:
        images: The synthetic images, the one trainable weight.
        classes_per_group: Classes whose real images come in one batch.
        groups: Batches that make one iteration.

    Example:
        >>> from dam_tf.config import make_config
        >>> distiller = Distiller(
        ...     np.zeros([2, 1, 8, 8, 1], "float32"),
        ...     make_config(overrides={"distillation.batch_real": 4}),
        ...     keras.layers.Identity(),
        ... )
        >>> real = tf.fill([2, 4, 8, 8, 1], tf.constant(255, tf.uint8))
        >>> sorted(distiller.train_step(iter([real])))
        ['loss', 'mmd', 'sam']
    """

    def __init__(
        self,
        images: np.ndarray,
        config: Config,
        preprocessing: keras.layers.Layer,
        networks: NetworkPool | None = None,
    ):
        super().__init__(name="distiller")
        classes, ipc = images.shape[:2]
        settings = config.distillation
        self.images = self.add_weight(
            name="images",
            shape=images.shape,
            initializer=lambda shape, dtype=None: tf.constant(images, dtype),
        )
        self.built = True
        self._class_gradient = ClassGradient(
            config, images.shape[2:], classes, preprocessing
        )
        self._draw_network = (networks or self._class_gradient).draw_network
        self._augmentation = config.augmentation
        self._seed = settings.seed
        self.classes_per_group = self._class_gradient.classes_per_group
        self.groups = classes // self.classes_per_group
        learning_rate = settings.learning_rate
        if learning_rate is None:
            learning_rate = default_learning_rate(ipc)
        self.compile(
            optimizer=keras.optimizers.SGD(learning_rate, settings.momentum),
            jit_compile=False,
        )
        self.optimizer.build(self.trainable_variables)

    def call(self, inputs: object = None) -> tf.Tensor:
        """Returns the synthetic images, `[classes * ipc, h, w, c]`."""
        return tf.reshape(self.images, [-1, *self.images.shape[2:]])

    def train_step(self, batches: Iterator[tf.Tensor]) -> dict[str, tf.Tensor]:
        """Performs one iteration of Algorithm 1 and returns its losses.

        Args:
            batches: Gives `groups` batches of real images, uint8
                `[classes_per_group, batch_real, h, w, c]`, classes in order.
        """
        gradient, losses = self.gradient(batches, self.optimizer.iterations)
        self.optimizer.apply([gradient], [self.images])
        return losses

    def gradient(
        self, batches: Iterator[tf.Tensor], iteration: tf.Tensor | int
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Returns the gradient of the images, and the losses, of one iteration."""
        theta = self._draw_network(tensor_seed(self._seed, Purpose.NETWORK, iteration))
        _, _, height, width, _ = self.images.shape
        parameters = augmentation.draw(
            tensor_seed(self._seed, Purpose.AUGMENTATION, iteration),
            self.images.shape[0],
            (height, width),
            self._augmentation,
        )
        if self.groups == 1:
            images = tf.convert_to_tensor(self.images)
            return self._class_gradient(next(batches), images, parameters, theta)
        gradients = tf.TensorArray(tf.float32, self.groups)
        totals = dict.fromkeys(self.loss_names, tf.zeros([]))
        for group in tf.range(self.groups):
            rows = group * self.classes_per_group + tf.range(self.classes_per_group)
            gradient, losses = self._class_gradient(
                next(batches),
                tf.gather(self.images, rows),
                augmentation.take(parameters, rows),
                theta,
            )
            gradients = gradients.write(group, gradient)
            totals = {name: totals[name] + losses[name] for name in totals}
        return tf.reshape(gradients.stack(), self.images.shape), totals

    @property
    def loss_names(self) -> tuple[str, ...]:
        """The losses that `train_step` returns."""
        return self._class_gradient.loss_names
