"""Matching training trajectories (MTT; Cazenavette et al., CVPR 2022).

A student network starts with the weights of an expert, which was trained on the real
set, and takes a few steps of SGD on the synthetic images. These images, and the size of
the steps, learn to bring it where more epochs of real images brought the expert.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from dam_tf.augmentation import dsa
from dam_tf.base.errors import UserError
from dam_tf.base.messages import say_once
from dam_tf.base.seeds import Purpose, numpy_generator, tensor_seed
from dam_tf.config.methods import MTTSettings
from dam_tf.config.trajectories import published
from dam_tf.data.failures import Failures
from dam_tf.data.real_data import RealData
from dam_tf.methods.experts import check_experts_data, find_experts
from dam_tf.methods.memory import check_unrolling
from dam_tf.methods.method import Gradients, Logs, Method, Task, check_unused
from dam_tf.methods.optimizers import image_optimizer
from dam_tf.methods.unrolled import Batch, StudentStep, images_at_once
from dam_tf.networks.memory import sketch
from dam_tf.networks.registry import tap_names
from dam_tf.networks.trajectories import Experts
from dam_tf.synthetic.recipe import Recipe
from dam_tf.synthetic.synthetic_set import SyntheticSet

# Said first in a loop over steps: the next one waits for all of this one. TensorFlow
# begins the next ones as soon as it can, and their maps take memory, too.
set_loop_options = tf.autograph.experimental.set_loop_options

STEP_SIZE = "step_size"
_STEP_SIZE_MOMENTUM = 0.5
_EVALUATED_WITH = {"momentum": 0.9, "batch_size": 256}  # by the code of MTT
_FEW = 4  # values of a map
_CERTAIN = 20.0  # logit of an image's class, where labels are not learned yet

# Of a step its rows of synthetic images, and the batch that they are.
BatchOf = Callable[[tf.Tensor], tuple[tf.Tensor, Batch]]


class MTT(Method):
    """The squared distance of a student's weights to an expert's later weights.

    An iteration follows the next expert, in an order that is drawn anew once all have
    had their turn, from an epoch t below `max_start`. With theta_0 = expert[t] and
    target = expert[t + expert_epochs], the student takes `steps` steps

        theta_{i+1} = theta_i - step_size * gradient of the mean cross-entropy of
                      augmented synthetic images at theta_i,

    and loss = |theta_N - target|^2 / |theta_0 - target|^2, over all weights, biases and
    norms. Images move down its gradient, and so does the step size. Each step takes the
    next `batch` images of a random order of all. Images that are left over when no
    whole batch is, have their turn in another order: the released code takes them as a
    smaller batch. The augmentation is one operation a step, with strengths for each
    image.

    The gradient is that of the whole unrolled training, as of the released code, but it
    is computed backwards by hand: the forward pass keeps the weights of each step and
    nothing else, the way back computes one step anew at a time. So memory is that of
    one step, and `steps` times the weights.

    With `labels="expert"` the labels are what target says of the images, without
    augmentation, by softmax, as TESLA (Cui et al., ICML 2023) has it for ImageNet.
    Those of the last iteration are distilled.

    The set's recipe is how the released code evaluates: the learned step size as the
    learning rate, momentum 0.9, batches of 256.

    Attributes:
        keeps_weights: Whether the way back needs the weights of each step, and so a
            derivative in them.

    Example:
        >>> method = MTT(experts="runs/digits_experts", steps=10)
        >>> method.settings.steps, method.settings.labels
        (10, 'hard')
    """

    Settings = MTTSettings
    keeps_weights: ClassVar[bool] = True

    def check(self, task: Task) -> None:
        super().check(task)
        settings = self.settings
        check_unused(
            task,
            "trains one network on all classes",
            "has no batches of real images",
            "follows method.experts",
        )
        images = task.images_at()
        if settings.batch is not None and settings.batch > images:
            raise UserError(
                f"method.batch {settings.batch} is more than the {images} synthetic "
                f"images; choose at most {images}, or leave it out for all"
            )
        if not 0 < settings.step_size < 1:
            raise UserError(
                "method.step_size must lie between 0 and 1, not be "
                f"{settings.step_size}"
            )
        experts = self._experts = find_experts(task)
        if not experts.whole:
            raise UserError(
                f"{experts.folder} has networks before and after their training, and "
                f"method {settings.name!r} follows every epoch; train some with "
                "`python -m dam_tf experts`"
            )
        self._starts = self._start_epochs(task)
        self._batch = settings.batch or images
        self._warn_of_small_maps(task)
        kept = settings.steps if self.keeps_weights else 0
        check_unrolling(task, kept, min(self._batch, images_at_once(task)))

    def _warn_of_small_maps(self, task: Task) -> None:
        """Through norms of a few values, a loss of many steps jumps with each image."""
        network = sketch(task.image_shape, len(task.class_names), task.config.network)
        norm = task.config.network.norm or "instance"
        tap = network.get_layer(tap_names(network)[-1]).output.shape
        if norm == "instance" and len(tap) == 4 and tap[1] * tap[2] <= _FEW:
            say_once(
                f"The last block normalises maps of {tap[1]}x{tap[2]}: the student's "
                "steps are then so unsteady that images may learn nothing; fewer "
                "blocks (--set=network.depth) help, for the experts, too."
            )

    def _start_epochs(self, task: Task) -> int:
        """How many epochs, from 0 on, the student may begin with."""
        settings, experts = self.settings, self._experts
        most = experts.epochs - settings.expert_epochs + 1
        dataset, ipc = task.config.dataset.name, task.config.distillation.ipc
        given, usual = settings.max_start, published(settings.name, dataset, ipc)
        wanted = usual.max_start if given is None else given
        if most < 1 or (given or 0) > most:
            longest = settings.expert_epochs - 1 + (given or 1)
            shorter = f", or --set=method.max_start={most}" if most > 0 else ""
            flag = "--set=method.train_epochs" if task.planned else "--epochs"
            raise UserError(
                f"the experts in {experts.folder} have {experts.epochs} epochs, and "
                f"method.expert_epochs={settings.expert_epochs} with "
                f"method.max_start={given or 1} needs {longest}; train them with "
                f"{flag}={longest}{shorter}"
            )
        if wanted > most:
            say_once(
                f"Students begin with epochs 0 to {most - 1} of the experts, which "
                f"have {experts.epochs}; 0 to {wanted - 1} are usual."
            )
        return min(wanted, most)

    def stored_networks(self, task: Task) -> Experts:
        return self._experts

    def start(self, task: Task, images: np.ndarray) -> SyntheticSet:
        logits = None
        if self.settings.labels == "expert":
            owners = np.repeat(np.arange(len(images)), [*map(len, images)])
            logits = _CERTAIN * np.eye(len(images))[owners]
        return SyntheticSet(images, logits, {STEP_SIZE: self.settings.step_size})

    def optimizer(self, name: str, task: Task) -> keras.optimizers.Optimizer:
        if name == "images":
            return image_optimizer(task.config.distillation)
        rate = self.settings.step_size_rate
        return keras.optimizers.SGD(rate, _STEP_SIZE_MOMENTUM)

    def build(
        self,
        task: Task,
        synthetic: SyntheticSet,
        preprocessing: keras.layers.Layer,
    ) -> None:
        self._seed, self._steps = task.config.distillation.seed, self.settings.steps
        self._augmentation = task.config.augmentation
        self._preprocessing, self._failures = preprocessing, Failures()
        self._checked: RealData | None = None
        if task.data is not None:
            self._check_data(task.data)
        self._step = StudentStep(task, through_weights=self.keeps_weights)

    def _check_data(self, data: RealData) -> None:
        if self._checked is not data:
            check_experts_data(self._experts, data, self._preprocessing)
            self._checked = data

    def followed(self, iteration: int) -> tuple[int, int]:
        """Returns which expert an iteration follows, and from which epoch on."""
        turn, place = divmod(iteration, len(self._experts))
        order = numpy_generator(self._seed, Purpose.EXPERT_FOLLOWED, 0, turn)
        start = numpy_generator(self._seed, Purpose.EXPERT_FOLLOWED, 1, iteration)
        expert = order.permutation(len(self._experts))[place]
        return int(expert), int(start.integers(self._starts))

    def inputs(
        self, data: RealData, first: int, last: int, replica: int = 0
    ) -> tf.data.Dataset:
        self._check_data(data)
        shape, far = [2, self._step.size], self.settings.expert_epochs

        def load(iteration: np.int64) -> np.ndarray:
            expert, epoch = self.followed(int(iteration))
            with self._failures.kept():
                states = [self._experts.state(expert, epoch + k) for k in (0, far)]
            return np.stack(states)

        def load_tensor(iteration: tf.Tensor) -> tf.Tensor:
            states = tf.numpy_function(load, [iteration], tf.float32, stateful=False)
            return tf.ensure_shape(states, shape)

        states = tf.data.Dataset.range(first, last).map(load_tensor)
        return states.prefetch(1)

    def failures_named(self) -> AbstractContextManager:
        return self._failures.named()

    def gradients(
        self, synthetic: SyntheticSet, batches: Iterator, iteration: tf.Tensor
    ) -> tuple[Gradients, Logs]:
        start, target = tf.unstack(next(batches))
        images, step_size = synthetic.images(), synthetic.scalar(STEP_SIZE)
        if self.settings.labels == "expert":
            logits = self._step.answer(target, images)
            synthetic.variables_by_name["labels"].assign(logits)
        labels, rows = synthetic.labels(), self._rows(len(images), iteration)

        def batch_of(step: tf.Tensor) -> tuple[tf.Tensor, Batch]:
            some = tf.gather(rows, step)
            purpose = Purpose.STUDENT_AUGMENTATION
            parameters = dsa.draw(
                tensor_seed(self._seed, purpose, iteration, step),
                self._batch,
                tuple(images.shape[1:3]),
                self._augmentation,
                shared_operation=True,
            )
            batch = tf.gather(images, some), tf.gather(labels, some), parameters
            return some, Batch(*batch)

        end, passed = self._descend(start, step_size, batch_of)
        way = tf.reduce_sum(tf.square(start - target))
        adjoint = 2 * (end - target) / way
        nothing = tf.zeros_like(images)
        of_images, of_step_size = self._ascend(
            passed, step_size, batch_of, adjoint, nothing
        )
        loss = tf.reduce_sum(tf.square(end - target)) / way
        logs = {"loss": loss, STEP_SIZE: step_size}
        return {"images": of_images, STEP_SIZE: of_step_size}, logs

    def _rows(self, count: int, iteration: tf.Tensor) -> tf.Tensor:
        """Which of `count` images each step takes, int32 `[steps, batch]`."""
        in_an_order = count // self._batch
        orders = -(-self._steps // in_an_order)
        seed = tensor_seed(self._seed, Purpose.STUDENT_BATCH, iteration)
        drawn = tf.argsort(tf.random.stateless_uniform([orders, count], seed))
        rows = tf.reshape(drawn[:, : in_an_order * self._batch], [-1, self._batch])
        return rows[: self._steps]

    def _descend(
        self, start: tf.Tensor, step_size: tf.Tensor, batch_of: BatchOf
    ) -> tuple[tf.Tensor, Any]:
        """Trains the student; returns its weights, and what `_ascend` needs."""
        theta = start
        passed = tf.TensorArray(tf.float32, self._steps, element_shape=start.shape)
        for step in tf.range(self._steps):
            set_loop_options(parallel_iterations=1)
            passed = passed.write(step, theta)
            theta -= step_size * self._step.gradient(theta, batch_of(step)[1])
        return theta, passed

    def _ascend(
        self,
        passed: Any,
        step_size: tf.Tensor,
        batch_of: BatchOf,
        adjoint: tf.Tensor,
        of_images: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the gradients of the loss in the images and in the step size.

        Args:
            passed: Of `_descend`.
            step_size: Of the student.
            batch_of: The batch of a step.
            adjoint: The gradient of the loss in the student's last weights.
            of_images: Zeros.
        """
        of_step_size = tf.zeros([])
        for back in tf.range(self._steps):
            set_loop_options(parallel_iterations=1)
            step = self._steps - 1 - back
            rows, batch = batch_of(step)
            reverse = self._step.reverse(passed.read(step), batch, adjoint)
            moved = -step_size * reverse.images
            of_images = tf.tensor_scatter_nd_add(of_images, rows[:, None], moved)
            of_step_size -= reverse.product
            adjoint -= step_size * reverse.weights
        return of_images, of_step_size

    def failure(self, synthetic: SyntheticSet) -> str | None:
        step_size = float(synthetic.scalar(STEP_SIZE))
        if 0 < step_size < 1:
            return None
        return (
            f"the learned step size became {step_size:.4g}, which must stay between 0 "
            f"and 1 (method.step_size_rate is {self.settings.step_size_rate:g})"
        )

    def recipe(self, synthetic: SyntheticSet) -> Recipe:
        step_size = float(synthetic.scalar(STEP_SIZE))
        return Recipe((step_size,), augmentation=self._augmentation, **_EVALUATED_WITH)
