"""What a generator is to a run: a method whose images are samples of what it trains.

So a run keeps, resumes, logs and reports it as it does a method of distillation.
`adversarial.py` and `gmmn.py` stand on this.
"""

import abc
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager

import keras
import numpy as np
import tensorflow as tf

from dam_tf.base.seeds import Purpose, numpy_generator
from dam_tf.config.generators import GeneratorSettings
from dam_tf.data.real_data import RealData
from dam_tf.data.sampling import ClassBatches
from dam_tf.methods.method import Gradients, Logs, Method, Task
from dam_tf.synthetic.synthetic_set import SyntheticSet

_SAMPLED_AT_ONCE = 64


class Generator(Method):
    """A generative model of the real images, and the images that it makes of a seed.

    The first ipc of them of each class are the set: no one is picked. They are a
    function of the seed, the class and the weights, so a set of one image per class
    begins one of ten.
    """

    Settings = GeneratorSettings
    work = "Training"
    rate = "method.network_rate"

    @abc.abstractmethod
    def make(self, task: Task) -> None:
        """Makes networks, optimizers and variables, once.

        Args:
            task: That of `check`.
        """

    @abc.abstractmethod
    def train(self, batches: Iterator, iteration: tf.Tensor) -> Logs:
        """Performs one iteration of the training, in a graph.

        Args:
            batches: Gives `ClassBatch`es, `batches_per_iteration` of them.
            iteration: Updates done before, int64.

        Returns:
            Scalars by `log_names`.
        """

    @abc.abstractmethod
    def sample(self, noise: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Returns pixels of 0 to 1, `[n, h, w, c]`; no image depends on another.

        Args:
            noise: As of `noise`, float32 `[n, latent]`.
            labels: int32 `[n]`.
        """

    @staticmethod
    def noise(generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        """Returns the random numbers that images are made of, `[n, latent]`."""
        return generator.standard_normal(shape)

    @property
    def batches_per_iteration(self) -> int:
        """How many batches of real images an iteration takes."""
        return 1

    @property
    def compiled(self) -> bool:
        """Whether XLA compiles the steps."""
        return self._task.config.distillation.jit == "xla"

    def build(
        self, task: Task, synthetic: SyntheticSet, preprocessing: keras.layers.Layer
    ) -> None:
        self._task, self._preprocessing = task, preprocessing
        self._batches: ClassBatches | None = None
        self.make(task)

    def inputs(
        self, data: RealData, first: int, last: int, replica: int = 0
    ) -> tf.data.Dataset:
        """Returns batches of as many classes as fit, with equally many images of each.

        Where there are more classes than `batch`, each batch draws some of them.
        """
        del replica
        wanted = self.settings.batch
        drawn = min(data.num_classes, wanted)
        seed = self._task.config.distillation.seed
        each = max(1, round(wanted / drawn))
        times = self.batches_per_iteration
        return self._opened(ClassBatches(data.train, each, seed, drawn)).dataset(
            first * times, last * times, drawn
        )

    def _opened(self, batches: ClassBatches) -> ClassBatches:
        if self._batches is None:
            batches.say_if_small()
        self._batches = batches
        return batches

    def failures_named(self) -> AbstractContextManager:
        return self._batches.failures_named()

    def gradients(
        self, synthetic: SyntheticSet, batches: Iterator, iteration: tf.Tensor
    ) -> tuple[Gradients, Logs]:
        """Trains, and returns the gradient of no image: they are made when needed."""
        logs = self.train(batches, iteration)
        shape = synthetic.stored.shape
        nothing = tf.zeros([0, *shape[1:]]), tf.zeros([0], tf.int32)
        return {"images": tf.IndexedSlices(*nothing, shape)}, logs

    def refresh(self, synthetic: SyntheticSet) -> None:
        pixels = self.samples(synthetic.classes, synthetic.ipc)
        synthetic.stored.assign(self._preprocessing(pixels))

    def samples(self, classes: int, count: int) -> np.ndarray:
        """Returns the first `count` images of each class.

        Returns:
            float32 `[classes * count, h, w, c]`, pixels of 0 to 1, sorted by class.
        """
        seed, latent = self._task.config.distillation.seed, self.settings.latent
        noise = np.concatenate(
            [
                self.noise(
                    numpy_generator(seed, Purpose.GENERATED_IMAGES, label),
                    (count, latent),
                )
                for label in range(classes)
            ]
        )
        labels, parts = np.repeat(np.arange(classes, dtype=np.int32), count), []
        for start in range(0, len(labels), _SAMPLED_AT_ONCE):
            rows = slice(start, start + _SAMPLED_AT_ONCE)
            some = tf.constant(noise[rows], tf.float32), tf.constant(labels[rows])
            parts.append(self.sample(*some).numpy())
        return np.concatenate(parts)


def network_variables(
    networks: Mapping[str, keras.Model],
    optimizers: Mapping[str, keras.optimizers.Optimizer],
) -> dict[str, keras.Variable]:
    """Returns all that changes of networks and optimizers, by names that stay.

    Args:
        networks: By name.
        optimizers: By name, built.
    """
    found = {
        f"{name}/{index}/{variable.name}": variable
        for name, network in networks.items()
        for index, variable in enumerate(network.variables)
    }
    for name, optimizer in optimizers.items():
        for index, variable in enumerate(optimizer.variables):
            if variable.name != "learning_rate":
                found[f"{name}/{index}/{variable.name}"] = variable
    return found
