"""DANCE: class means between random and trained networks (Zhang et al., IJCAI 2024)."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from dam_tf.config.pools import DANCESettings
from dam_tf.methods.group_gradient import Features
from dam_tf.methods.mmd import maximum_mean_discrepancy
from dam_tf.methods.pool_matching import PoolMatching


class DANCE(PoolMatching):
    """Dual-view distribution alignment (Zhang et al., IJCAI 2024).

    loss = sum over classes of |mean real embedding - mean synthetic embedding|^2 +
    calibration * sum over classes of the mean cross-entropy of the synthetic images,

    through the networks that `PoolMatching` draws.

    Example:
        >>> method = DANCE(pool="runs/cifar10_pool", calibration=0.5)
        >>> method.settings.calibration, method.settings.clamp
        (0.5, 'on')
    """

    Settings = DANCESettings

    def vectors(self, features: Features) -> list[tf.Tensor]:
        return [features["embedding"]]

    def losses(
        self, real: Sequence[tf.Tensor], synthetic: Sequence[tf.Tensor]
    ) -> Mapping[str, tf.Tensor]:
        loss = tf.reduce_sum(maximum_mean_discrepancy(real[0], synthetic[0]))
        return {"loss": loss, "matching": loss}
