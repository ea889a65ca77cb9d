"""DD: dataset distillation (Wang et al., 2018).

A fresh network takes a few steps of plain SGD, each on synthetic images of its own and
with a step size of its own; images and step sizes learn to bring it where real images
are classified rightly. What is distilled is images and that training.
"""

from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.config.image_counts import check_equal
from dam_tf.config.labels import DDSettings
from dam_tf.methods.inner_step import (
    InnerStep,
    check_inner_steps,
    check_trains_fresh_networks,
    flat_batch,
)
from dam_tf.methods.method import Gradients, Logs, Task
from dam_tf.methods.optimizers import Adam
from dam_tf.methods.real_batches import RealBatches
from dam_tf.synthetic.recipe import Recipe
from dam_tf.synthetic.synthetic_set import SyntheticSet

RATES = "rates"  # the variable whose softplus are the step sizes


class DD(RealBatches):
    """DD (Wang et al., Dataset Distillation, 2018): unrolled training.

    The images of a class are divided into S step-batches of `per_step`. A network takes
    T = S * `repeats` steps, with one learned step size a_t each,

        theta_{t+1} = theta_t - a_t * gradient of the mean cross-entropy of step-batch
                      t mod S at theta_t,

    and loss = mean cross-entropy of a real batch at theta_T. Images and step sizes move
    down its gradient by Adam; a_t is the softplus of what is learned, so it is
    positive. With `networks` above 1 that is the mean over as many networks.

    theta_0 is fresh in each iteration (`start="random"`), or always the same
    (`"fixed"`), for which the set is then good alone.

    The gradient is that of the whole unrolled training, found backwards by hand: for
    t = T - 1 down to 0 the step is computed anew and differentiated. Of the way forward
    only the weights before each step are kept, so T adds the bytes of T networks'
    weights, and none of their maps.

    The set carries the recipe: the steps, their images and their sizes in order, and
    the seed of a fixed start. That is the evaluation of the paper (`evaluate
    --own_recipe`); networks that are trained in another way learn much less.

    As in the released code images start from noise, and neither they nor the real ones
    are augmented. Adam's beta_1 is `distillation.momentum`; the learning rate halves
    every `halve_every` iterations, which are 40 passes over CIFAR-10 there. The code
    draws 1,024 real images of any class; here they are `batch_real` of each, 102 for
    ten classes. Its networks (LeNet for MNIST, a larger AlexNet for CIFAR-10) are
    `--network=lenet` and `alexnet`, not the default ConvNet. It starts with step sizes
    of 0.02 for MNIST and 0.001 for CIFAR-10 (`step_size`); where the loss becomes
    infinite, a smaller one helps.

    Example:
        >>> DD(repeats=1, start="fixed").settings.per_step
        1
    """

    Settings = DDSettings

    def check(self, task: Task) -> None:
        super().check(task)
        settings, distillation = self.settings, task.config.distillation
        check_equal(
            distillation,
            f"method {settings.name!r}, each of whose steps takes as many images of "
            "every class, in one order for all",
        )
        if distillation.ipc % settings.per_step:
            raise UserError(
                f"ipc {distillation.ipc} cannot be divided into steps of "
                f"method.per_step={settings.per_step} images a class; choose a "
                "divisor of ipc"
            )
        if settings.start == "fixed" and settings.networks > 1:
            raise UserError(
                f"method.networks {settings.networks} would be that often the same "
                "network where method.start='fixed'; leave it out"
            )
        check_trains_fresh_networks(task)
        self._in_order = distillation.ipc // settings.per_step
        self._steps = self._in_order * settings.repeats
        batch = settings.per_step * len(task.class_names)
        check_inner_steps(task, self._steps, batch)

    def start(self, task: Task, images: np.ndarray) -> SyntheticSet:
        size = self.settings.step_size
        first = size + np.log(-np.expm1(-size))  # of which softplus is `size`
        return SyntheticSet(images, scalars={RATES: np.full([self._steps], first)})

    def optimizer(self, name: str, task: Task) -> keras.optimizers.Optimizer:
        settings = task.config.distillation
        rate = keras.optimizers.schedules.ExponentialDecay(
            settings.learning_rate, self.settings.halve_every, 0.5, staircase=True
        )
        averages = {"use_ema": True, "ema_momentum": settings.ema_decay}
        return Adam(
            rate,
            settings.momentum,
            epsilon=1e-8,  # PyTorch's
            **(averages if settings.ema_decay and name == "images" else {}),
        )

    def build(
        self,
        task: Task,
        synthetic: SyntheticSet,
        preprocessing: keras.layers.Layer,
    ) -> None:
        super().build(task, synthetic, preprocessing)
        self._step = InnerStep(task, preprocessing)
        classes, size = synthetic.classes, self.settings.per_step
        by_class = np.arange(len(synthetic.owners)).reshape(classes, -1, size)
        self._rows = np.swapaxes(by_class, 0, 1).reshape(self._in_order, -1)

    def gradients(
        self, synthetic: SyntheticSet, batches: Iterator, iteration: tf.Tensor
    ) -> tuple[Gradients, Logs]:
        real = flat_batch(next(batches))
        rates, count = tf.nn.softplus(synthetic.scalar(RATES)), self.settings.networks
        found = [
            self._of_network(synthetic, rates, real, self._first_seed(iteration, one))
            for one in range(count)
        ]
        images, steps, loss, accuracy = (
            tf.add_n(x) / count for x in zip(*found, strict=True)
        )
        logs = {"loss": loss, "accuracy": accuracy, "step_size": tf.reduce_mean(rates)}
        raw = steps * tf.nn.sigmoid(synthetic.scalar(RATES))
        return {"images": images, RATES: raw}, logs

    def _first_seed(self, iteration: tf.Tensor, number: int) -> tf.Tensor:
        if self.settings.start == "fixed":
            return tensor_seed(self._seed, Purpose.FIXED_NETWORK)
        return tensor_seed(self._seed, Purpose.NETWORK, iteration, number)

    def _of_network(self, synthetic, rates, real, seed):
        """Gradients in images and step sizes, loss and accuracy, of one network."""
        images, labels = synthetic.images(), synthetic.labels()
        state, rows = self._step.first(seed), tf.constant(self._rows)
        kept = [
            tf.TensorArray(tf.float32, self._steps, element_shape=x.shape)
            for x in state
        ]
        for step in tf.range(self._steps):
            kept = [k.write(step, x) for k, x in zip(kept, state, strict=True)]
            of_step = rows[step % self._in_order]
            batch = tf.gather(images, of_step), tf.gather(labels, of_step)
            state = self._step.forward(state, *batch, rates[step])
        loss, accuracy, adjoint = self._step.real(state, *real)
        of_images, of_rates = tf.zeros_like(images), tf.zeros_like(rates)
        for back in tf.range(self._steps):
            step = self._steps - 1 - back
            of_step = rows[step % self._in_order]
            batch = tf.gather(images, of_step), tf.gather(labels, of_step)
            before = [k.read(step) for k in kept]
            found = self._step.reverse(before, *batch, rates[step], adjoint)
            adjoint = found.state
            of_images = tf.tensor_scatter_nd_add(
                of_images, of_step[:, None], found.images
            )
            of_rates = tf.tensor_scatter_nd_add(of_rates, [[step]], [found.rate])
        return of_images, of_rates, loss, accuracy

    def failure(self, synthetic: SyntheticSet) -> str | None:
        rates = self._step_sizes(synthetic)
        if (np.isfinite(rates) & (rates > 0)).all():
            return None
        bad = rates[~(np.isfinite(rates) & (rates > 0))][0]
        return f"a learned step size became {bad}"

    def recipe(self, synthetic: SyntheticSet) -> Recipe:
        rows = np.tile(self._rows, (self.settings.repeats, 1))
        fixed = self.settings.start == "fixed"
        return Recipe(
            self._step_sizes(synthetic).tolist(),
            steps=self._steps,
            batch_size=rows.shape[1],
            batches=rows.tolist(),
            start_seed=self._seed if fixed else None,
        )

    def _step_sizes(self, synthetic: SyntheticSet) -> np.ndarray:
        return tf.nn.softplus(synthetic.scalar(RATES)).numpy()
