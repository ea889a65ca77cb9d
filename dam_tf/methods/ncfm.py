"""NCFM: characteristic functions of features (Wang et al., CVPR 2025)."""

from collections.abc import Iterator, Mapping, Sequence

import keras
import tensorflow as tf

from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.config.pools import NCFMSettings
from dam_tf.methods.group_gradient import Features
from dam_tf.methods.method import Gradients, Logs, Task
from dam_tf.methods.optimizers import adam
from dam_tf.methods.pool_matching import PoolMatching
from dam_tf.networks.functional import FunctionalNetwork
from dam_tf.synthetic.synthetic_set import SyntheticSet

_LEAST = 1e-12  # of squares under a root, as in the released code
_LEAST_ROOTED = 1e-13  # keeps the slope finite where the phase has no weight


class NCFM(PoolMatching):
    """Neural characteristic function matching (Wang et al., CVPR 2025).

    Of the features f of a class, embeddings of length 1, the characteristic function is
    Phi(t) = mean of exp(i <t, f>). With Phi~ that of the synthetic images, the loss of
    a class is

        scale * mean over t of sqrt(alpha * (|Phi| - |Phi~|)^2
                                    + beta * 2 (|Phi| |Phi~| - Re(Phi conj(Phi~)))),

    where the second term is at least 1e-12, through the networks that `PoolMatching`
    draws, and its calibration is added. With alpha = beta = 1 the root is |Phi - Phi~|.
    The frequencies t come from N(0, I) and are drawn anew in each iteration, the same
    for all classes; the released code draws them for each class.

    What depends on real images are means of cosines and sines, so they pass in chunks.
    Real batches are random, as in the paper; the released code always takes the first
    1,024 images of a class. Adam moves the images, without the weight decay and the
    halving of the rate (whenever the loss no longer falls) of the released code. Since
    it takes 2 steps for each class in an iteration, and we take one, the default rate
    is larger: 0.01 of standardised images. The network psi that learns where to draw
    frequencies is left out, as it is by default in the released settings.

    Example:
        >>> method = NCFM(pool="runs/cifar10_pool", frequencies=1024)
        >>> method.settings.frequencies, method.settings.scale
        (1024, 300.0)
    """

    Settings = NCFMSettings

    def unconstrained_optimizer(self, task: Task) -> keras.optimizers.Optimizer:
        return adam(task.config.distillation)

    def drawn(
        self, network: FunctionalNetwork, iteration: tf.Tensor
    ) -> list[tf.Tensor]:
        features = network.weight_shapes[-2][0]
        seed = tensor_seed(self._seed, Purpose.FREQUENCIES, iteration)
        shape = [features, self.settings.frequencies]
        return [tf.random.stateless_normal(shape, seed)]

    def vectors(self, features: Features) -> list[tf.Tensor]:
        (frequencies,) = features["drawn"]
        unit = tf.math.l2_normalize(features["embedding"], axis=1, epsilon=_LEAST)
        products = tf.linalg.matmul(unit, frequencies)
        return [tf.cos(products), tf.sin(products)]

    def losses(
        self, real: Sequence[tf.Tensor], synthetic: Sequence[tf.Tensor]
    ) -> Mapping[str, tf.Tensor]:
        settings = self.settings
        (re, im), (other_re, other_im) = (
            [tf.reduce_mean(part, axis=1) for part in parts]
            for parts in (real, synthetic)
        )
        size, other_size = _size(re, im), _size(other_re, other_im)
        amplitude = tf.square(size - other_size)
        # The rest of |Phi - Phi~|^2: from the products it would be all rounding.
        phase = tf.square(re - other_re) + tf.square(im - other_im) - amplitude
        squares = settings.amplitude * amplitude
        squares += settings.phase * tf.maximum(phase, _LEAST)
        roots = tf.sqrt(tf.maximum(squares, _LEAST_ROOTED))
        loss = settings.scale * tf.reduce_sum(tf.reduce_mean(roots, axis=1))
        return {"loss": loss, "matching": loss}

    def gradients(
        self, synthetic: SyntheticSet, batches: Iterator, iteration: tf.Tensor
    ) -> tuple[Gradients, Logs]:
        gradients, losses = super().gradients(synthetic, batches, iteration)
        # Adam moves all images, those of classes that were not drawn by its moments.
        return {"images": tf.convert_to_tensor(gradients["images"])}, losses


def _size(re: tf.Tensor, im: tf.Tensor) -> tf.Tensor:
    return tf.sqrt(tf.maximum(tf.square(re) + tf.square(im), _LEAST))
