"""What a generator is to a run: a method whose images are samples of what it trains.

So a run keeps, resumes, logs and reports it as it does a method of distillation.
`adversarial.py` and `gmmn.py` stand on this.
"""

import abc
from collections.abc import Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.base.seeds import Purpose, numpy_generator
from dam_tf.config.generators import GeneratorSettings
from dam_tf.config.schema import to_dict
from dam_tf.data.real_data import RealData
from dam_tf.methods.method import Gradients, Logs, Task
from dam_tf.methods.real_batches import RealBatches
from dam_tf.runs.folder import RunFolder, find_run
from dam_tf.runs.provenance import check_run_data
from dam_tf.runs.state import load_checkpoint
from dam_tf.synthetic.synthetic_set import SyntheticSet

_SAMPLED_AT_ONCE = 64


class Generator(RealBatches):
    """A generative model of the real images, and the images that it makes of a seed.

    The first of them of each class are the set: no one is picked. They are a
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

    def check(self, task: Task) -> None:
        super().check(task)
        if not self.settings.trained:
            return
        run, own = find_run(self.settings.trained), {"trained": ""}
        made = {**to_dict(run.settings().method), **own}
        now = {**to_dict(self.settings), **own}
        for key in sorted(made.keys() | now.keys(), key=lambda key: key != "name"):
            if made.get(key) != now.get(key):
                raise UserError(
                    f"the run in {run.path} has method.{key} = {made.get(key)!r}, not "
                    f"{now.get(key)!r}: its weights are of another model; give the "
                    "same, or leave method.trained out"
                )

    def build(
        self, task: Task, synthetic: SyntheticSet, preprocessing: keras.layers.Layer
    ) -> None:
        super().build(task, synthetic, preprocessing)
        self._task = task
        self.make(task)
        if self.settings.trained:
            self._take_weights(find_run(self.settings.trained), task.data)

    def _take_weights(self, run: RunFolder, data: RealData | None) -> None:
        """Begins with all that the latest checkpoint of a run of the same data has."""
        if data is not None:
            check_run_data(run, data)
        variables = {f"method/{k}": value for k, value in self.variables.items()}
        state = {name: variable.numpy() for name, variable in variables.items()}
        found, _ = load_checkpoint(run.checkpoints, state)
        for name, variable in variables.items():
            variable.assign(found[name])

    def batch_of(self, task: Task) -> tuple[int, int]:
        """Returns as many classes as fit, and equally many images of each."""
        wanted = self.settings.batch
        classes = min(len(task.class_names), wanted)
        return classes, max(1, round(wanted / classes))

    def inputs(
        self, data: RealData, first: int, last: int, replica: int = 0
    ) -> tf.data.Dataset:
        times = self.batches_per_iteration
        return super().inputs(data, first * times, last * times, replica)

    def gradients(
        self, synthetic: SyntheticSet, batches: Iterator, iteration: tf.Tensor
    ) -> tuple[Gradients, Logs]:
        """Trains, and returns the gradient of no image: they are made when needed."""
        logs = self.train(batches, iteration)
        shape = synthetic.stored.shape
        nothing = tf.zeros([0, *shape[1:]]), tf.zeros([0], tf.int32)
        return {"images": tf.IndexedSlices(*nothing, shape)}, logs

    def refresh(self, synthetic: SyntheticSet) -> None:
        pixels = self.samples(synthetic.counts)
        synthetic.stored.assign(self._preprocessing(pixels))

    def samples(self, counts: Sequence[int]) -> np.ndarray:
        """Returns the first images of each class, as many of it as `counts` says.

        Returns:
            float32 `[n, h, w, c]`, pixels of 0 to 1, sorted by class.
        """
        latent = self.settings.latent
        noise = np.concatenate(
            [
                self.noise(
                    numpy_generator(self._seed, Purpose.GENERATED_IMAGES, label),
                    (count, latent),
                )
                for label, count in enumerate(counts)
            ]
        )
        labels, parts = np.repeat(np.arange(len(counts), dtype=np.int32), counts), []
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
                # Before the last part stands how often Keras made such a layer.
                kind = variable.name.rpartition("_")[2]
                found[f"{name}/{index}/{kind}"] = variable
    return found
