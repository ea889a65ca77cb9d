"""Pixel MMD: the baseline of Table 11 that matches the images themselves."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from dam_tf.config.methods import PixelMMDSettings
from dam_tf.methods.feature_matching import FeatureMatching
from dam_tf.methods.group_gradient import Features
from dam_tf.methods.mmd import maximum_mean_discrepancy


class PixelMMD(FeatureMatching):
    """Equation 3 on the images themselves: the MMD baseline of Table 11.

    loss = scale * sum over classes of MMD^2 between the augmented images, in model
    space and flattened. No network takes part: under XLA its forward pass is dead
    code. With the linear kernel, which Table 11 uses, this is the squared distance
    of the two class means, so all images of a class are shifted alike; the rbf
    kernel moves each its own way.

    The paper gives no scale. At a learning rate of 1, momentum 0.5 and one image
    per class, 1 diverges and 0.5 leaves little but the noise of the last real batch
    (both measured on CIFAR-10); 0.1 averages over some batches, and still settles
    within some hundred iterations with 50 images per class. The rbf kernel is less
    steep by its squared bandwidth, about twice the number of values in an image.
    """

    Settings = PixelMMDSettings
    sees_maps = False

    def vectors(self, features: Features) -> list[tf.Tensor]:
        images = features["images"]
        return [tf.reshape(images, [-1, images.shape[1:].num_elements()])]

    def losses(
        self, real: Sequence[tf.Tensor], synthetic: Sequence[tf.Tensor]
    ) -> Mapping[str, tf.Tensor]:
        kernel = self.settings.kernel
        mmd = tf.reduce_sum(maximum_mean_discrepancy(real[0], synthetic[0], kernel))
        scale = 0.1 if kernel == "linear" else 0.2 * synthetic[0].shape[-1]
        return {"loss": scale * mmd, "mmd": mmd}
