"""Algorithm 1 as a Keras model whose only trainable weights are the images.

It stands between the mathematics (networks, augmentation, matching) and the loop
that feeds it (`compiled_loop.py`).
"""

import dataclasses
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from dam_tf.augmentation import dsa
from dam_tf.base.devices import check_norm, replica_id, split
from dam_tf.base.seeds import Purpose, drawn_classes, tensor_seed
from dam_tf.config.settings import Config, default_learning_rate
from dam_tf.methods.feature_matching import ClassGradient
from dam_tf.networks.pools import NetworkPool
from dam_tf.runs.optimizers import LazySGD


@dataclasses.dataclass(frozen=True)
class Share:
    """What one replica works through of an iteration.

    Attributes:
        places: Of its classes among those of the iteration.
        gradient: Computes their gradient; None where there are no classes.
    """

    places: range
    gradient: ClassGradient | None

    @property
    def classes_per_group(self) -> int:
        """Classes whose real images come in one batch."""
        return self.gradient.classes_per_group if self.gradient else 1

    @property
    def groups(self) -> int:
        """Batches that make one iteration."""
        return len(self.places) // self.classes_per_group


@keras.saving.register_keras_serializable(package="dam_tf")
class Distiller(keras.Model):
    """Learns synthetic images whose features match those of real ones.

    The images live in model space, that is after `preprocessing`. Each
    `train_step` draws a fresh random network, takes one augmentation for each
    class and shares it between real and synthetic images, and moves the images
    down the gradient of the objective. With `distillation.classes_per_step`, it moves
    the images of the classes that it draws, and their momentum, and no others.

    Made in the scope of a `tf.distribute` strategy, each replica holds all images
    and computes the gradient of its share of an iteration's classes. Call
    `train_step` by `strategy.run` then; its losses are those of the share.

    Args:
        images: Initial synthetic images `[classes, ipc, h, w, c]`, float32, in
            model space.
        config: The settings of the run.
        preprocessing: A layer, pixels in 0..1 to model space.
        networks: Networks to match through in place of random ones.

    Attributes:
        images: The synthetic images, the one trainable weight.
        classes_per_step: Classes of an iteration.
        shares: What each replica works through of them.
        classes_per_group: Classes whose real images come in one batch; on several
            replicas, the first one's.
        groups: Batches that make one iteration, likewise.
        loss_names: The losses that `train_step` returns.

    Raises:
        UserError: batch norm, whose statistics are those of all classes together,
            on several replicas.

    Example:
        >>> from dam_tf.config.settings import make_config
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
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        check_norm(config, replicas)
        classes, ipc = images.shape[:2]
        settings = config.distillation
        self.images = self.add_weight(
            name="images",
            shape=images.shape,
            initializer=lambda shape, dtype=None: tf.constant(images, dtype),
        )
        self.built = True
        self.classes_per_step = settings.classes_per_step or classes
        places = split(self.classes_per_step, replicas)
        gradients = {
            size: ClassGradient(config, images.shape[2:], size, preprocessing)
            for size in sorted({len(some) for some in places if some})
        }
        self.shares = tuple(Share(some, gradients.get(len(some))) for some in places)
        first = self.shares[0]
        self.classes_per_group, self.groups = first.classes_per_group, first.groups
        self.loss_names = first.gradient.loss_names
        self._draw_network = (networks or first.gradient).draw_network
        self._augmentation = config.augmentation
        self._seed = settings.seed
        learning_rate = settings.learning_rate
        if learning_rate is None:
            learning_rate = default_learning_rate(ipc)
        self.compile(
            optimizer=LazySGD(learning_rate, settings.momentum, settings.ema_decay),
            jit_compile=False,
        )
        self.optimizer.build(self.trainable_variables)

    def call(self, inputs: object = None) -> tf.Tensor:
        """Returns what is distilled, `[classes * ipc, h, w, c]`.

        Those are the images, or with `distillation.ema_decay` their moving average.
        """
        (images,) = self.optimizer.averages or [self.images]
        return tf.reshape(images, [-1, *images.shape[2:]])

    def train_step(self, batches: Iterator[tf.Tensor]) -> dict[str, tf.Tensor]:
        """Performs one iteration of Algorithm 1 and returns its losses.

        Args:
            batches: Gives `groups` batches of real images, uint8
                `[classes_per_group, batch_real, h, w, c]`, classes in order.
        """
        iteration = self.optimizer.iterations
        gradient, losses = self.gradient(batches, iteration)
        shape = tf.constant(self.images.shape.as_list())
        rows = tf.IndexedSlices(gradient, self.drawn_classes(iteration), shape)
        self.optimizer.apply([rows], [self.images])
        return losses

    def drawn_classes(self, iteration: tf.Tensor | int) -> tf.Tensor:
        """Returns the classes that this replica moves in an iteration, int32 `[n]`."""
        classes, count = self.images.shape[0], self.classes_per_step
        share = self.shares[replica_id()].places
        if count == classes:
            return tf.range(share.start, share.stop)
        seed = self._seed  # TensorFlow keeps the function, which must not keep us
        drawn = tf.numpy_function(
            lambda number: drawn_classes(seed, number, classes, count),
            [tf.convert_to_tensor(iteration)],
            tf.int32,
            stateful=False,
        )
        return tf.ensure_shape(drawn, [count])[share.start : share.stop]

    def gradient(
        self, batches: Iterator[tf.Tensor], iteration: tf.Tensor | int
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Returns the gradient of one iteration, and its losses.

        Args:
            batches: As of `train_step`.
            iteration: Updates done before.

        Returns:
            The gradient of the images of `drawn_classes`, `[n, ipc, h, w, c]`; and the
            losses by name, summed over these classes.
        """
        share = self.shares[replica_id()]
        if not share.places:
            nothing = tf.zeros([0, *self.images.shape[1:]])
            return nothing, dict.fromkeys(self.loss_names, tf.zeros([]))
        theta = self._draw_network(tensor_seed(self._seed, Purpose.NETWORK, iteration))
        _, _, height, width, _ = self.images.shape
        parameters = dsa.draw(
            tensor_seed(self._seed, Purpose.AUGMENTATION, iteration),
            self.classes_per_step,
            (height, width),
            self._augmentation,
        )
        classes, size = self.drawn_classes(iteration), share.classes_per_group

        def of_group(group):
            places = group * size + tf.range(size)
            return share.gradient(
                next(batches),
                tf.gather(self.images.value, tf.gather(classes, places)),
                dsa.take(parameters, share.places.start + places),
                theta,
            )

        if share.groups == 1:
            return of_group(0)
        gradients = tf.TensorArray(tf.float32, share.groups)
        totals = dict.fromkeys(self.loss_names, tf.zeros([]))
        for group in tf.range(share.groups):
            gradient, losses = of_group(group)
            gradients = gradients.write(group, gradient)
            totals = {name: totals[name] + losses[name] for name in totals}
        return gradients.concat(), totals
