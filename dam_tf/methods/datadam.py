"""DataDAM: spatial attention matching and MMD (Sajedi et al., ICCV 2023)."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from dam_tf.config.methods import DataDAMSettings
from dam_tf.methods.attention import SpatialAttention
from dam_tf.methods.feature_matching import FeatureMatching
from dam_tf.methods.group_gradient import Features
from dam_tf.methods.method import check_layers
from dam_tf.methods.mmd import maximum_mean_discrepancy


class DataDAM(FeatureMatching):
    """Spatial attention matching and MMD: equations 2, 3 and 4.

    loss = scale * (sum over classes and layers of |mean real attention - mean
    synthetic attention|^2 + lambda * sum over classes of MMD^2).

    Lambda 0 leaves attention alone, no layers leave lambda * MMD^2 (Table 5).

    Attributes:
        layers: The blocks whose attention is matched, from 1; known once the network
            is.

    Example:
        >>> method = DataDAM(power=2, task_balance=0.02)
        >>> method.settings.power, method.settings.kernel
        (2.0, 'linear')
    """

    Settings = DataDAMSettings

    def match_blocks(self, blocks: int) -> None:
        layers = self.settings.layers
        if layers is None:
            layers = tuple(range(1, blocks)) or (1,)
        check_layers(layers, blocks)
        self.layers = layers
        self.attention = SpatialAttention(
            self.settings.power, self.settings.normalization
        )

    def vectors(self, features: Features) -> list[tf.Tensor]:
        taps = [features["taps"][layer - 1] for layer in self.layers]
        return [*(self.attention(tap) for tap in taps), features["embedding"]]

    def losses(
        self, real: Sequence[tf.Tensor], synthetic: Sequence[tf.Tensor]
    ) -> Mapping[str, tf.Tensor]:
        settings, gap = self.settings, _GAPS[self.settings.loss]
        gaps = [
            tf.reduce_sum(gap(tf.reduce_mean(r, 1), tf.reduce_mean(s, 1)))
            for r, s in zip(real[:-1], synthetic[:-1], strict=True)
        ]
        sam = tf.add_n(gaps) if gaps else tf.zeros([])
        mmd = tf.reduce_sum(
            maximum_mean_discrepancy(real[-1], synthetic[-1], settings.kernel)
        )
        loss = settings.scale * (sam + settings.task_balance * mmd)
        return {"loss": loss, "sam": sam, "mmd": mmd}


def _cosine_gap(real: tf.Tensor, synthetic: tf.Tensor) -> tf.Tensor:
    product = tf.reduce_sum(real * synthetic, axis=-1)
    norms = tf.norm(real, axis=-1) * tf.norm(synthetic, axis=-1)
    return 1 - product / tf.maximum(norms, 1e-6)


# Distances between mean attention maps, Figure 12; reduced over positions.
_GAPS = {
    "mse": lambda real, synthetic: tf.square(real - synthetic),
    "mae": lambda real, synthetic: tf.abs(real - synthetic),
    "cosine": _cosine_gap,
}
