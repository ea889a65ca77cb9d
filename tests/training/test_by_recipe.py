"""Networks trained as a set's recipe says, against the steps written out."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import dam_tf
from dam_tf.base.errors import UserError
from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.config.sections import AugmentationConfig
from dam_tf.evaluation.evaluate import evaluate, evaluate_whole_set
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.synthetic.recipe import Recipe
from dam_tf.training.by_recipe import RecipeTrainer, by_recipe
from dam_tf.training.on_distilled import train_network, trainer_of
from tests.tiny_data import NAMES, make_data, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")

RNG = np.random.default_rng(0)
SOFT = np.float32(RNG.dirichlet([1, 1, 1], 6))
OWN = tiny_config(evaluation__recipe="own", network__depth=1, network__norm="none")


def set_of(**recipe):
    recipe = Recipe(**recipe) if recipe else None
    images = np.random.default_rng(1).random([6, 8, 8, 1])
    labels = SOFT.argmax(axis=1)
    return DistilledSet(images, labels, NAMES, soft_labels=SOFT, recipe=recipe)


def trained(one, index=0):
    """The first network of an evaluation by the recipe, and where it began."""
    config = by_recipe(one, OWN)
    trainer, number = trainer_of(one, config), tf.constant(index)
    first, last = tf.constant(0), tf.constant(config.evaluation.epochs)
    start = trainer.initial_state(number)
    (state,) = trainer.train([start], [number], first, last)
    return trainer, start[0], state[0]


def gradient(trainer, weights, one, rows):
    with tf.GradientTape() as tape:
        tape.watch(weights)
        images = tf.constant(one.images[rows])
        outputs, _ = trainer.network.apply(weights, trainer.network.statistics, images)
        chances = tf.math.log(tf.nn.softmax(outputs.logits))
        loss = -tf.reduce_sum(SOFT[rows] * chances) / len(rows)
    return tape.gradient(loss, weights)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_each_step_has_its_images_and_its_size(momentum):
    rates, batches = (0.5, 0.1, 0.3), ((0, 1), (5, 3), (2, 2))
    one = set_of(learning_rates=rates, steps=3, batches=batches, momentum=momentum)
    trainer, weights, found = trained(one)
    velocities = [tf.zeros_like(weight) for weight in weights]
    for rate, rows in zip(rates, batches, strict=True):
        gradients = gradient(trainer, weights, one, list(rows))
        velocities = [
            momentum * v + g for v, g in zip(velocities, gradients, strict=True)
        ]
        weights = [w - rate * v for w, v in zip(weights, velocities, strict=True)]
    for ours, expected in zip(found, weights, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_adam_on_drawn_batches():
    one = set_of(learning_rates=(0.01,), steps=2, batch_size=4, optimizer="adam")
    trainer, weights, found = trained(one)
    means, squares = ([np.zeros(w.shape) for w in weights] for _ in range(2))
    seen = []
    for step in range(2):
        seed = tensor_seed(0, Purpose.RECIPE_BATCH, 0, step)
        rows = tf.argsort(tf.random.stateless_uniform([6], seed)).numpy()[:4]
        seen.append(rows.tolist())
        gradients = gradient(trainer, weights, one, rows)
        for k, g in enumerate(map(np.asarray, gradients)):
            means[k] = 0.9 * means[k] + 0.1 * g
            squares[k] = 0.999 * squares[k] + 0.001 * g**2
            corrected = squares[k] / (1 - 0.999 ** (step + 1))
            moved = means[k] / (1 - 0.9 ** (step + 1)) / (np.sqrt(corrected) + 1e-8)
            weights[k] -= 0.01 * np.float32(moved)
    assert seen[0] != seen[1] and all(len(set(rows)) == 4 for rows in seen)
    for ours, expected in zip(found, weights, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=3e-4)


def test_regression_on_targets_at_rates_that_change():
    """Half the squared distance of the logits from `target_scale` (p - 1/C)."""
    one = set_of(
        learning_rates=(0.4,), steps=3, batches=((0, 1), (5, 3), (2, 4)), loss="mse",
        target_scale=4.0, warm_up=1, falls_to=0.5,
    )  # fmt: skip
    trainer, weights, found = trained(one)
    rates = (0.0, 0.4, 0.3)  # half a cosine from 1 to 0.5 over two steps
    for rate, rows in zip(rates, one.recipe.batches, strict=True):
        rows = list(rows)
        with tf.GradientTape() as tape:
            tape.watch(weights)
            images = tf.constant(one.images[rows])
            outputs, _ = trainer.network.apply(weights, [], images)
            gaps = outputs.logits - 4 * (SOFT[rows] - 1 / 3)
            loss = tf.reduce_sum(gaps**2) / 2 / 2
        gradients = tape.gradient(loss, weights)
        weights = [w - rate * g for w, g in zip(weights, gradients, strict=True)]
    for ours, expected in zip(found, weights, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_a_fixed_start_is_that_of_the_method():
    one = set_of(learning_rates=(0.1,), steps=1, start_seed=7)
    config = by_recipe(one, OWN)
    assert config.evaluation.networks == 1, "all are the same"
    trainer, start, _ = trained(one, index=3)
    seed = tensor_seed(7, Purpose.FIXED_NETWORK)
    for ours, expected in zip(start, trainer.network.init(seed), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_what_a_recipe_leaves_open_is_as_in_the_settings():
    """Of MTT: the step size, momentum and batches; then epochs, schedule and decay."""
    augmentation = AugmentationConfig(operations=("flip",))
    one = set_of(
        learning_rates=(0.2,), momentum=0.9, batch_size=5, augmentation=augmentation
    )
    found = by_recipe(one, OWN)
    expected = dataclasses.replace(
        OWN.evaluation, learning_rate=0.2, momentum=0.9, batch_size=5
    )
    assert found.evaluation == expected and found.augmentation == augmentation
    assert not isinstance(trainer_of(one, found), RecipeTrainer)
    common = dataclasses.replace(
        OWN, evaluation=dataclasses.replace(OWN.evaluation, recipe="common")
    )
    assert by_recipe(one, common) is common


def test_networks_have_the_norm_of_the_recipe():
    one = set_of(learning_rates=(0.2,), steps=1, norm="batch")
    found = by_recipe(one, OWN)
    assert found.network == dataclasses.replace(OWN.network, norm="batch")
    assert OWN.network.norm != "batch"
    assert trainer_of(one, found).network.statistic_names
    assert by_recipe(set_of(learning_rates=(0.2,)), OWN).network == OWN.network


def test_steps_are_all_that_there_is():
    found = by_recipe(set_of(learning_rates=(0.2,), steps=9), OWN).evaluation
    assert (found.epochs, found.weight_decay, found.augmentation) == (9, 0.0, "none")
    assert (found.momentum, found.schedule, found.cutmix) == (0.0, "constant", 0.0)


def test_sets_without_a_recipe_are_told():
    with pytest.raises(UserError, match="has no recipe of its own"):
        evaluate(set_of(), OWN, make_data())
    with pytest.raises(UserError, match="the whole set has no recipe"):
        evaluate_whole_set(OWN, make_data())
    one = set_of(learning_rates=(0.2,), steps=2, batches=((0,), (1, 2)))
    with pytest.raises(UserError, match="have 1 to 2 images"):
        evaluate(one, OWN, make_data())


def test_python_and_exports_follow_it():
    data = make_data()
    one = set_of(learning_rates=(0.2,), steps=2, start_seed=7)
    small = dam_tf.NetworkConfig(width=8, depth=1, norm="none")
    result = dam_tf.evaluate(one, data, recipe="own", network=small)
    assert len(result.accuracies) == 1
    _, _, weights = trained(one)
    network = train_network(one, OWN)
    for ours, expected in zip(network.trainable_variables, weights, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-6)
