"""Kernel ridge regression on the synthetic images, and methods that learn through it.

KIP (`kip.py`) regresses with the kernel of a network of infinite width, FRePo
(`frepo.py`) with the features of finite ones, and label solve (`label_solve.py`) solves
for the labels.
"""

import math
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.base.memory import PROCESS, check_memory
from dam_tf.base.messages import log
from dam_tf.methods.infinite_network import InfiniteNetwork
from dam_tf.methods.method import Task, check_unused
from dam_tf.methods.real_batches import RealBatches
from dam_tf.networks.memory import available_bytes, halves
from dam_tf.synthetic.recipe import Recipe
from dam_tf.synthetic.regression_set import (
    RegressionSet,
    centred_one_hot,
    target_scale,
)
from dam_tf.synthetic.synthetic_set import SyntheticSet

_BATCH, _IPC = "--batch_real", "--ipc"


def ridge_weights(
    kernel: tf.Tensor, targets: tf.Tensor, regularization: float
) -> tf.Tensor:
    """Returns A of kernel ridge regression, `(K + r tr(K)/n I)^-1 Y`, `[n, classes]`.

    What it answers for images of kernel `k`, `[m, n]`, with these is `k A`.

    Args:
        kernel: K, of all pairs of the n images, float64 `[n, n]`.
        targets: Y, float64 `[n, classes]`.
        regularization: r, relative to the mean of the kernel's diagonal.

    Example:
        >>> kernel = tf.constant([[2.0, 0.0], [0.0, 2.0]], tf.float64)
        >>> ridge_weights(kernel, tf.eye(2, dtype=tf.float64), 1.0).numpy().tolist()
        [[0.25, 0.0], [0.0, 0.25]]
    """
    kernel = regularized(kernel, regularization)
    finite = tf.reduce_all(tf.math.is_finite(kernel))
    # A matrix that is not finite is no error of the solver: the loss will tell.
    solvable = tf.where(finite, kernel, tf.eye(kernel.shape[0], dtype=kernel.dtype))
    found = tf.linalg.cholesky_solve(tf.linalg.cholesky(solvable), targets)
    return tf.where(finite, found, tf.constant(np.nan, found.dtype))


def regularized(kernel: tf.Tensor, regularization: float) -> tf.Tensor:
    """Returns `K + r tr(K)/n I`; the arguments are those of `ridge_weights`."""
    size = kernel.shape[0]
    ridge = regularization * tf.linalg.trace(kernel) / size
    return kernel + ridge * tf.eye(size, dtype=kernel.dtype)


class KernelRegression(RealBatches):
    """A method whose loss is what a kernel ridge regression on its images answers.

    Real images come in batches of as many of each class, of which each replica takes
    its own classes. Images are shown as they are, without the augmentation of DSA, as
    the code of KIP and FRePo shows them.
    """

    shares = "batch"

    def check(self, task: Task) -> None:
        super().check(task)
        check_unused(
            task,
            "moves all images at once",
            "regresses in float64",
            "has networks of its own",
        )
        if task.replicas > len(task.class_names):
            raise UserError(
                f"{task.replicas} devices cannot share {len(task.class_names)} classes "
                f"of which method {self.settings.name!r} gives each device some; use "
                "fewer devices"
            )

    @property
    def moves_labels(self) -> bool:
        """Whether the set has labels that change, which are targets."""
        return self.settings.labels == "learned"

    def label_scale(self, classes: int) -> float:
        """Returns what centred one-hot labels of synthetic images begin at."""
        del classes
        return 1.0

    def start(self, task: Task, images: np.ndarray) -> SyntheticSet:
        if not self.moves_labels:
            return super().start(task, images)
        labels = np.repeat(np.arange(len(images)), [*map(len, images)])
        return RegressionSet(images, self._first_targets(labels, len(images)).numpy())

    def _first_targets(self, labels, classes):
        return self.label_scale(classes) * centred_one_hot(labels, classes)

    def build(
        self,
        task: Task,
        synthetic: SyntheticSet,
        preprocessing: keras.layers.Layer,
    ) -> None:
        super().build(task, synthetic, preprocessing)
        self._classes = len(task.class_names)
        self._fixed = self._first_targets(synthetic.owners, synthetic.classes)
        if task.config.augmentation.operations:
            log.info(
                "Method %s shows all images as they are: section augmentation is for "
                "evaluation alone.",
                self.settings.name,
            )

    def failure(self, synthetic: SyntheticSet) -> str | None:
        labels = synthetic.variables_by_name.get("labels")
        if labels is not None and not np.isfinite(labels.numpy()).all():
            return "the labels became infinite or not a number"
        return None

    def recipe(self, synthetic: SyntheticSet) -> Recipe:
        """Returns how the authors of KIP train a network on such a set (NeurIPS 2021).

        5,000 steps of SGD with momentum and a rate that falls to 0 along a cosine, 100
        images each, by the squared error of the targets. The rate stays open: theirs is
        the largest at which the linearised network is stable. Their L2 penalty is left
        out, as of every recipe that names its steps. With averaged labels the targets
        differ by a factor near 1.
        """
        return Recipe(
            steps=5000,
            momentum=0.9,
            batch_size=100,
            loss="mse",
            target_scale=self._scale_of(synthetic),
            falls_to=0.0,
        )

    def _scale_of(self, synthetic: SyntheticSet) -> float:
        """What brings the probabilities of the set back to its targets."""
        labels = synthetic.variables_by_name.get("labels")
        return 1.0 if labels is None else target_scale(labels)

    def _learned(self, synthetic: SyntheticSet) -> dict[str, tf.Tensor]:
        """The images, and the labels where they are learned, as tensors by name."""
        return {
            name: tf.convert_to_tensor(variable)
            for name, variable in synthetic.variables_by_name.items()
        }

    def _targets(self, learned: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """What the regression is to answer for synthetic images, `[n, classes]`."""
        return learned.get("labels", self._fixed)


class InfiniteRegression(KernelRegression):
    """A regression with the kernel of a network of infinite width."""

    def check(self, task: Task) -> None:
        super().check(task)
        _check_memory(task)

    def build(
        self,
        task: Task,
        synthetic: SyntheticSet,
        preprocessing: keras.layers.Layer,
    ) -> None:
        super().build(task, synthetic, preprocessing)
        jit = task.config.distillation.jit == "xla"
        self._network = InfiniteNetwork(self.settings, jit)
        self._model_space = tf.function(self.in_model_space, jit_compile=jit)


def _check_memory(task: Task) -> None:
    """Raises a `UserError` where kernels take more memory than there is."""
    settings, classes = task.config.distillation, len(task.class_names)
    values = math.prod(task.image_shape)

    def needed(changed: Mapping[str, int]) -> float:
        batch = classes * changed.get(_BATCH, settings.batch_real)
        count = task.images_at(changed.get(_IPC))
        # Real images as pixels, of which three batches wait, and in float32 and
        # float64; both kernels, what is solved and the gradient of each.
        real = batch * values * (3 + 4 + 8)
        return PROCESS + real + count * values * 40 + 16 * count * (batch + 2 * count)

    choices = {_BATCH: halves(settings.batch_real), _IPC: task.smaller_ipcs}
    height, width, _ = task.image_shape
    what = f"a kernel regression on images of {height}x{width}"
    check_memory(what, needed, choices, available_bytes())
