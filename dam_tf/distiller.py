"""Algorithm 1 as a Keras model whose only trainable weights are the images.

It stands between the mathematics (networks, augmentation, matching) and the loop
that feeds it (`distillation.py`).
"""

from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from dam_tf import augmentation, networks
from dam_tf.config import Config, default_learning_rate
from dam_tf.matching import create_objective
from dam_tf.matching.objectives import Features
from dam_tf.seeds import Purpose, tensor_seed

# Pixels of real images in a forward pass, and of synthetic images on the tape:
# enough to keep the convolutions busy, few enough for memory to stay flat.
_REAL_PIXELS = 64 * 32 * 32
_SYNTHETIC_PIXELS = 128 * 32 * 32


@keras.saving.register_keras_serializable(package="dam_tf")
class Distiller(keras.Model):
    """Learns synthetic images whose features match those of real ones.

    The images live in model space, that is after `preprocessing`. Each
    `train_step` draws a fresh random network, takes one augmentation for each
    class and shares it between real and synthetic images, and moves the images
    down the gradient of the objective. Real images need no gradient: they pass
    in chunks and leave only what the objective needs of them.

    Args:
        images: Initial synthetic images `[classes, ipc, h, w, c]`, float32, in
            model space.
        config: The settings of the run.
        preprocessing: A layer, pixels in 0..1 to model space.

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
        self, images: np.ndarray, config: Config, preprocessing: keras.layers.Layer
    ):
        super().__init__(name="distiller")
        classes, ipc, height, width, channels = images.shape
        settings = config.distillation
        self.images = self.add_weight(
            name="images",
            shape=images.shape,
            initializer=lambda shape, dtype=None: tf.constant(images, dtype),
        )
        self.built = True
        self._network = _RandomNetwork((height, width, channels), classes, config)
        self._objective = create_objective(config.method, self._network.blocks, height)
        self._preprocessing = preprocessing
        self._augmentation = config.augmentation
        self._seed = settings.seed
        self._batch_real = settings.batch_real
        # Batch statistics are those of all classes together; every other norm
        # treats each image alone, so classes and chunks can take turns.
        pixels = height * width
        if config.network.norm == "batch":
            self.classes_per_group = classes
            self._chunk = classes * self._batch_real
        else:
            limit = _SYNTHETIC_PIXELS // (ipc * pixels)
            self.classes_per_group = _largest_divisor(classes, limit)
            real = self.classes_per_group * self._batch_real
            self._chunk = max(1, min(real, _REAL_PIXELS // pixels))
        self.groups = classes // self.classes_per_group
        learning_rate = settings.learning_rate
        if learning_rate is None:
            learning_rate = default_learning_rate(ipc)
        self.compile(
            optimizer=keras.optimizers.SGD(learning_rate, settings.momentum),
            jit_compile=False,
        )
        self.optimizer.build(self.trainable_variables)
        self._widths = self._vector_widths()

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
        theta = self._network.draw(tensor_seed(self._seed, Purpose.NETWORK, iteration))
        _, _, height, width, _ = self.images.shape
        parameters = augmentation.draw(
            tensor_seed(self._seed, Purpose.AUGMENTATION, iteration),
            self.images.shape[0],
            (height, width),
            self._augmentation,
        )
        if self.groups == 1:
            return self._group_gradient(next(batches), 0, parameters, theta)
        gradients = tf.TensorArray(tf.float32, self.groups)
        totals = dict.fromkeys(self._objective.loss_names, tf.zeros([]))
        for group in tf.range(self.groups):
            gradient, losses = self._group_gradient(
                next(batches), group * self.classes_per_group, parameters, theta
            )
            gradients = gradients.write(group, gradient)
            totals = {name: totals[name] + losses[name] for name in totals}
        return tf.reshape(gradients.stack(), self.images.shape), totals

    @property
    def loss_names(self) -> tuple[str, ...]:
        """The losses that `train_step` returns."""
        return self._objective.loss_names

    @tf.function(jit_compile=True)
    def _group_gradient(self, real, first, parameters, theta):
        """The gradient of classes `first` and following, from their real images."""
        rows = first + tf.range(self.classes_per_group)
        parameters = augmentation.take(parameters, rows)
        target = self._real_vectors(real, parameters, theta)
        synthetic = tf.gather(self.images, rows)
        with tf.GradientTape() as tape:
            tape.watch(synthetic)
            vectors = self._synthetic_vectors(synthetic, parameters, theta)
            losses = self._objective.losses(target, vectors)
        return tape.gradient(losses["loss"], synthetic), losses

    def _synthetic_vectors(self, images, parameters, theta):
        classes, ipc = images.shape[:2]
        flat = tf.reshape(images, [classes * ipc, *images.shape[2:]])
        owners = tf.repeat(tf.range(classes), ipc)
        vectors = self._vectors(flat, owners, parameters, theta)
        return [tf.reshape(v, [classes, ipc, v.shape[-1]]) for v in vectors]

    def _real_vectors(self, real, parameters, theta):
        """What the objective needs of real images, chunk by chunk.

        Args:
            real: uint8 `[classes, batch, h, w, c]`.

        Returns:
            A list of `[classes, 1, d_i]`, means over the batch, or of
            `[classes, batch, d_i]` where the means do not suffice.
        """
        classes, batch = real.shape[:2]
        count = classes * batch
        flat = tf.reshape(real, [count, *real.shape[2:]])

        def chunk_vectors(rows):
            pixels = tf.cast(tf.gather(flat, rows), tf.float32) / 255
            images = self._preprocessing(pixels)
            return self._vectors(images, rows // batch, parameters, theta)

        def chunk_rows(chunk):
            rows = chunk * self._chunk + tf.range(self._chunk)
            return tf.minimum(rows, count - 1), tf.cast(rows < count, tf.float32)

        widths = self._widths
        chunks = -(-count // self._chunk)
        if self._objective.means_suffice:
            means = [tf.zeros([classes, width]) for width in widths]
            for chunk in tf.range(chunks):
                rows, valid = chunk_rows(chunk)
                owners = tf.one_hot(rows // batch, classes) * valid[:, None] / batch
                vectors = chunk_vectors(rows)
                means = [
                    mean + tf.linalg.matmul(owners, vector, transpose_a=True)
                    for mean, vector in zip(means, vectors, strict=True)
                ]
            return [mean[:, None] for mean in means]
        kept = [tf.TensorArray(tf.float32, chunks) for _ in widths]
        for chunk in tf.range(chunks):
            rows, _ = chunk_rows(chunk)
            vectors = chunk_vectors(rows)
            kept = [k.write(chunk, v) for k, v in zip(kept, vectors, strict=True)]
        return [
            tf.reshape(
                tf.reshape(k.stack(), [chunks * self._chunk, width])[:count],
                [classes, batch, width],
            )
            for k, width in zip(kept, widths, strict=True)
        ]

    def _vector_widths(self):
        shape = self.images.shape[2:]
        theta = self._network.draw(tf.constant([0, 0]))
        features = self._network.features(theta, tf.zeros([1, *shape]))
        return [vector.shape[-1] for vector in self._objective.vectors(features)]

    def _vectors(self, images, owners, parameters, theta):
        """Vectors of model-space images whose rows of `parameters` are `owners`."""
        parameters = augmentation.take(parameters, owners)
        images = augmentation.apply(images, parameters)
        return self._objective.vectors(self._network.features(theta, images))


class _RandomNetwork:
    """The network of an iteration: built once, its weights drawn from a seed.

    Not a layer, so that its variables are not among the distiller's weights.
    """

    def __init__(self, image_shape, classes, config: Config):
        network = networks.create(
            config.network.name, image_shape, classes, config.network
        )
        self._extractor = networks.feature_extractor(network)
        self.blocks = len(self._extractor.output["taps"])
        self.draw = networks.RandomWeights(self._extractor, config.network.initializer)

    def features(self, theta: list[tf.Tensor], images: tf.Tensor) -> Features:
        # In training mode, so batch norm takes the statistics of this batch.
        features, _ = self._extractor.stateless_call(
            theta, self._extractor.non_trainable_variables, images, training=True
        )
        return {**features, "images": images}


def _largest_divisor(number: int, limit: int) -> int:
    return max(d for d in range(1, max(1, limit) + 1) if number % d == 0)
