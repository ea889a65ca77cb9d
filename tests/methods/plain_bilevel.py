"""Networks of Keras' own layers, with weights drawn as runs draw them, and trained."""

import numpy as np
import tensorflow as tf

from dam_tf import networks
from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.networks.registry import feature_extractor
from dam_tf.networks.weights import RandomWeights


class Plain:
    """A network as a run of `config` draws it at an iteration, called plainly."""

    def __init__(self, config, image_shape, classes, iteration):
        network = networks.create(
            config.network.name, image_shape, classes, config.network
        )
        self.model = feature_extractor(network)
        self.theta = RandomWeights(self.model)(
            tensor_seed(config.distillation.seed, Purpose.NETWORK, iteration)
        )
        self.statistics = [v.value for v in self.model.non_trainable_variables]

    def __call__(self, images, training=False):
        found, _ = self.model.stateless_call(
            self.theta, self.statistics, images, training=training
        )
        return found

    def loss(self, images, labels, training=False):
        logits = self(images, training)["logits"]
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return tf.reduce_mean(losses)

    def gradient(self, images, labels, training=False):
        with tf.GradientTape() as tape:
            tape.watch(self.theta)
            loss = self.loss(images, labels, training)
        return tape.gradient(loss, self.theta)

    def train(self, images, labels, epochs, rate):
        """Whole-batch gradient descent, with Keras' own momentum of batch norm."""
        for _ in range(epochs):
            gradient = self.gradient(images, labels, training=True)
            _, self.statistics = self.model.stateless_call(
                self.theta, self.statistics, images, training=True
            )
            self.theta = [
                w - rate * g for w, g in zip(self.theta, gradient, strict=True)
            ]
        return self.theta


def rows_of_torch(gradient):
    """A kernel's gradient as PyTorch's rows: one for each output, `[out, rest]`."""
    gradient = np.asarray(gradient, np.float64)
    return gradient.reshape(-1, gradient.shape[-1]).T
