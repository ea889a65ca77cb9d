"""Conditional GAN: generator and discriminator are told the class (Table 11).

Mirza and Osindero, "Conditional Generative Adversarial Nets", 2014. The networks are
convolutional, as in DCGAN, and small. The paper of DataDAM does not say how it trained
its own; Adam with 2e-4 and beta 0.5 is DCGAN's convention.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf

from dam_tf.config.generators import CGANSettings
from dam_tf.generators import losses
from dam_tf.generators.adversarial import Adversarial
from dam_tf.generators.networks import (
    convolutional_discriminator,
    convolutional_generator,
)
from dam_tf.methods.method import Logs


class CGAN(Adversarial):
    """Conditional GAN with logistic losses, the generator's not saturating."""

    Settings = CGANSettings
    betas = (0.5, 0.999)

    def make_networks(
        self, image_shape: tuple[int, int, int], classes: int
    ) -> dict[str, keras.Model]:
        latent, width = self.settings.latent, self.settings.width
        return {
            "generator": convolutional_generator(image_shape, classes, latent, width),
            "discriminator": convolutional_discriminator(image_shape, classes, width),
        }

    def generated(
        self, noise: tf.Tensor, real: tf.Tensor, labels: tf.Tensor
    ) -> tuple[list[tf.Tensor], Logs]:
        return [self.networks["generator"]([noise, labels], training=True)], {}

    def discriminator_loss(
        self, real: tf.Tensor, generated: Sequence[tf.Tensor]
    ) -> tf.Tensor:
        return losses.logistic_discriminator(real, *generated)

    def generator_loss(self, generated: Sequence[tf.Tensor]) -> tf.Tensor:
        return losses.logistic_generator(*generated)
