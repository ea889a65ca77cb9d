"""Methods that match through networks between random and trained ones: DANCE, NCFM.

It stands between `feature_matching.py` and the methods, which say what is compared. The
networks are files of `networks/trajectories.py`.
"""

from collections.abc import Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from dam_tf.augmentation import dsa
from dam_tf.base.errors import UserError
from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.data.sampling_in_graph import DrawnBatches
from dam_tf.methods.experts import (
    check_experts_data,
    check_statistics,
    find_experts,
)
from dam_tf.methods.feature_matching import FeatureMatching
from dam_tf.methods.group_gradient import images_of_each
from dam_tf.methods.method import Gradients, Logs, Method, Task
from dam_tf.methods.optimizers import image_optimizer
from dam_tf.methods.teacher import teacher_labels
from dam_tf.networks.pools import NetworkPool
from dam_tf.networks.trajectories import Experts
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.synthetic.synthetic_set import SyntheticSet


class PoolMatching(FeatureMatching):
    """Features match between random and trained networks, and trained ones calibrate.

    An iteration draws one pair of the pool, a network before and after its training on
    the real set, and a share l from U(0, 1). Features are compared through

        l * weights before + (1 - l) * weights after,

    all weights alike. To the loss of that comes the calibration: the mean cross-entropy
    of the synthetic images of each class by the trained network, for another
    augmentation. Real and synthetic images of a class are varied alike: color,
    crop and cutout one after the other (those that section augmentation has), with
    strengths of the class. Images stay within the range of pixels.

    The released code of both methods takes a step of its optimizer for each class, and
    then another for each class's calibration. Here an iteration is one step along the
    sum of these gradients. Each image has a gradient of its own class alone, so that
    differs only by where the calibration's gradient is taken: before the images have
    moved. With SGD the way is the same, since momentum carries a step of theirs, too,
    to the same length.

    Batch norm takes the statistics of the iteration's images where features are
    compared, and the stored ones for the calibration.

    With soft labels the set has, beside the class that each image was made for, what
    the pool's trained networks take it for, as of `training.relabel`. Images are the
    same by either.
    """

    def check(self, task: Task) -> None:
        if task.networks is not None:
            raise UserError(
                f"networks= is for methods that match through any networks; method "
                f"{self.settings.name!r} takes method.pool"
            )
        super().check(task)
        if self.settings.labels == "soft" and task.config.distillation.extends:
            raise UserError(
                "a run that extends another keeps its hard labels; leave method.labels "
                "out, and label the larger set by `python -m dam_tf relabel`"
            )

    def check_network(self, task: Task, network: keras.Model) -> None:
        super().check_network(task, network)
        self._pool = find_experts(task)
        if task.planned is None:
            check_statistics(self._pool, len(network.non_trainable_variables))

    def stored_networks(self, task: Task) -> Experts:
        return self._pool

    def optimizer(self, name: str, task: Task) -> keras.optimizers.Optimizer:
        optimizer = self.unconstrained_optimizer(task)
        if self.settings.clamp == "on":
            optimizer.projection = self._within_pixels
        return optimizer

    def unconstrained_optimizer(self, task: Task) -> keras.optimizers.Optimizer:
        """Returns that of images which may leave the range of pixels.

        Args:
            task: As of `optimizer`.
        """
        return image_optimizer(task.config.distillation)

    def _within_pixels(self, images: tf.Tensor) -> tf.Tensor:
        """Those within the range of pixels stay as they are, to the last bit."""
        pixels = self._preprocessing.inverse(images)
        inside = tf.clip_by_value(pixels, 0.0, 1.0)
        return images + (self._preprocessing(inside) - self._preprocessing(pixels))

    def build(
        self,
        task: Task,
        synthetic: SyntheticSet,
        preprocessing: keras.layers.Layer,
    ) -> None:
        if task.data is not None:
            check_experts_data(self._pool, task.data, preprocessing)
        super().build(task, synthetic, preprocessing)
        self._decode, self._counts = synthetic.decode, synthetic.counts
        if self.settings.clamp == "on":
            images = tf.convert_to_tensor(synthetic.stored)
            synthetic.stored.assign(self._within_pixels(images))
        self._network = self._gradients[len(self._places[0])].network
        self._pairs = NetworkPool([*map(self._pair, range(len(self._pool)))])
        compiled = task.config.distillation.jit == "xla"
        self._calibrate = tf.function(
            self._calibration, jit_compile=compiled, autograph=False
        )

    def _pair(self, number: int) -> list[np.ndarray]:
        """Weights before and after the training, and the statistics after it."""
        before, _ = self._pool.network(number, 0)
        after, statistics = self._pool.network(number, self._pool.epochs)
        return [*before, *after, *statistics]

    def augmentation_of(self, iteration: tf.Tensor) -> dsa.Parameters:
        return self._augmentation_for(Purpose.AUGMENTATION, iteration)

    def _augmentation_for(self, purpose, iteration):
        seed = tensor_seed(self._seed, purpose, iteration)
        arguments = self._drawn, self._image_size, self._augmentation
        return dsa.draw_together(seed, *arguments)

    def gradients(
        self, synthetic: SyntheticSet, batches: Iterator, iteration: tf.Tensor
    ) -> tuple[Gradients, Logs]:
        seed = tensor_seed(self._seed, Purpose.POOL_PAIR, iteration)
        drawn, count = self._pairs.draw_network(seed), len(self._network.weight_names)
        before, after = drawn[:count], drawn[count : 2 * count]
        seed = tensor_seed(self._seed, Purpose.POOL_SHARE, iteration)
        theta = interpolated(before, after, tf.random.stateless_uniform([], seed))
        matching = self.matching_through(theta, iteration)
        weight, purpose = self.settings.calibration, Purpose.CALIBRATION_AUGMENTATION
        parameters = self._augmentation_for(purpose, iteration)

        def of_group(batch, places, images):
            gradient, losses = matching(batch, places, images)
            losses = {**losses, "calibration": tf.zeros([])}
            if weight:
                varied = dsa.take(parameters, places)
                more, found = self._calibrate(
                    images, batch.classes, varied, after, drawn[2 * count :]
                )
                gradient += weight * more
                losses["calibration"] = found
                losses["loss"] += weight * found
            return gradient, losses

        return self.over_groups(synthetic, batches, of_group)

    def _calibration(self, images, classes, parameters, weights, statistics):
        """The gradient in stored images, as of `GroupGradient`, and the loss."""
        with tf.GradientTape() as tape:
            tape.watch(images)
            flat = self._decode(tf.reshape(images, [-1, *images.shape[-3:]]))
            many = images_of_each(images.shape, self._counts)
            many = many * (flat.shape[0] // many.sum())
            owners = np.repeat(np.arange(len(many), dtype=np.int32), many)
            flat = dsa.apply(flat, dsa.take(parameters, owners))
            outputs, _ = self._network.apply(weights, statistics, flat, training=False)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                tf.gather(classes, owners), outputs.logits
            )
            if len({*many}) == 1:
                loss = tf.reduce_sum(losses) / many[0]
            else:
                loss = tf.reduce_sum(losses / np.float32(many)[owners])
        return tape.gradient(loss, images), loss

    def soft_labels(self, distilled: DistilledSet) -> np.ndarray | None:
        if self.settings.labels == "soft":
            return teacher_labels(distilled, self._pool)
        return None

    def drawn_in_graph(
        self, real: tf.Tensor, counts: Sequence[int], iteration: tf.Tensor
    ) -> DrawnBatches:
        return Method.drawn_in_graph(self, real, counts, iteration)  # refuses


def interpolated(
    before: Sequence[tf.Tensor], after: Sequence[tf.Tensor], share: tf.Tensor
) -> list[tf.Tensor]:
    """Returns the weights between two networks.

    Args:
        before: Weights at `share` 1.
        after: Weights at `share` 0.
        share: From 0 to 1.

    Example:
        >>> (weight,) = interpolated([tf.ones([1])], [tf.zeros([1])], tf.constant(0.25))
        >>> weight.numpy().tolist()
        [0.25]
    """
    pairs = zip(before, after, strict=True)
    return [share * first + (1 - share) * last for first, last in pairs]
