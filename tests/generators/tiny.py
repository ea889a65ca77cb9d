"""Generators small enough that an iteration takes a part of a second."""

import keras
import numpy as np
import tensorflow as tf

from dam_tf.config.settings import resolve
from dam_tf.generators.registry import create
from dam_tf.methods.method import Task
from dam_tf.synthetic.synthetic_set import SyntheticSet
from tests.tiny_data import make_data, tiny_config

SMALLER = {
    "cgan": {"width": 2},
    "biggan": {"width": 4, "discriminator_steps": 2},
    "dcvae": {"width": 4, "discriminator_steps": 1, "queue": 20, "contrast": 5},
    "gmmn": {"hidden": (8,)},
}


def settings(name, **overrides):
    """Settings of a tiny generator; keys are `section__key`."""
    own = {"latent": 3, "batch": 6, **SMALLER[name]}
    own = {f"method__{key}": value for key, value in own.items()}
    return tiny_config(method__name=name, **{**own, **overrides})


class Trained:
    """A generator on tiny data, without a run around it."""

    def __init__(self, config, data=None):
        self.data = data or make_data()
        self.config = resolve(config, self.data.image_shape)
        names = self.data.class_names
        self.generator = create(self.config.method)
        task = Task(self.config, self.data.image_shape, names)
        self.generator.check(task)
        images = np.zeros((3, 2, *self.data.image_shape), np.float32)
        self.set = SyntheticSet(images)
        self.generator.build(task, self.set, keras.layers.Identity())

    def train(self, first, last):
        """Trains, and returns the losses of the last iteration."""
        batches = iter(self.generator.inputs(self.data, first, last))
        for iteration in range(first, last):
            number = tf.constant(iteration, tf.int64)
            _, logs = self.generator.gradients(self.set, batches, number)
        assert next(batches, None) is None, "an iteration takes what it is given"
        return {name: float(value) for name, value in logs.items()}

    def values(self):
        """All that changes, by name."""
        return {k: v.numpy().copy() for k, v in self.generator.variables.items()}
