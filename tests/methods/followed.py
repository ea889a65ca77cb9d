"""What the tests of MTT and TESLA share: a network of one layer, and its formulas."""

import keras
import numpy as np
import tensorflow as tf

from dam_tf.config.settings import replace, resolve
from dam_tf.methods import unrolled
from dam_tf.methods.method import Task
from dam_tf.methods.registry import METHODS
from dam_tf.networks.functional import Outputs
from tests.tiny_data import tiny_config

SIDE, CLASSES, IPC = 4, 3, 2
PIXELS = SIDE * SIDE
PARAMETERS = PIXELS * CLASSES + CLASSES


class Linear:
    """A network of one layer, in place of `FunctionalNetwork`."""

    statistics = ()

    def __init__(self, *_, **__):
        pass

    def init(self, seed):
        return [tf.zeros([PIXELS, CLASSES]), tf.zeros([CLASSES])]

    def apply(self, weights, statistics, images):
        flat = tf.reshape(images, [-1, PIXELS])
        return Outputs([], flat, flat @ weights[0] + weights[1]), []


def built(
    monkeypatch, name, images, linear=True, augmented=False, jit="none", **settings
):
    """A method and its set, ready for `gradients`, without experts on disk."""
    if linear:
        monkeypatch.setattr(unrolled, "FunctionalNetwork", Linear)
    settings = {"steps": 3, "expert_epochs": 1, "step_size": 0.3, **settings}
    method = METHODS[name](**settings)
    small = {"distillation__ipc": IPC, "distillation__jit": jit}
    config = tiny_config(**small, method__name=name, network__depth=2)
    if not augmented:
        config = replace(config, augmentation__operations=())
    config = resolve(config, images.shape[2:])
    names = tuple(map(str, range(len(images))))
    task = Task(config, tuple(images.shape[2:]), names)
    method._batch = method.settings.batch or len(images) * images.shape[1]
    synthetic = method.start(task, images)
    method.build(task, synthetic, keras.layers.Identity())
    return method, synthetic


def gradients(method, synthetic, start, target, iteration=0):
    """The gradients by name, and the losses, of one iteration, as NumPy's arrays."""
    states = iter([tf.constant(np.stack([start, target]), tf.float32)])
    found = method.gradients(synthetic, states, tf.constant(iteration, tf.int64))
    return tf.nest.map_structure(lambda value: value.numpy(), found)


def some_images(seed=1, side=SIDE):
    rng = np.random.default_rng(seed)
    images = rng.normal(size=[CLASSES, IPC, side, side, 1])
    return images.astype(np.float32).astype(np.float64)


def some_states(seed=2):
    """Weights before and after an expert's epochs, float64 of a float32's digits."""
    rng = np.random.default_rng(seed)
    start = rng.normal(0, 0.5, PARAMETERS).astype(np.float32)
    target = start + rng.normal(0, 0.5, PARAMETERS).astype(np.float32)
    return start.astype(np.float64), target.astype(np.float64)


def gradient_of(theta, images, labels):
    """Of the mean cross-entropy of the network of one layer, in float64.

    Args:
        theta: `[parameters]`.
        images: `[n, pixels]`.
        labels: Probabilities `[n, classes]`.
    """
    weights, bias = theta[:-CLASSES].reshape(PIXELS, CLASSES), theta[-CLASSES:]
    logits = images @ weights + bias
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    wrong = (shares - labels) / len(images)
    return np.concatenate([(images.T @ wrong).ravel(), wrong.sum(axis=0)])


def student(start, images, labels, step_size, rows):
    """The weights of the student before each step, and after the last."""
    states = [start]
    for some in rows:
        gradient = gradient_of(states[-1], images[some], labels[some])
        states.append(states[-1] - step_size * gradient)
    return states


def distance(start, target, *training):
    """The loss of MTT, by `student`'s arguments."""
    end = student(start, *training)[-1]
    return np.sum((end - target) ** 2) / np.sum((start - target) ** 2)


def slopes(function, values, step=1e-6):
    """Finite differences of a function of an array, in float64."""
    values, found = np.array(values, np.float64), np.zeros(np.shape(values))
    for place in np.ndindex(values.shape):
        ends = []
        for sign in (1, -1):
            moved = values.copy()
            moved[place] += sign * step
            ends.append(function(moved))
        found[place] = (ends[0] - ends[1]) / (2 * step)
    return found
