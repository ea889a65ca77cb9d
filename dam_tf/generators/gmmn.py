"""GMMN: a network from uniform noise to images whose MMD to the real ones is small.

Li et al., "Generative Moment Matching Networks", ICML 2015, in the space of pixels. The
published model knows no classes; here each class has a network of its own, because a
set needs labels (DataDAM's paper does not say how its authors did it). Kernels are as
wide as the distances of the class ask for, where the published ones have variances of 2
to 80 on MNIST. The learning rate is one at which this loss goes down.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from dam_tf.base.memory import PROCESS, check_memory
from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.config.generators import GMMNSettings
from dam_tf.data.real_data import RealData
from dam_tf.generators.generator import Generator
from dam_tf.generators.losses import root_mmd
from dam_tf.methods.method import Logs, Task
from dam_tf.methods.mmd import squared_distances
from dam_tf.networks.memory import available_bytes

_LATE = 4  # from the fourth part of the iterations on, training is finer
_SLOWER, _LATE_MOMENTUM = 0.1, 0.99
_LEAST_VARIANCE = 1e-4  # where all images of a class are the same
_COMPARED = 256  # images of a class whose distances are taken


class GMMN(Generator):
    """One network of dense layers a class, trained on root MMD with several kernels."""

    Settings = GMMNSettings

    @staticmethod
    def noise(generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        return generator.uniform(-1, 1, shape)

    def check(self, task: Task) -> None:
        super().check(task)
        classes = len(task.class_names)
        sizes = self._sizes(task)
        weights = sum((one + 1) * other for one, other in itertools.pairwise(sizes))
        pooled = 2 * self.settings.batch
        # Weights and velocities, in variables and in a checkpoint that is written.
        needed = 4 * classes * 4 * weights + 4 * pooled**2
        check_memory(
            f"training gmmn, {classes} networks of {weights:,} weights,",
            lambda changed: PROCESS + needed,
            {},
            available_bytes(),
            "give fewer classes (--max_classes), smaller images (--image_size) or "
            "smaller layers (--set=method.hidden)",
        )

    def make(self, task: Task) -> None:
        classes, sizes = len(task.class_names), self._sizes(task)
        self._weights, self._velocities = [], []
        for layer, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
            one = tensor_seed(self._seed, Purpose.GENERATOR_WEIGHTS, layer)
            shape, deviation = (classes, inputs, outputs), (2 / inputs) ** 0.5
            kernel = tf.random.stateless_normal(shape, one, stddev=deviation)
            for value in (kernel, tf.zeros([classes, 1, outputs])):
                self._weights.append(tf.Variable(value))
                self._velocities.append(tf.Variable(tf.zeros_like(value)))
        self._medians = tf.Variable(tf.ones([classes]))
        options = {"jit_compile": self.compiled, "autograph": False}
        self._step = tf.function(self._class_step, **options)

    @property
    def variables(self) -> dict[str, tf.Variable]:
        kinds = {"weights": self._weights, "velocities": self._velocities}
        return {
            f"{kind}/{index}": variable
            for kind, variables in kinds.items()
            for index, variable in enumerate(variables)
        }

    def batch_of(self, task: Task) -> tuple[int, int]:
        return len(task.class_names), self.settings.batch

    def group_size(self, places: range) -> int:
        del places
        return 1

    def inputs(
        self, data: RealData, first: int, last: int, replica: int = 0
    ) -> tf.data.Dataset:
        if self._batches is None:
            self._medians.assign(median_distances(data))
        return super().inputs(data, first, last, replica)

    def train(self, batches: Iterator, iteration: tf.Tensor) -> Logs:
        settings, classes = self.settings, len(self._task.class_names)
        late = iteration >= self._task.config.distillation.iterations // _LATE
        rate = settings.network_rate * tf.where(late, _SLOWER, 1.0)
        momentum = tf.where(late, _LATE_MOMENTUM, settings.momentum)
        shape = (settings.batch, settings.latent)
        total = tf.constant(0.0)
        for _ in tf.range(classes):
            labels, pixels = next(batches)
            one = tensor_seed(self._seed, Purpose.GENERATOR_NOISE, iteration, labels[0])
            noise = tf.random.stateless_uniform(shape, one, -1.0, 1.0)
            total += self._step(labels[0], pixels, noise, rate, momentum)
        return {"loss": total / classes}

    def sample(self, noise: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        labels, parts = labels.numpy(), []
        for label in np.unique(labels):  # which are sorted
            weights = [tf.gather(variable, label) for variable in self._weights]
            parts.append(_images_of(weights, noise[labels == label]))
        return tf.reshape(tf.concat(parts, axis=0), [-1, *self._task.image_shape])

    def _sizes(self, task: Task) -> list[int]:
        pixels = int(np.prod(task.image_shape))
        return [self.settings.latent, *self.settings.hidden, pixels]

    def _class_step(self, label, pixels, noise, rate, momentum):
        """Moves the network of one class, and returns its loss before."""
        real = tf.reshape(tf.cast(pixels, tf.float32) / 255, [noise.shape[0], -1])
        shares = tf.constant(self.settings.bandwidths)
        weights = [tf.gather(variable, label) for variable in self._weights]
        with tf.GradientTape() as tape:
            tape.watch(weights)
            made = _images_of(weights, noise)
            variances = shares * tf.gather(self._medians, label)
            loss = root_mmd(made, real, variances)
        gradients = tape.gradient(loss, weights)
        lists = self._weights, self._velocities, weights, gradients
        for variable, velocities, weight, gradient in zip(*lists, strict=True):
            velocity = momentum * tf.gather(velocities, label) - rate * gradient
            for kept, value in ((velocities, velocity), (variable, weight + velocity)):
                kept.scatter_update(tf.IndexedSlices(value[None], label[None]))
        return loss


def median_distances(data: RealData) -> np.ndarray:
    """Returns the median squared distance of two images of each class, `[classes]`.

    Pixels are of 0 to 1. Images are taken evenly from those of the class.

    Args:
        data: The real data.
    """
    medians = []
    for size, offset in zip(data.train.counts, data.train.offsets, strict=False):
        rows = np.unique(np.linspace(0, size - 1, min(size, _COMPARED)).astype(int))
        images = data.train.take(offset + rows).reshape(len(rows), -1) / 255
        pairs = squared_distances(images, images).numpy()
        different = pairs[np.tril_indices(len(rows), k=-1)]
        medians.append(np.median(different) if len(different) else 0.0)
    return np.maximum(medians, _LEAST_VARIANCE).astype(np.float32)


def _images_of(weights: Sequence[tf.Tensor], noise: tf.Tensor) -> tf.Tensor:
    """Dense layers with ReLU between them, and sigmoid: `[n, pixels]`, 0 to 1."""
    x, count = noise, len(weights) // 2
    for layer in range(count):
        x = tf.matmul(x, weights[2 * layer]) + weights[2 * layer + 1]
        x = tf.nn.sigmoid(x) if layer == count - 1 else tf.nn.relu(x)
    return x
