"""Networks trained exactly as a set's recipe says: the evaluation of its own method.

It stands on `trainer.py`, whose epochs are steps here.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.config.settings import Config
from dam_tf.data.preprocessing.preprocessing import Preprocessing
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.synthetic.recipe import Recipe
from dam_tf.training.descent import State
from dam_tf.training.trainer import Trainer


def by_recipe(distilled: DistilledSet, config: Config) -> Config:
    """Returns the settings of an evaluation as the recipe of a set has them.

    What a recipe leaves open stays as in `config`. Where it names the steps, networks
    take these and nothing else: no weight decay, and no augmentation but its own.

    Args:
        distilled: The set.
        config: Settings; those with `evaluation.recipe = "common"` are returned.

    Raises:
        UserError: the set has no recipe.

    Example:
        >>> pixels, recipe = np.zeros([2, 8, 8, 1]), Recipe((0.1,), steps=7)
        >>> one = DistilledSet(pixels, [0, 1], ("cat", "dog"), recipe=recipe)
        >>> settings = dataclasses.replace(Config().evaluation, recipe="own")
        >>> found = by_recipe(one, dataclasses.replace(Config(), evaluation=settings))
        >>> found.evaluation.epochs, found.evaluation.weight_decay
        (7, 0.0)
    """
    settings, recipe = config.evaluation, distilled.recipe
    if settings.recipe != "own":
        return config
    if recipe is None:
        raise UserError(
            "the set has no recipe of its own (only methods that learn how to train on "
            "it give one); leave out --own_recipe, or give evaluation.recipe=common"
        )
    changes = {"momentum": recipe.momentum, "loss": recipe.loss, "cutmix": 0.0}
    if recipe.batch_size is not None:
        changes["batch_size"] = recipe.batch_size
    if recipe.learning_rates:
        changes["learning_rate"] = float(np.mean(recipe.learning_rates))
    if recipe.norm is not None:
        network = dataclasses.replace(config.network, norm=recipe.norm)
        config = dataclasses.replace(config, network=network)
    if recipe.augmentation is not None:
        config = dataclasses.replace(config, augmentation=recipe.augmentation)
    if recipe.steps is not None:
        changes |= {"epochs": recipe.steps, "weight_decay": 0.0, "schedule": "constant"}
        changes["augmentation"] = "none" if recipe.augmentation is None else "dsa"
    if recipe.start_seed is not None:
        changes["networks"] = 1  # all are the same
    return dataclasses.replace(
        config, evaluation=dataclasses.replace(settings, **changes)
    )


class RecipeTrainer(Trainer):
    """Trains networks by the steps of a recipe, in its order and with its step sizes.

    Where the recipe does not say which images a step takes, they are drawn.

    Args:
        distilled: A set whose recipe names the number of steps.
        config: What `by_recipe` returned.

    Raises:
        UserError: the steps of the recipe have different numbers of images.

    Example:
        >>> pixels, recipe = np.zeros([2, 8, 8, 1]), Recipe((0.1,), steps=7)
        >>> one = DistilledSet(pixels, [0, 1], ("cat", "dog"), recipe=recipe)
        >>> trainer = RecipeTrainer(one, Config())
        >>> first, last, number = tf.constant(0), tf.constant(7), tf.constant(0)
        >>> states = [trainer.initial_state(number)]
        >>> (state,) = trainer.train(states, [number], first, last)
        >>> trainer.predict(state, np.zeros([3, 8, 8, 1], np.uint8)).shape
        (3, 2)
    """

    def __init__(self, distilled: DistilledSet, config: Config):
        images, labels = distilled.to_numpy("network", soft_labels=True)
        preprocessing = distilled.preprocessing or Preprocessing("none")
        recipe: Recipe = distilled.recipe
        if recipe.target_scale != 1.0:  # the loss takes 1 / classes off again
            even = np.float32(1 / distilled.num_classes)
            labels = even + np.float32(recipe.target_scale) * (labels - even)
        super().__init__(images, labels, distilled.num_classes, config, preprocessing)
        self._recipe, self._batches = recipe, None
        self._size = min(recipe.batch_size or len(images), len(images))
        self._rates = tf.constant(recipe.rates(config.evaluation.learning_rate))
        if recipe.batches is not None:
            sizes = {len(batch) for batch in recipe.batches}
            if len(sizes) > 1:
                raise UserError(
                    f"the steps of the recipe have {min(sizes)} to {max(sizes)} images;"
                    " only steps of as many images each can be repeated"
                )
            self._batches = tf.constant(recipe.batches, tf.int32)

    def initial_state(self, index: int | tf.Tensor) -> State:
        weights, velocities, statistics = super().initial_state(index)
        if self._recipe.start_seed is not None:
            seed = tensor_seed(self._recipe.start_seed, Purpose.FIXED_NETWORK)
            weights = self.network.init(seed)
        if self._recipe.optimizer == "adam":
            velocities = [tf.zeros_like(weight) for weight in 2 * weights]
        return weights, velocities, statistics

    @tf.function
    def train(
        self,
        states: Sequence[State],
        indices: Sequence[tf.Tensor],
        first: tf.Tensor,
        last: tf.Tensor,
    ) -> list[State]:
        """Trains several networks by steps `first` to `last` - 1."""
        states, step = list(states), first
        while step < last:
            states = [
                self._by_step(state, index, step)
                for state, index in zip(states, indices, strict=True)
            ]
            step += 1
        return states

    def _by_step(self, state, index, step):
        rows = self._rows(index, step)
        seed = self._seed_of(Purpose.EVALUATION_AUGMENTATION, index, step, 0)
        images = self._augment(self._fetch(rows), seed)
        targets, rate = tf.gather(self._targets, rows), self._rates[step]
        if self._recipe.optimizer == "adam":
            return self._descent.adam(state, images, targets, rate, step)
        return self._descent.step(state, images, targets, rate)[0]

    def _rows(self, index, step):
        if self._batches is not None:
            return self._batches[step]
        seed = self._seed_of(Purpose.RECIPE_BATCH, index, step)
        order = tf.argsort(tf.random.stateless_uniform([len(self)], seed))
        return order[: self._size]
