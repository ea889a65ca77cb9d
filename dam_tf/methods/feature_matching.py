"""The gradient of the synthetic images of some classes: Algorithm 1, lines 5 to 9.

It stands between the mathematics (networks, augmentation, matching) and the Keras
model that draws networks and moves the images (`distiller.py`).
"""

from collections.abc import Sequence

import keras
import tensorflow as tf

from dam_tf.augmentation import dsa
from dam_tf.config.settings import Config
from dam_tf.methods.objectives import Features, create_objective
from dam_tf.networks.functional import FunctionalNetwork

# Pixels of real images in a forward pass, and of synthetic images on the tape:
# enough to keep the convolutions busy, few enough for a pass to stay in cache and for
# memory to stay flat.
_REAL_PIXELS = 16 * 32 * 32
_SYNTHETIC_PIXELS = 32 * 32 * 32


class ClassGradient:
    """Computes losses, and their gradient in the synthetic images, class by class.

    Classes come in groups of `classes_per_group`; real images of a group pass in
    chunks, need no gradient and leave only what the objective needs of them, so
    memory grows neither with the classes nor with their real images.

    Args:
        config: The settings of the run.
        image_shape: Height, width and channels.
        classes: Classes of an iteration.
        preprocessing: A layer, pixels in 0..1 to model space.

    Attributes:
        classes_per_group: Classes that a call takes; divides `classes`.
        loss_names: The losses that a call returns.

    Example:
        >>> from dam_tf.config.settings import make_config
        >>> config = make_config(overrides={"distillation.batch_real": 4})
        >>> gradient = ClassGradient(config, (8, 8, 1), 2, keras.layers.Identity())
        >>> found, losses = gradient(
        ...     tf.fill([2, 4, 8, 8, 1], tf.constant(255, tf.uint8)),
        ...     tf.zeros([2, 1, 8, 8, 1]),
        ...     dsa.identity(2),
        ...     gradient.draw_network(tf.constant([0, 1])),
        ... )
        >>> found.shape, sorted(losses)
        (TensorShape([2, 1, 8, 8, 1]), ['loss', 'mmd', 'sam'])
    """

    def __init__(
        self,
        config: Config,
        image_shape: tuple[int, int, int],
        classes: int,
        preprocessing: keras.layers.Layer,
    ):
        settings = config.distillation
        height, width, _ = image_shape
        self._compute = tf.function(self._gradient, jit_compile=settings.jit == "xla")
        compiled = settings.jit == "xla"
        self._network = self._real_network = FunctionalNetwork(
            image_shape, classes, config.network, compiled=compiled
        )
        if settings.precision != "float32":
            # For images that need no gradient.
            self._real_network = FunctionalNetwork(
                image_shape,
                classes,
                config.network,
                compiled=compiled,
                precision=settings.precision,
            )
        self._objective = create_objective(config.method, self._network.blocks, height)
        self._preprocessing = preprocessing
        self._batch_real = settings.batch_real
        # Batch statistics are those of all classes together; every other norm
        # treats each image alone, so classes and chunks can take turns.
        pixels = height * width
        if config.network.norm == "batch":
            self.classes_per_group = classes
            self._chunk = classes * self._batch_real
        else:
            limit = _SYNTHETIC_PIXELS // (settings.ipc * pixels)
            self.classes_per_group = _largest_divisor(classes, limit)
            real = self.classes_per_group * self._batch_real
            self._chunk = max(1, min(real, _REAL_PIXELS // pixels))
        self._widths = self._vector_widths(image_shape)

    @property
    def loss_names(self) -> tuple[str, ...]:
        """The losses that a call returns."""
        return self._objective.loss_names

    def draw_network(self, seed: tf.Tensor) -> list[tf.Tensor]:
        """Returns the weights of a random network; `seed` is that of a stateless op."""
        return self._network.init(seed)

    def __call__(
        self,
        real: tf.Tensor,
        synthetic: tf.Tensor,
        parameters: dsa.Parameters,
        theta: Sequence[tf.Tensor],
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Returns the gradient and the losses, summed over a group of classes.

        Args:
            real: uint8 `[classes_per_group, batch_real, h, w, c]`, pixels.
            synthetic: float32 `[classes_per_group, ipc, h, w, c]`, in model space.
            parameters: A row of augmentation for each class.
            theta: Weights of the network.
        """
        return self._compute(real, synthetic, parameters, theta)

    def _gradient(self, real, synthetic, parameters, theta):
        target = self._real_vectors(real, parameters, theta)
        with tf.GradientTape() as tape:
            tape.watch(synthetic)
            vectors = self._synthetic_vectors(synthetic, parameters, theta)
            losses = self._objective.losses(target, vectors)
        return tape.gradient(losses["loss"], synthetic), losses

    def _synthetic_vectors(self, images, parameters, theta):
        classes, ipc = images.shape[:2]
        flat = tf.reshape(images, [classes * ipc, *images.shape[2:]])
        owners = tf.repeat(tf.range(classes), ipc)
        vectors = self._vectors(flat, owners, parameters, theta, self._network)
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
            owners, network = rows // batch, self._real_network
            return self._vectors(images, owners, parameters, theta, network)

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

    def _vector_widths(self, image_shape):
        theta = self.draw_network(tf.constant([0, 0]))
        vectors = self._objective.vectors(
            _features(self._network, theta, tf.zeros([1, *image_shape]))
        )
        return [vector.shape[-1] for vector in vectors]

    @tf.autograph.experimental.do_not_convert  # no tensor decides; it takes seconds
    def _vectors(self, images, owners, parameters, theta, network):
        """Vectors of model-space images whose rows of `parameters` are `owners`."""
        parameters = dsa.take(parameters, owners)
        images = dsa.apply(images, parameters)
        return self._objective.vectors(_features(network, theta, images))


def _features(network: FunctionalNetwork, theta, images: tf.Tensor) -> Features:
    # In training mode, so batch norm takes the statistics of this batch.
    outputs, _ = network.apply(theta, network.statistics, images, training=True)
    return {**outputs._asdict(), "images": images}


def _largest_divisor(number: int, limit: int) -> int:
    return max(d for d in range(1, max(1, limit) + 1) if number % d == 0)
