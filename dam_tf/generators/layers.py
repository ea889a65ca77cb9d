"""Layers of generators and discriminators: spectral norm, norms that know the class.

`networks.py` builds networks of them.
"""

import keras
import tensorflow as tf

_TINY = 1e-12  # keeps a direction of length 0 from being divided by it


class _Spectral(keras.layers.Layer):
    """A layer whose kernel is divided by its largest singular value (Miyato et al.).

    The kernel counts as the matrix `[inputs, outputs]`, all but the last axis together.
    Its singular vector `u` is a variable, and each call with `training` brings it
    nearer by one step of the power method; no gradient goes through it.
    """

    def _add_kernel(self, shape: tuple[int, ...]) -> None:
        self.kernel = self.add_weight(shape=shape, name="kernel")
        self.u = self.add_weight(shape=(shape[-1],), name="u", trainable=False)

    def normalized_kernel(self, training: bool = False) -> tf.Tensor:
        """Returns the kernel over its largest singular value, in the kernel's shape."""
        kernel = tf.convert_to_tensor(self.kernel)
        matrix = tf.reshape(kernel, [-1, kernel.shape[-1]])
        fixed, u = tf.stop_gradient(matrix), _unit(tf.convert_to_tensor(self.u))
        v = _unit(tf.linalg.matvec(fixed, u))
        if training:
            u = _unit(tf.linalg.matvec(fixed, v, transpose_a=True))
            self.u.assign(u)
        sigma = tf.tensordot(v, tf.linalg.matvec(matrix, u), 1)
        return kernel / sigma


class SpectralConv(_Spectral):
    """A convolution of stride 1 with spectral norm.

    Args:
        filters: Channels of the result.
        size: Height and width of the kernel.
        name: Of the layer.

    Example:
        >>> SpectralConv(4, 3)(tf.zeros([2, 8, 8, 1])).shape
        TensorShape([2, 8, 8, 4])
    """

    def __init__(self, filters: int, size: int, name: str | None = None):
        super().__init__(name=name)
        self.filters, self.size = filters, size

    def build(self, shape: tuple[int | None, ...]) -> None:
        self._add_kernel((self.size, self.size, shape[-1], self.filters))
        self.bias = self.add_weight(
            shape=(self.filters,), name="bias", initializer="zeros"
        )

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        kernel = self.normalized_kernel(training)
        return tf.nn.conv2d(images, kernel, 1, "SAME") + self.bias

    def compute_output_shape(
        self, shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        return (*shape[:-1], self.filters)


class Projection(_Spectral):
    """The answer of a projection discriminator (Miyato and Koyama, ICLR 2018).

    It is `w . h + b + e_y . h`, where h are features and e_y is a vector of the class.
    Both w and the table of e have spectral norm.

    Args:
        classes: Number of classes.
        name: Of the layer.

    Example:
        >>> Projection(3)([tf.zeros([2, 8]), tf.constant([0, 2])]).shape
        TensorShape([2])
    """

    def __init__(self, classes: int, name: str | None = None):
        super().__init__(name=name)
        self.classes = classes
        self.table = SpectralTable(classes)

    def build(self, shapes: list[tuple[int | None, ...]]) -> None:
        self._add_kernel((shapes[0][-1], 1))
        self.bias = self.add_weight(shape=(), name="bias", initializer="zeros")
        self.table.build(shapes[0])

    def call(self, inputs: list[tf.Tensor], training: bool = False) -> tf.Tensor:
        features, labels = inputs
        answers = tf.linalg.matvec(features, self.normalized_kernel(training)[:, 0])
        vectors = tf.gather(self.table.normalized_kernel(training), labels)
        return answers + self.bias + tf.reduce_sum(vectors * features, axis=1)

    def compute_output_shape(
        self, shapes: list[tuple[int | None, ...]]
    ) -> tuple[int | None, ...]:
        return shapes[0][:1]


class SpectralTable(_Spectral):
    """The vectors of the classes, `[classes, d]`, with spectral norm.

    Args:
        classes: Number of classes.
    """

    def __init__(self, classes: int):
        super().__init__()
        self.classes = classes

    def build(self, shape: tuple[int | None, ...]) -> None:
        self._add_kernel((self.classes, shape[-1]))


class ClassNorm(keras.layers.Layer):
    """Batch norm whose scale and shift are those of the image's class.

    It is `(1 + e G) * (x - mean) / sqrt(variance + epsilon) + e S` for the vector e of
    the class, with the moments of the batch while training, and their moving averages
    else: an image that is generated then depends on no other. As in BigGAN, G and S are
    matrices and e is shared by all norms, so classes part quickly.

    Args:
        momentum: Share of the moving averages that a batch keeps.
        epsilon: Added to the variance.
        name: Of the layer.

    Example:
        >>> ClassNorm()([tf.zeros([2, 4, 4, 8]), tf.zeros([2, 5])]).shape
        TensorShape([2, 4, 4, 8])
    """

    def __init__(
        self,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.momentum, self.epsilon = momentum, epsilon

    def build(self, shapes: list[tuple[int | None, ...]]) -> None:
        channels = shapes[0][-1]
        self.norm = keras.layers.BatchNormalization(
            momentum=self.momentum, epsilon=self.epsilon, center=False, scale=False
        )
        self.norm.build(shapes[0])
        shape = (shapes[1][-1], channels)
        self.gain = self.add_weight(shape=shape, name="gain")
        self.shift = self.add_weight(shape=shape, name="shift")

    def call(self, inputs: list[tf.Tensor], training: bool = False) -> tf.Tensor:
        images, vectors = inputs
        gain, shift = (
            tf.matmul(vectors, tf.convert_to_tensor(matrix))[:, None, None]
            for matrix in (self.gain, self.shift)
        )
        return self.norm(images, training=training) * (1 + gain) + shift

    def compute_output_shape(
        self, shapes: list[tuple[int | None, ...]]
    ) -> tuple[int | None, ...]:
        return shapes[0]


class ClassMap(keras.layers.Layer):
    """A learned map of the class, as one more channel of an image.

    Args:
        classes: Number of classes.
        name: Of the layer.

    Example:
        >>> ClassMap(3)([tf.zeros([2, 8, 8, 1]), tf.constant([0, 2])]).shape
        TensorShape([2, 8, 8, 2])
    """

    def __init__(self, classes: int, name: str | None = None):
        super().__init__(name=name)
        self.classes = classes

    def build(self, shapes: list[tuple[int | None, ...]]) -> None:
        _, self._height, self._width, _ = shapes[0]
        self.table = self.add_weight(
            shape=(self.classes, self._height * self._width), name="table"
        )

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        images, labels = inputs
        maps = tf.gather(self.table, labels)
        maps = tf.reshape(maps, [-1, self._height, self._width, 1])
        return tf.concat([images, maps], axis=3)

    def compute_output_shape(
        self, shapes: list[tuple[int | None, ...]]
    ) -> tuple[int | None, ...]:
        return (*shapes[0][:3], shapes[0][3] + 1)


def _unit(vector: tf.Tensor) -> tf.Tensor:
    return vector / tf.maximum(tf.norm(vector), _TINY)
