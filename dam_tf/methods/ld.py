"""LD: label distillation (Bohdal et al., 2020).

Real images stay as they are, and their labels are learned: distributions over all
classes, by which a network learns from few images what many teach.
"""

from collections.abc import Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.config.labels import LDSettings
from dam_tf.methods.inner_step import (
    InnerStep,
    check_inner_steps,
    check_trains_fresh_networks,
    flat_batch,
)
from dam_tf.methods.ld_network import RunningNetwork
from dam_tf.methods.method import Gradients, Logs, Task
from dam_tf.methods.optimizers import Adam, AdamMini, adam
from dam_tf.methods.real_batches import RealBatches
from dam_tf.synthetic.recipe import Recipe
from dam_tf.synthetic.synthetic_set import SyntheticSet


class LD(RealBatches):
    """LD (Bohdal et al., Flexible Dataset Distillation, 2020): learned labels.

    X are real images, `ipc` of each class, that never move; Y `[n, classes]` their
    labels, 1 / classes at first. One network theta is trained along. In an iteration,
    with an inner batch (x, y) of X and Y and a batch of real images,

        second_order:  theta' = theta - step_size * gradient of CE(theta; x, y)
                       loss   = CE(theta'; real images)
        ridge:         w_l    = Phi^T (Phi Phi^T + lambda I)^-1 y
                       w      = (1 - pace) w + pace * w_l
                       loss   = CE(s * phi(real images) w)

    where phi are the features before the classifier and a 1, Phi those of x, and s a
    learned number. Y moves down the gradient of the loss; then every row is clipped to
    0..1 and divided by its sum (a row of zeros, for which the paper says nothing,
    becomes 1 / classes). Then theta takes a step of Adam on the inner batch, by soft
    cross-entropy with the labels as they now are; with `ridge` through the classifier
    s * w, and s is trained, too.

    The released code moves Y by Adam, as `second_order` does here. Adam moves each
    label as far, however small its gradient is; with `ridge` that makes labels which
    are worse than the true ones (docs/methods.md has figures). There Adam-mini, which
    keeps the proportions, is the default; `optimizer="adam"` is as published.

    When the errors of the last `patience` real batches have not become less for as many
    iterations, a fresh network takes over; how long it learned is noted.

    The set carries a recipe: as many steps of Adam as the last three networks learned
    on average, on random inner batches. The released code evaluates so, except that
    after `ridge` it keeps the regression as the classifier, and that it takes the best
    labels by a validation split. Here all training images serve, and the labels are the
    last ones. Neither they nor X are augmented. The code draws 1,024 real images of any
    class, here they are `batch_real` of each, 102 for ten classes.

    Example:
        >>> LD(variant="second_order").settings.step_size
        0.01
    """

    Settings = LDSettings

    def check(self, task: Task) -> None:
        super().check(task)
        settings, distillation = self.settings, task.config.distillation
        check_trains_fresh_networks(task)
        if distillation.ema_decay:
            raise UserError(
                f"distillation.ema_decay {distillation.ema_decay} averages images, "
                "which method 'ld' does not move; leave it out"
            )
        images = task.images_at()
        if settings.batch is not None and settings.batch > images:
            raise UserError(
                f"method.batch {settings.batch} is more than the {images} images; "
                f"choose at most {images}, or leave it out"
            )
        self._batch = settings.batch or usual_batch(images, len(task.class_names))
        check_inner_steps(task, 0, self._batch)

    def start(self, task: Task, images: np.ndarray) -> SyntheticSet:
        return LabelledSet(images)

    def optimizer(self, name: str, task: Task) -> keras.optimizers.Optimizer:
        kind = Adam if self.settings.optimizer == "adam" else AdamMini
        return adam(task.config.distillation, kind)

    def build(
        self,
        task: Task,
        synthetic: SyntheticSet,
        preprocessing: keras.layers.Layer,
    ) -> None:
        super().build(task, synthetic, preprocessing)
        settings = self.settings
        self._step = InnerStep(task, preprocessing)
        self._network = RunningNetwork(
            self._step,
            settings,
            settings.patience
            or usual_patience(len(synthetic.owners), synthetic.classes),
            synthetic.classes,
            self._seed,
            compiled=task.config.distillation.jit == "xla",
        )
        # The share of right answers of the iteration's real batch, for `update`.
        self._accuracy = tf.Variable(0.0, trainable=False)

    @property
    def variables(self) -> Mapping[str, tf.Variable]:
        return self._network.variables

    def _inner(
        self, synthetic: SyntheticSet, iteration: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The inner batch of an iteration: rows, images and labels."""
        seed = tensor_seed(self._seed, Purpose.INNER_BATCH, iteration)
        order = tf.argsort(tf.random.stateless_uniform([len(synthetic.owners)], seed))
        rows = order[: self._batch]
        images = tf.gather(synthetic.images(), rows)
        return rows, images, tf.gather(synthetic.labels(), rows)

    def gradients(
        self, synthetic: SyntheticSet, batches: Iterator, iteration: tf.Tensor
    ) -> tuple[Gradients, Logs]:
        real = flat_batch(next(batches))
        rows, images, labels = self._inner(synthetic, iteration)
        state = self._network.state()
        if self.settings.variant == "ridge":
            loss, accuracy, found = self._network.ridge_gradient(images, labels, real)
        else:
            rate = tf.constant(self.settings.step_size)
            after = self._step.forward(state, images, labels, rate)
            loss, accuracy, adjoint = self._step.real(after, *real)
            found = self._step.reverse(state, images, labels, rate, adjoint).labels
        self._accuracy.assign(accuracy)
        whole = tf.zeros_like(synthetic.labels())
        gradient = tf.tensor_scatter_nd_add(whole, rows[:, None], found)
        restarts = tf.cast(self._network.restarts, tf.float32)
        logs = {"loss": loss, "accuracy": accuracy, "restarts": restarts}
        return {"labels": gradient}, logs

    def update(
        self, synthetic: SyntheticSet, batches: Iterator, iteration: tf.Tensor
    ) -> None:
        del batches
        labels = synthetic.variables_by_name["labels"]
        labels.assign(on_simplex(tf.convert_to_tensor(labels)))
        _, *batch = self._inner(synthetic, iteration)
        self._network.train(*batch)
        self._network.restart_if_stuck(self._accuracy)

    def recipe(self, synthetic: SyntheticSet) -> Recipe:
        return Recipe(
            (self.settings.network_rate,),
            steps=self._network.usual_steps(),
            batch_size=self._batch,
            optimizer="adam",
        )


class LabelledSet(SyntheticSet):
    """A synthetic set whose variable `labels` holds probabilities, uniform at first.

    Args:
        images: As of `SyntheticSet`.

    Example:
        >>> LabelledSet(np.zeros([2, 1, 8, 8, 1], np.float32)).labels().numpy().tolist()
        [[0.5, 0.5], [0.5, 0.5]]
    """

    def __init__(self, images: np.ndarray | Sequence[np.ndarray]):
        classes, total = len(images), sum(map(len, images))
        super().__init__(images, np.full([total, classes], 1 / classes))

    def probabilities(self, labels: tf.Tensor) -> tf.Tensor:
        return tf.convert_to_tensor(labels)


def on_simplex(labels: tf.Tensor) -> tf.Tensor:
    """Returns rows clipped to 0..1 and divided by their sums; uniform ones for zeros.

    Example:
        >>> on_simplex(tf.constant([[0.5, 1.5], [-1.0, 0.2], [-1.0, -2.0]])).numpy()
        array([[0.33333334, 0.6666667 ],
               [0.        , 1.        ],
               [0.5       , 0.5       ]], dtype=float32)
    """
    clipped = tf.clip_by_value(labels, 0.0, 1.0)
    sums = tf.reduce_sum(clipped, axis=1, keepdims=True)
    uniform = tf.fill(tf.shape(labels), 1.0 / labels.shape[1])
    return tf.where(sums > 0, tf.math.divide_no_nan(clipped, sums), uniform)


def usual_batch(images: int, classes: int) -> int:
    """Returns how many images an inner batch has, as the released code is configured.

    Example:
        >>> [usual_batch(images, 10) for images in (10, 20, 50, 100, 500)]
        [10, 10, 25, 50, 50]
        >>> usual_batch(100, 100)
        100
    """
    most = 100 if classes >= 100 else 50
    return min(images, max(10, min(most, images if classes >= 100 else images // 2)))


def usual_patience(images: int, classes: int) -> int:
    """Returns how long a network may learn nothing, as in the released code.

    Example:
        >>> usual_patience(100, 10), usual_patience(500, 10), usual_patience(100, 100)
        (50, 200, 100)
    """
    if classes >= 100:
        return 100
    return 200 if images > 100 else 50
