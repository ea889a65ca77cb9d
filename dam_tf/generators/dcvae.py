"""A small DC-VAE that is told the class (Table 11).

Parmar et al., "Dual Contradistinctive Generative Autoencoder", CVPR 2021. A
discriminator judges samples and reconstructions, and reconstructions are recognised
among other images by contrastive losses on two of its layers; no pixels are compared.
The published model knows no class. Here encoder, decoder and discriminator do, because
a set needs labels. We decided what we could not find: the heads of the contrastive
losses learn in the generator's update, the layers below them in the discriminator's.
"""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.config.generators import DCVAESettings
from dam_tf.generators import losses
from dam_tf.generators.adversarial import Adversarial
from dam_tf.generators.networks import (
    convolutional_discriminator,
    residual_discriminator,
    residual_generator,
)
from dam_tf.methods.method import Logs, Task

_QUEUE = 1000  # the number of the queue's seed, behind those of networks


class DCVAE(Adversarial):
    """DC-VAE, small; what it makes comes of the average of its decoder."""

    Settings = DCVAESettings
    betas = (0.0, 0.9)

    def make_networks(
        self, image_shape: tuple[int, int, int], classes: int
    ) -> dict[str, keras.Model]:
        settings, shape = self.settings, image_shape
        latent, width = settings.latent, settings.width

        def discriminator():
            return residual_discriminator(shape, classes, width, settings.contrast)

        return {
            "generator": residual_generator(shape, classes, latent, width),
            "average": residual_generator(shape, classes, latent, width),
            "encoder": convolutional_discriminator(shape, classes, width, 2 * latent),
            "discriminator": discriminator(),
            "keys": discriminator(),
        }

    def make(self, task: Task) -> None:
        super().make(task)
        one = tensor_seed(self._seed, Purpose.GENERATOR_WEIGHTS, _QUEUE)
        shape = (2, self.settings.queue, self.settings.contrast)
        vectors = tf.random.stateless_normal(shape, one)
        self._queue = tf.Variable(tf.math.l2_normalize(vectors, axis=2))

    @property
    def averaged(self) -> Mapping[str, str]:
        return {"average": "generator", "keys": "discriminator"}

    @property
    def variables(self) -> dict[str, keras.Variable]:
        return {**super().variables, "queue": self._queue}

    @property
    def trained_with_generator(self) -> list[keras.Variable]:
        return [*super().trained_with_generator, *self._heads]

    @property
    def _heads(self) -> list[keras.Variable]:
        """The last layers before the vectors that are contrasted."""
        return [
            variable
            for layer in self.networks["discriminator"].layers
            if isinstance(layer, keras.layers.Dense)
            for variable in layer.trainable_variables
        ]

    @property
    def of_discriminator(self) -> list[keras.Variable]:
        heads = {id(variable) for variable in self._heads}
        return [v for v in super().of_discriminator if id(v) not in heads]

    @property
    def noise_width(self) -> int:
        return 2 * self.settings.latent

    def generated(
        self, noise: tf.Tensor, real: tf.Tensor, labels: tf.Tensor
    ) -> tuple[list[tf.Tensor], Logs]:
        """Returns samples, and reconstructions of the real images.

        Half of `noise` makes samples, the other half varies the codes.
        """
        noise, varying = tf.split(noise, 2, axis=1)
        code = self.networks["encoder"]([real, labels], training=True)
        mean, log_variance = tf.split(code, 2, axis=1)
        code = mean + tf.exp(log_variance / 2) * varying
        generator = self.networks["generator"]
        made = [generator([z, labels], training=True) for z in (noise, code)]
        divergence = losses.divergence_from_normal(mean, log_variance)
        return made, {"divergence": self.settings.divergence * divergence}

    def answers(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        return self.networks["discriminator"]([images, labels], training=True)[0]

    def more_losses(
        self, real: tf.Tensor, generated: Sequence[tf.Tensor], labels: tf.Tensor
    ) -> Logs:
        """Returns InfoNCE: reconstructions are recognised among other real images."""
        _, made = generated
        _, *queries = self.networks["discriminator"]([made, labels], training=False)
        _, *keys = self.networks["keys"]([real, labels], training=False)
        queues, temperature = tf.unstack(self._queue), self.settings.temperature
        contrast = tf.add_n(
            [
                losses.contrastive(query, tf.stop_gradient(key), queue, temperature) / 2
                for query, key, queue in zip(queries, keys, queues, strict=True)
            ]
        )
        self._queue.assign(_queued(self._queue, tf.stop_gradient(tf.stack(keys))))
        return {"contrast": contrast}


def _queued(queue: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
    """Returns the queue `[2, m, d]` with new vectors `[2, n, d]`; the oldest leave."""
    return tf.concat([new, queue], axis=1)[:, : queue.shape[1]]
