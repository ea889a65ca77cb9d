"""DM: distribution matching (Zhao and Bilen, WACV 2023)."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from dam_tf.config.methods import DMSettings
from dam_tf.methods.feature_matching import FeatureMatching
from dam_tf.methods.group_gradient import Features
from dam_tf.methods.mmd import maximum_mean_discrepancy


class DM(FeatureMatching):
    """DM (Zhao and Bilen, WACV 2023): equation 3 alone, on the embedding.

    Example:
        >>> DM(kernel="rbf").means_suffice
        False
    """

    Settings = DMSettings

    def vectors(self, features: Features) -> list[tf.Tensor]:
        return [features["embedding"]]

    def losses(
        self, real: Sequence[tf.Tensor], synthetic: Sequence[tf.Tensor]
    ) -> Mapping[str, tf.Tensor]:
        kernel = self.settings.kernel
        mmd = tf.reduce_sum(maximum_mean_discrepancy(real[0], synthetic[0], kernel))
        return {"loss": mmd, "mmd": mmd}
