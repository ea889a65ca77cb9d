"""Training one network after another on a small set, in compiled stretches.

The protocol is the lineage's: SGD with momentum and an L2 penalty, the learning
rate divided by ten at half the epochs, DSA with one operation for each batch.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dam_tf import augmentation, networks
from dam_tf.config import Config
from dam_tf.datasets.real_data import Split
from dam_tf.seeds import Purpose, tensor_seed

_STRETCHES = 20  # calls that one training is cut into, for the progress bar
_TEST_BATCH = 250


def train_and_test(
    images: np.ndarray,
    labels: np.ndarray,
    test: Split,
    classes: int,
    preprocessing: keras.layers.Layer,
    config: Config,
    on_progress: Callable[[int, int, Sequence[float]], Any] = lambda *_: None,
) -> list[float]:
    """Trains networks on `images` and returns their accuracies on `test`.

    An accuracy is that after the last epoch, 0 to 1; never the best one.

    Args:
        images: Training images in model space, float32 `[n, h, w, c]`.
        labels: Their classes, `[n]`.
        test: Real images, uint8 pixels.
        classes: Number of classes.
        preprocessing: A layer, pixels in 0..1 to model space.
        config: Its network, augmentation and evaluation sections are used, and
            the run's seed: network i is a function of (seed, i) alone.
        on_progress: Called with (network, epochs done, accuracies so far).
    """
    settings = config.evaluation
    trainer = _Trainer(images, labels, classes, config)
    predict = _predictor(trainer, preprocessing)
    accuracies: list[float] = []
    for index in range(settings.models):
        state = trainer.initial_state(tf.constant(index))
        edges = np.linspace(0, settings.epochs, _STRETCHES + 1).astype(int)
        for first, last in itertools.pairwise(edges):
            state = trainer.train(
                state, tf.constant(index), tf.constant(first), tf.constant(last)
            )
            on_progress(index, int(last), accuracies)
        accuracies.append(_accuracy(predict, state, test))
        on_progress(index + 1, 0, accuracies)
    return accuracies


class _Trainer:
    """Trains one network after another in compiled stretches of epochs.

    A network's state is (weights, velocities, statistics of batch norm), all
    tensors, so the next network starts afresh without rebuilding anything.
    """

    def __init__(self, images, labels, classes, config: Config):
        self._images = tf.constant(images)
        self._labels = tf.constant(labels, tf.int32)
        self._settings = config.evaluation
        self._augmentation = config.augmentation
        self._seed = config.distillation.seed
        self.network = networks.create(
            config.network.name, images.shape[1:], classes, config.network
        )
        self._draw = networks.RandomWeights(self.network, config.network.initializer)

    def initial_state(self, index: tf.Tensor):
        weights = self._draw(tensor_seed(self._seed, Purpose.EVALUATION_NETWORK, index))
        velocities = [tf.zeros_like(weight) for weight in weights]
        statistics = [
            tf.convert_to_tensor(v) for v in self.network.non_trainable_variables
        ]
        return weights, velocities, statistics

    # Not compiled by XLA: on a CPU its gradients of convolution kernels take some
    # fifty times as long as oneDNN's.
    @tf.function
    def train(self, state, index, first, last):
        count = len(self._images)
        size = min(self._settings.batch_size, count)
        for epoch in tf.range(first, last):
            order = self._order(index, epoch)
            for batch in tf.range(count // size):
                rows = tf.slice(order, [batch * size], [size])
                state = self._step(state, rows, index, epoch, batch)
            if count % size:
                rows = order[count // size * size :]
                state = self._step(state, rows, index, epoch, count // size)
        return state

    def _order(self, index, epoch):
        seed = tensor_seed(self._seed, Purpose.EVALUATION_ORDER, index, epoch)
        return tf.argsort(tf.random.stateless_uniform([len(self._images)], seed))

    def _step(self, state, rows, index, epoch, batch):
        weights, velocities, statistics = state
        settings = self._settings
        images, labels = tf.gather(self._images, rows), tf.gather(self._labels, rows)
        purpose = Purpose.EVALUATION_AUGMENTATION
        parameters = augmentation.draw(
            tensor_seed(self._seed, purpose, index, epoch, batch),
            len(rows),
            tuple(images.shape[1:3]),
            self._augmentation,
            shared_operation=True,
        )
        images = augmentation.compiled_apply(images, parameters)
        with tf.GradientTape() as tape:
            tape.watch(weights)
            logits, statistics = self.network.stateless_call(
                weights, statistics, images, training=True
            )
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            )
        gradients = tape.gradient(loss, weights)
        rate = tf.where(
            epoch > settings.epochs // 2,
            0.1 * settings.learning_rate,
            settings.learning_rate,
        )
        # PyTorch's SGD: the penalty joins the gradient before momentum, and the
        # velocity is free of the learning rate. Neither is so in Keras.
        velocities = [
            settings.momentum * v + g + settings.weight_decay * w
            for w, v, g in zip(weights, velocities, gradients, strict=True)
        ]
        weights = [w - rate * v for w, v in zip(weights, velocities, strict=True)]
        return weights, velocities, statistics


def _predictor(trainer, preprocessing):
    @tf.function(jit_compile=True)
    def predict(state, images):
        weights, _, statistics = state
        pixels = tf.cast(images, tf.float32) / 255
        logits, _ = trainer.network.stateless_call(
            weights, statistics, preprocessing(pixels), training=False
        )
        return tf.argmax(logits, axis=1)

    return predict


def _accuracy(predict, state, test: Split) -> float:
    right = 0
    for start in range(0, len(test.labels), _TEST_BATCH):
        images = test.images[start : start + _TEST_BATCH]
        padding = [(0, _TEST_BATCH - len(images))] + [(0, 0)] * 3
        predicted = predict(state, tf.constant(np.pad(images, padding)))
        labels = test.labels[start : start + _TEST_BATCH]
        right += int(np.sum(predicted.numpy()[: len(labels)] == labels))
    return right / len(test.labels)
