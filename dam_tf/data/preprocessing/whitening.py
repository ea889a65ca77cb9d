"""Standardisation and ZCA whitening as Keras layers that have an inverse."""

from typing import Any

import keras
import numpy as np
import scipy.linalg
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.data.preprocessing.moments import channel_moments, covariance

LARGEST_ZCA = 64 * 64 * 3  # values of one image; the whitening matrix has the square


class FixedLayer(keras.layers.Layer):
    """A float32 layer whose weights are fitted once and never trained."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", "trainable": False, **kwargs})

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def _constant(self, name: str, shape: tuple[int, ...], values: str) -> Any:
        return self.add_weight(
            name=name, shape=shape, initializer=values, trainable=False
        )

    def _ensure_built(self, image_shape: tuple[int, ...]) -> None:
        if not self.built:
            self.build((None, *image_shape))


@keras.saving.register_keras_serializable("dam_tf")
class Standardize(FixedLayer):
    """Subtracts each channel's mean and divides by its standard deviation.

    Call and `inverse` take and return float32 [batch, height, width, channels].

    Example:
        >>> layer = Standardize()
        >>> layer.adapt(np.array([0, 255], np.uint8).reshape(2, 1, 1, 1))
        >>> layer(np.ones([1, 1, 1, 1], np.float32)).numpy().item()
        1.0
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.mean = self._constant("mean", input_shape[-1:], "zeros")
        self.deviation = self._constant("deviation", input_shape[-1:], "ones")
        self.built = True

    def adapt(self, images: np.ndarray) -> None:
        """Fits to `images`, uint8 [n, height, width, channels]."""
        self._ensure_built(images.shape[1:])
        self.set_moments(*channel_moments(images))

    def set_moments(self, mean: np.ndarray, deviation: np.ndarray) -> None:
        """Sets mean and deviation, [channels]; a constant channel is not scaled."""
        self.mean.assign(mean)
        self.deviation.assign(np.where(deviation > 0, deviation, 1.0))

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return (images - self.mean) / self.deviation

    def inverse(self, images: tf.Tensor) -> tf.Tensor:
        """Returns the pixels whose standardisation is `images`."""
        return images * self.deviation + self.mean


@keras.saving.register_keras_serializable("dam_tf")
class ZCA(FixedLayer):
    """Zero-phase whitening: W (x - mean), with W = U diag(1/sqrt(S + eps)) U^T.

    U and S are eigenvectors and eigenvalues of the unbiased covariance of flattened
    images, as in kornia's ZCAWhitening. Call and `inverse` take and return float32
    [batch, height, width, channels].

    Args:
        eps: Added to the eigenvalues; the larger, the less noise is amplified.
    """

    def __init__(self, eps: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.eps = eps

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.image_shape = tuple(input_shape[1:])
        size = int(np.prod(self.image_shape))
        _check_size(self.image_shape)
        self.mean = self._constant("mean", (size,), "zeros")
        self.whitening = self._constant("whitening", (size, size), "identity")
        self.unwhitening = self._constant("unwhitening", (size, size), "identity")
        self.built = True

    def adapt(self, images: np.ndarray) -> None:
        """Fits to `images`, uint8 [n, height, width, channels]."""
        self._ensure_built(images.shape[1:])
        self.set_moments(*covariance(images))

    def set_moments(self, mean: np.ndarray, matrix: np.ndarray) -> None:
        """Sets mean, [d], and covariance, [d, d], of flattened images; spends both."""
        self.mean.assign(mean)
        values, vectors = scipy.linalg.eigh(
            matrix, overwrite_a=True, check_finite=False, driver="evd"
        )
        roots = np.sqrt(np.maximum(values, 0.0) + self.eps)
        self.whitening.assign((vectors / roots) @ vectors.T)
        self.unwhitening.assign((vectors * roots) @ vectors.T)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        flat = tf.reshape(images, [-1, self.mean.shape[0]])
        whitened = tf.matmul(flat - self.mean, self.whitening)
        return tf.reshape(whitened, [-1, *self.image_shape])

    def inverse(self, images: tf.Tensor) -> tf.Tensor:
        """Returns the pixels whose whitening is `images`."""
        flat = tf.reshape(images, [-1, self.mean.shape[0]])
        pixels = tf.matmul(flat, self.unwhitening) + self.mean
        return tf.reshape(pixels, [-1, *self.image_shape])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "eps": self.eps}


def _check_size(image_shape: tuple[int, ...]) -> None:
    if int(np.prod(image_shape)) > LARGEST_ZCA:
        shape = "x".join(map(str, image_shape))
        raise UserError(
            f"images of {shape} are too large for ZCA, whose matrix would take "
            f"{np.prod(image_shape, dtype=float) ** 2 * 4 / 1e9:.1f} GB (64x64x3 is "
            "the most); set dataset.preprocessing to 'standardize'"
        )
