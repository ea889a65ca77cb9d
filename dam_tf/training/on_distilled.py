"""Networks trained on a distilled set: one, several at a time, or the way to do so.

It stands on `trainer.py`; evaluation, exports and studies start here.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dam_tf.augmentation import autoaugment
from dam_tf.config.settings import Config
from dam_tf.data.preprocessing.preprocessing import Preprocessing
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.training.by_recipe import RecipeTrainer, by_recipe
from dam_tf.training.descent import State
from dam_tf.training.trainer import Trainer

_STRETCHES = 20  # calls that one training is cut into, for the progress bar


def train_network(
    distilled: DistilledSet,
    config: Config,
    on_progress: Callable[[int], Any] = lambda _: None,
) -> keras.Model:
    """Returns the first network of an evaluation of `distilled`, trained.

    Args:
        distilled: The training set.
        config: As of `Trainer`.
        on_progress: Called with the epochs done.

    Returns:
        A Keras model, images in model space to logits.
    """
    config = by_recipe(distilled, config)
    trainer = trainer_of(distilled, config)
    (state,) = train_from_scratch(trainer, [0], config.evaluation.epochs, on_progress)
    return trainer.model(state)


def trainer_of(distilled: DistilledSet, config: Config) -> Trainer:
    """Returns the trainer that trains networks on `distilled`.

    Args:
        distilled: The training set.
        config: As `by_recipe` returned it.
    """
    if config.evaluation.label_type == "hard":
        distilled = dataclasses.replace(distilled, soft_labels=None)
    own = config.evaluation.recipe == "own"
    if own and distilled.recipe is not None and distilled.recipe.steps is not None:
        return RecipeTrainer(distilled, config)
    pixels = config.evaluation.augmentation in autoaugment.POLICIES
    images, labels = distilled.to_numpy(
        "pixels" if pixels else "network", distilled.soft_labels is not None
    )
    preprocessing = distilled.preprocessing or Preprocessing("none")
    return Trainer(images, labels, distilled.num_classes, config, preprocessing, pixels)


def train_from_scratch(
    trainer: Trainer,
    indices: Sequence[int],
    epochs: int,
    on_progress: Callable[[int], Any],
) -> list[State]:
    """Trains networks at the same time, and says now and then how far they are.

    Args:
        trainer: Holds the training set.
        indices: The numbers of the networks.
        epochs: How long each is trained.
        on_progress: Called with the epochs done, about twenty times.
    """
    states = [trainer.initial_state(tf.constant(index)) for index in indices]
    numbers = [tf.constant(index) for index in indices]
    edges = np.linspace(0, epochs, _STRETCHES + 1).astype(int)
    for first, last in itertools.pairwise(edges):
        states = trainer.train(states, numbers, tf.constant(first), tf.constant(last))
        on_progress(int(last))
    return states
