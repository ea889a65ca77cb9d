"""DC and DSA: gradients of a network that real and synthetic images agree on.

Zhao et al., Dataset Condensation with Gradient Matching, ICLR 2021; Zhao and Bilen,
Dataset Condensation with Differentiable Siamese Augmentation, ICML 2021.
"""

from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from dam_tf.augmentation import dsa
from dam_tf.base.messages import log
from dam_tf.config.bilevel import DCSettings, DSASettings
from dam_tf.methods.bilevel import Bilevel
from dam_tf.methods.chunks import sum_of_chunks
from dam_tf.methods.gradient_distance import DISTANCES, inputs_of
from dam_tf.methods.method import Gradients, Logs, Task
from dam_tf.synthetic.synthetic_set import SyntheticSet

# Images per class, iterations with one network, and epochs between two of them: the
# DC/DSA/DM code, utils.py, get_loops.
_LOOPS = np.array(
    [
        (1, 1, 1),
        (10, 10, 50),
        (20, 20, 25),
        (30, 30, 20),
        (40, 40, 15),
        (50, 50, 10),
        (100, 100, 2),
    ]
)
_PUBLISHED_NETWORKS = 1000


def loops(ipc: int) -> tuple[int, int]:
    """Returns the outer and the inner loop for so many images per class.

    The published table has 1, 10, 20, 30, 40, 50 and (for DSA) 100. In between both
    are interpolated linearly and rounded, which is ours; above 100 they stay.

    Args:
        ipc: Synthetic images per class.

    Returns:
        Iterations with one network, and the epochs that it is trained between two.

    Example:
        >>> loops(1), loops(10), loops(15), loops(75), loops(200)
        ((1, 1), (10, 50), (15, 38), (75, 6), (100, 2))
    """
    found = (np.interp(ipc, _LOOPS[:, 0], column) for column in _LOOPS.T[1:])
    outer, inner = (int(value + 0.5) for value in found)
    return outer, inner


class DC(Bilevel):
    """Gradient matching: section 3 of Zhao et al., ICLR 2021.

    loss = sum over classes of the distance between the gradients of the mean
    cross-entropy of `batch_real` real images and of all synthetic images of the class.
    The distance is the sum of 1 - cosine over the outputs of all layers
    (`gradient_distance.py`). All classes move in one step.

    An iteration is one step of the images; `outer_loop` of them share a network, which
    is trained for `inner_loop` epochs on the synthetic set after each but the last. The
    published 1,000 networks are 1,000 * outer_loop iterations.

    Real gradients are added up some images at a time, so memory grows neither with
    classes nor with real images.

    Example:
        >>> DC(outer_loop=10).settings.distance
        'rows'
    """

    Settings = DCSettings

    def build(
        self,
        task: Task,
        synthetic: SyntheticSet,
        preprocessing: keras.layers.Layer,
    ) -> None:
        super().build(task, synthetic, preprocessing)
        outer, inner = loops(task.config.distillation.ipc)
        given = self.settings.outer_loop, self.settings.inner_loop
        self._outer = outer if given[0] is None else given[0]
        self._inner = inner if given[1] is None else given[1]
        if self._outer > 1:
            self.keep_network()
            log.info(
                "%s: %d iterations share a network, which is trained for %d epochs on "
                "the synthetic set after each but the last. The published schedule "
                "of %s networks is --iterations=%d.",
                self.settings.name,
                self._outer,
                self._inner,
                f"{_PUBLISHED_NETWORKS:,}",
                _PUBLISHED_NETWORKS * self._outer,
            )
        network = self.network
        self._inputs = inputs_of(
            network.weight_names, network.weight_shapes, network.fan_in
        )
        self._decode = synthetic.decode
        self._distance = DISTANCES[self.settings.distance]
        self._match = self.compiled(self._matched)

    def gradients(
        self, synthetic: SyntheticSet, batches: Iterator, iteration: tf.Tensor
    ) -> tuple[Gradients, Logs]:
        if self._outer == 1:
            state = self.drawn_network(iteration)
        else:
            state = tf.cond(
                tf.equal(iteration % self._outer, 0),
                lambda: self.drawn_network(iteration),
                self.read_network,
            )
        state = self.settled(state, iteration)
        if self._outer > 1:
            self.write_network(state)
        parameters = self.augmentation_of(iteration)

        def of_class(batch, places, images):
            gradient, loss = self._match(
                batch.images[0],
                images[0],
                batch.classes[0],
                dsa.take(parameters, places),
                *state,
            )
            return gradient[None], {"loss": loss}

        return self.over_groups(synthetic, batches, of_class)

    def update(
        self, synthetic: SyntheticSet, batches: Iterator, iteration: tf.Tensor
    ) -> None:
        if self._outer == 1:
            return
        state = tf.cond(
            tf.equal((iteration + 1) % self._outer, 0),
            self.read_network,
            lambda: self.trained(
                self.read_network(), synthetic, self._inner, iteration
            ),
        )
        self.write_network(state)

    def _matched(self, real, stored, label, parameters, theta, statistics):
        """The images' gradient of a class, and their distance.

        Args:
            real: uint8 `[batch_real, h, w, c]`, pixels.
            stored: float32 `[n, h, w, c]`, in model space.
            label: The class.
            parameters: Its augmentation, one row.
            theta: Weights of the network.
            statistics: Of its batch norm.
        """
        target = self._real_gradient(real, label, parameters, theta, statistics)
        with tf.GradientTape() as tape:
            tape.watch(stored)
            images = self.augmented(self._decode(stored), parameters)
            found = self._gradient(self.network, images, label, theta, statistics)
            distance = self._distance(target, found, self._inputs)
        return tape.gradient(distance, stored), distance

    def _real_gradient(self, real, label, parameters, theta, statistics):
        """Of the mean loss; no image needs a gradient, so they pass in chunks."""
        count = real.shape[0]

        def of_rows(rows, valid):
            images = self.in_model_space(tf.gather(real, rows))
            images = self.augmented(images, parameters)
            shares = valid / count
            return self._gradient(
                self._real_network, images, label, theta, statistics, shares
            )

        zeros = [tf.zeros_like(weight) for weight in theta]
        return sum_of_chunks(of_rows, zeros, count, self._at_once)

    def _gradient(self, network, images, label, theta, statistics, shares=None):
        """In the weights, of the sum of `shares` of the losses, or of their mean."""
        with tf.GradientTape() as tape:
            tape.watch(theta)
            outputs, _ = network.apply(theta, statistics, images, training=False)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                tf.fill([images.shape[0]], label), outputs.logits
            )
            shares = 1 / images.shape[0] if shares is None else shares
            loss = tf.reduce_sum(losses * shares)
        return tape.gradient(loss, theta, unconnected_gradients="zero")


class DSA(DC):
    """DC with differentiable Siamese augmentation (Zhao and Bilen, ICML 2021).

    One operation, with one strength, varies the real and the synthetic images of a
    class alike where gradients are matched. Where the network is trained on the set,
    a batch has one operation and each image a strength of its own.

    Example:
        >>> DSA().settings.distillation["init"]
        'random'
    """

    Settings = DSASettings
