"""Generators that are trained against a discriminator: what cGAN, BigGAN, DC-VAE share.

An iteration is some updates of the discriminator, each with other real images and other
random numbers, and then one of the generator.
"""

import abc
from collections.abc import Iterator, Mapping, Sequence

import keras
import tensorflow as tf

from dam_tf.augmentation import dsa
from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.generators import losses
from dam_tf.generators.generator import Generator, network_variables
from dam_tf.generators.networks import draw_weights
from dam_tf.generators.varying import draw_all
from dam_tf.methods.method import Logs, Task

# Which of an update's random numbers a draw is for.
_MIRROR, _REAL, _GENERATED = range(3)


class Adversarial(Generator):
    """A generator against a discriminator, each with Adam.

    Images are of -1 to 1 here. Where DSA may flip (`augmentation.operations`), real
    images are mirrored at random, which leaves the classes of photographs alone.
    """

    betas = (0.0, 0.999)  # of Adam
    # Of answers, to real and to one batch of generated images, and to such alone.
    discriminator_loss = staticmethod(losses.hinge_discriminator)
    generator_loss = staticmethod(losses.hinge_generator)

    @abc.abstractmethod
    def make_networks(
        self, image_shape: tuple[int, int, int], classes: int
    ) -> dict[str, keras.Model]:
        """Returns networks by name.

        `generator` and `discriminator` are among them. All but the discriminator are
        trained in the generator's update.
        """

    def generated(
        self, noise: tf.Tensor, real: tf.Tensor, labels: tf.Tensor
    ) -> tuple[list[tf.Tensor], Logs]:
        """Returns what the discriminator shall tell from real images, while training.

        Args:
            noise: `[n, noise_width]`, from N(0, 1).
            real: `[n, h, w, c]`.
            labels: Of the real images and of those to make, int32 `[n]`.

        Returns:
            Batches of images, and losses of making them, for the logs.
        """
        del real
        return [self.networks["generator"]([noise, labels], training=True)], {}

    @property
    def noise_width(self) -> int:
        """How many random numbers each image of an update takes."""
        return self.settings.latent

    def answers(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Returns what the discriminator answers while it is trained, `[n]`."""
        found = self.networks["discriminator"]([images, labels], training=True)
        return tf.reshape(found, [-1])

    def more_losses(
        self, real: tf.Tensor, generated: Sequence[tf.Tensor], labels: tf.Tensor
    ) -> Logs:
        """Returns other losses of the generator's update, to be added to its own."""
        del real, generated, labels
        return {}

    @property
    def trained_with_generator(self) -> list[keras.Variable]:
        """What the generator's update moves."""
        return [
            variable
            for name, network in self.networks.items()
            if name not in ("discriminator", *self.averaged)
            for variable in network.trainable_variables
        ]

    @property
    def of_discriminator(self) -> list[keras.Variable]:
        """What the discriminator's update moves."""
        return self.networks["discriminator"].trainable_variables

    @property
    def averaged(self) -> Mapping[str, str]:
        """Networks that are moving averages: of which others, by name."""
        return {}

    def make(self, task: Task) -> None:
        config = task.config
        self.networks = self.make_networks(task.image_shape, len(task.class_names))
        originals = [name for name in self.networks if name not in self.averaged]
        for number, name in enumerate(originals):
            draw_weights(self.networks[name], self._seed, number)
        for name, original in self.averaged.items():
            pairs = self._pairs(name, original)
            for average, variable in pairs:
                average.assign(variable)
        self.optimizers = {}
        for name, variables in (
            ("generator_adam", self.trained_with_generator),
            ("discriminator_adam", self.of_discriminator),
        ):
            rate = self.settings.network_rate
            self.optimizers[name] = keras.optimizers.Adam(rate, *self.betas)
            self.optimizers[name].build(variables)
        can_mirror = "flip" in config.augmentation.operations
        self._mirror = ("flip",) if can_mirror else ()
        options = {"jit_compile": self.compiled, "autograph": False}
        self._discriminate = tf.function(self._discriminator_step, **options)
        self._generate = tf.function(self._generator_step, **options)

    @property
    def variables(self) -> dict[str, keras.Variable]:
        return network_variables(self.networks, self.optimizers)

    @property
    def batches_per_iteration(self) -> int:
        return getattr(self.settings, "discriminator_steps", 1)

    def train(self, batches: Iterator, iteration: tf.Tensor) -> Logs:
        found = []
        for step in range(self.batches_per_iteration):
            classes, pixels = next(batches)
            labels = tf.repeat(classes, pixels.shape[1])
            real = self._unit(pixels)
            noise, drawn = self._draw(len(labels), iteration, step)
            found.append(self._discriminate(real, labels, noise, drawn))
        noise, drawn = self._draw(len(labels), iteration, self.batches_per_iteration)
        logs = self._generate(real, labels, noise, drawn)
        for name, original in self.averaged.items():
            self.move_average(name, original, iteration)
        return {**logs, "discriminator": tf.reduce_mean(tf.stack(found))}

    def sample(self, noise: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        name = next((k for k, v in self.averaged.items() if v == "generator"), None)
        network = self.networks[name or "generator"]
        return (network([noise, labels], training=False) + 1) / 2

    def _unit(self, pixels: tf.Tensor) -> tf.Tensor:
        """uint8 `[classes, n, h, w, c]` as images of -1 to 1, one after the other."""
        pixels = tf.reshape(pixels, [-1, *pixels.shape[2:]])
        return tf.cast(pixels, tf.float32) / 127.5 - 1

    def _draw(self, count: int, iteration: tf.Tensor, step: int):
        """All that is random in an update; XLA would draw other numbers.

        Returns:
            Random numbers for the generator, and DSA's parameters: which real images
            are mirrored, how real images are varied, how generated ones are.
        """
        seed, config = self._seed, self._task.config
        latent = (count, self.noise_width)
        one = tensor_seed(seed, Purpose.GENERATOR_NOISE, iteration, step)
        noise = tf.random.stateless_normal(latent, one)
        size = self._task.image_shape[:2]
        augment = getattr(self.settings, "augment", ())
        operations = {_MIRROR: self._mirror, _REAL: augment, _GENERATED: augment}
        drawn = []
        for what, names in operations.items():
            counters = iteration, step, what
            one = tensor_seed(seed, Purpose.GENERATOR_AUGMENTATION, *counters)
            some = names and draw_all(one, count, size, config.augmentation, names)
            drawn.append(some or None)
        return noise, drawn

    def _discriminator_step(self, real, labels, noise, drawn):
        real = _vary(real, drawn[_MIRROR])
        made, _ = self.generated(noise, real, labels)
        variables = self.of_discriminator
        with tf.GradientTape() as tape:
            answers = self.answers(_vary(real, drawn[_REAL]), labels)
            others = [
                self.answers(_vary(tf.stop_gradient(some), drawn[_GENERATED]), labels)
                for some in made
            ]
            loss = _mean([self.discriminator_loss(answers, some) for some in others])
        gradients = tape.gradient(loss, variables)
        self.optimizers["discriminator_adam"].apply(gradients, variables)
        return loss

    def _generator_step(self, real, labels, noise, drawn):
        real = _vary(real, drawn[_MIRROR])
        variables = self.trained_with_generator
        with tf.GradientTape() as tape:
            made, logs = self.generated(noise, real, labels)
            answers = [
                self.answers(_vary(some, drawn[_GENERATED]), labels) for some in made
            ]
            logs = {**logs, **self.more_losses(real, made, labels)}
            own = _mean([self.generator_loss(some) for some in answers])
            loss = tf.add_n([own, *logs.values()])
        gradients = tape.gradient(loss, variables)
        self.optimizers["generator_adam"].apply(gradients, variables)
        return {"loss": loss, **logs}

    def _pairs(self, name: str, original: str):
        one, other = self.networks[name], self.networks[original]
        return list(zip(one.variables, other.variables, strict=True))

    def move_average(self, name: str, original: str, iteration: tf.Tensor) -> None:
        """Moves the average of a network: a = d * a + (1 - d) * w.

        d is `ema_decay`, at first less: (1 + t) / (10 + t) after t updates, so that a
        short training forgets its random start, too.

        Args:
            name: Of the average.
            original: Of the network.
            iteration: t.
        """
        t = tf.cast(iteration, tf.float32)
        decay = tf.minimum(self.settings.ema_decay, (1 + t) / (10 + t))
        for average, variable in self._pairs(name, original):
            average.assign(decay * average + (1 - decay) * variable)


def _mean(losses: Sequence[tf.Tensor]) -> tf.Tensor:
    return tf.add_n([loss / len(losses) for loss in losses])


def _vary(images: tf.Tensor, parameters: dsa.Parameters | None) -> tf.Tensor:
    return images if parameters is None else dsa.apply(images, parameters)
