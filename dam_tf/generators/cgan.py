"""Conditional GAN: generator and discriminator are told the class (Table 11).

Mirza and Osindero, "Conditional Generative Adversarial Nets", 2014. The networks are
convolutional, as in DCGAN, and small. The paper of DataDAM does not say how it trained
its own; Adam with 2e-4 and beta 0.5 is DCGAN's convention.
"""

import keras

from dam_tf.config.generators import CGANSettings
from dam_tf.generators import losses
from dam_tf.generators.adversarial import Adversarial
from dam_tf.generators.networks import (
    convolutional_discriminator,
    convolutional_generator,
)


class CGAN(Adversarial):
    """Conditional GAN with logistic losses, the generator's not saturating."""

    Settings = CGANSettings
    betas = (0.5, 0.999)
    discriminator_loss = staticmethod(losses.logistic_discriminator)
    generator_loss = staticmethod(losses.logistic_generator)

    def make_networks(
        self, image_shape: tuple[int, int, int], classes: int
    ) -> dict[str, keras.Model]:
        latent, width = self.settings.latent, self.settings.width
        return {
            "generator": convolutional_generator(image_shape, classes, latent, width),
            "discriminator": convolutional_discriminator(image_shape, classes, width),
        }
