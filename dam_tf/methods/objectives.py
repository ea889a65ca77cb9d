"""What each method matches: features of real and synthetic images -> a loss.

A method is a class with two functions. `vectors` turns the features of a batch
into a list of vectors per image; `losses` compares those of real and synthetic
images, class by class. Adding a method is one such class and one row in
`OBJECTIVES`.
"""

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from dam_tf.base.errors import UserError, choice_error
from dam_tf.config.settings import MethodConfig, default_task_balance
from dam_tf.methods.attention import SpatialAttention
from dam_tf.methods.mmd import maximum_mean_discrepancy

Features = Mapping[str, Any]


class Objective(abc.ABC):
    """The interface of a method.

    Attributes:
        means_suffice: The loss depends on real vectors only through their class
            mean. Real images are then reduced to it chunk by chunk, and memory
            does not grow with their number.
        loss_names: The keys that `losses` returns.
    """

    means_suffice = True
    loss_names: tuple[str, ...] = ("loss",)

    def __init__(self, config: MethodConfig, blocks: int, image_size: int):
        """Args: the method's settings, the network's blocks, the image height."""
        self.config = config

    @abc.abstractmethod
    def vectors(self, features: Features) -> list[tf.Tensor]:
        """Returns what is matched, as a list of `[batch, d_i]`.

        Args:
            features: `"taps"`, a list of `[batch, h_l, w_l, c_l]` after each
                block's activation, `"embedding"`, `[batch, d]`, and `"images"`,
                `[batch, h, w, c]`, what the network was shown: augmented images
                in model space.
        """

    @abc.abstractmethod
    def losses(
        self, real: Sequence[tf.Tensor], synthetic: Sequence[tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Returns scalar losses by name; `"loss"` is the one that is minimised.

        Args:
            real: `vectors` by class, `[classes, n, d_i]`; n = 1 if they were
                reduced to means.
            synthetic: `vectors` by class, `[classes, m, d_i]`.
        """


class DataDAM(Objective):
    """Spatial attention matching and MMD: equations 2, 3 and 4.

    loss = scale * (sum over classes and layers of |mean real attention - mean
    synthetic attention|^2 + lambda * sum over classes of MMD^2).

    Lambda 0 leaves attention alone, no layers leave lambda * MMD^2 (Table 5).
    """

    loss_names = ("loss", "sam", "mmd")

    def __init__(self, config: MethodConfig, blocks: int, image_size: int):
        super().__init__(config, blocks, image_size)
        layers = config.layers
        if layers is None:
            layers = tuple(range(1, blocks)) or (1,)
        if outside := [layer for layer in layers if not 1 <= layer <= blocks]:
            raise UserError(
                f"method.layers names block {outside[0]}, but the network has "
                f"blocks 1 to {blocks}"
            )
        self.layers = layers
        self.task_balance = config.task_balance
        if self.task_balance is None:
            self.task_balance = default_task_balance(image_size)
        self.attention = SpatialAttention(config.power, config.normalization)
        self.means_suffice = config.kernel == "linear"

    def vectors(self, features: Features) -> list[tf.Tensor]:
        taps = [features["taps"][layer - 1] for layer in self.layers]
        return [*(self.attention(tap) for tap in taps), features["embedding"]]

    def losses(self, real, synthetic) -> dict[str, tf.Tensor]:
        gap = _GAPS[self.config.loss]
        gaps = [
            tf.reduce_sum(gap(tf.reduce_mean(r, 1), tf.reduce_mean(s, 1)))
            for r, s in zip(real[:-1], synthetic[:-1], strict=True)
        ]
        sam = tf.add_n(gaps) if gaps else tf.zeros([])
        mmd = tf.reduce_sum(
            maximum_mean_discrepancy(real[-1], synthetic[-1], self.config.kernel)
        )
        loss = self.config.scale * (sam + self.task_balance * mmd)
        return {"loss": loss, "sam": sam, "mmd": mmd}


class DistributionMatching(Objective):
    """DM (Zhao and Bilen, WACV 2023): equation 3 alone, on the embedding."""

    loss_names = ("loss", "mmd")

    def __init__(self, config: MethodConfig, blocks: int, image_size: int):
        super().__init__(config, blocks, image_size)
        self.means_suffice = config.kernel == "linear"

    def vectors(self, features: Features) -> list[tf.Tensor]:
        return [features["embedding"]]

    def losses(self, real, synthetic) -> dict[str, tf.Tensor]:
        kernel = self.config.kernel
        mmd = tf.reduce_sum(maximum_mean_discrepancy(real[0], synthetic[0], kernel))
        return {"loss": mmd, "mmd": mmd}


class FeatureMaps(Objective):
    """Feature map transfer, the ablation of Table 5: whole maps, every block.

    loss = 0.01 * sum over classes and blocks of |mean real map - mean synthetic
    map|^2.

    The paper gives no scale. A ConvNet's maps of a 32x32 image hold 84 times the
    values of its embedding, which DM matches unscaled at the same learning rate. With
    1 the images leave the pixels' range within 60 iterations (-18 to 16 on CIFAR-10,
    one image per class; with 0.01, -0.5 to 1.4) and the loss ends higher.
    """

    def vectors(self, features: Features) -> list[tf.Tensor]:
        return [
            tf.reshape(t, [-1, t.shape[1:].num_elements()]) for t in features["taps"]
        ]

    def losses(self, real, synthetic) -> dict[str, tf.Tensor]:
        pairs = zip(real, synthetic, strict=True)
        total = tf.add_n(
            [tf.reduce_sum(maximum_mean_discrepancy(r, s)) for r, s in pairs]
        )
        return {"loss": 0.01 * total}


class PixelMMD(Objective):
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

    loss_names = ("loss", "mmd")

    def __init__(self, config: MethodConfig, blocks: int, image_size: int):
        super().__init__(config, blocks, image_size)
        self.means_suffice = config.kernel == "linear"

    def vectors(self, features: Features) -> list[tf.Tensor]:
        images = features["images"]
        return [tf.reshape(images, [-1, images.shape[1:].num_elements()])]

    def losses(self, real, synthetic) -> dict[str, tf.Tensor]:
        kernel = self.config.kernel
        mmd = tf.reduce_sum(maximum_mean_discrepancy(real[0], synthetic[0], kernel))
        scale = 0.1 if kernel == "linear" else 0.2 * synthetic[0].shape[-1]
        return {"loss": scale * mmd, "mmd": mmd}


OBJECTIVES: dict[str, type[Objective]] = {
    "datadam": DataDAM,
    "dm": DistributionMatching,
    "feature_map": FeatureMaps,
    "pixel_mmd": PixelMMD,
}


def create_objective(config: MethodConfig, blocks: int, image_size: int) -> Objective:
    """Returns the objective that `config.name` names.

    Args:
        config: The method's settings.
        blocks: Blocks of the network, that is its taps.
        image_size: Height of the images, which decides lambda where it is unset.

    Raises:
        UserError: the name is unknown, or `layers` names a missing block.
    """
    if config.name not in OBJECTIVES:
        raise choice_error("method", config.name, OBJECTIVES)
    return OBJECTIVES[config.name](config, blocks, image_size)


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
