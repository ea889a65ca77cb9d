"""A small BigGAN with DiffAugment, in the form for CIFAR (Table 11).

Brock et al., ICLR 2019; Zhao et al., "Differentiable Augmentation for Data-Efficient
GAN Training", NeurIPS 2020. Hinge loss, projection on the class, norms that know the
class, spectral norm in the discriminator, and an average of the generator are as there.
Widths and training are smaller, and the generator has no spectral norm.
"""

from collections.abc import Mapping

import keras

from dam_tf.config.generators import BigGANSettings
from dam_tf.generators.adversarial import Adversarial
from dam_tf.generators.networks import residual_discriminator, residual_generator


class BigGAN(Adversarial):
    """BigGAN, small; what it makes comes of the average of its generator."""

    Settings = BigGANSettings

    def make_networks(
        self, image_shape: tuple[int, int, int], classes: int
    ) -> dict[str, keras.Model]:
        latent, width = self.settings.latent, self.settings.width
        return {
            "generator": residual_generator(image_shape, classes, latent, width),
            "average": residual_generator(image_shape, classes, latent, width),
            "discriminator": residual_discriminator(image_shape, classes, width),
        }

    @property
    def averaged(self) -> Mapping[str, str]:
        return {"average": "generator"}
