"""How to train on a set: what is accepted, and that JSON brings it back."""

import json
import math
import re

import numpy as np
import pytest

from dam_tf.base.errors import UserError
from dam_tf.config.sections import AugmentationConfig
from dam_tf.synthetic.recipe import Recipe

WHOLE = Recipe(
    learning_rates=[0.02, 0.01],
    steps=2,
    momentum=0.9,
    batch_size=3,
    batches=[[0, 1, 2], [3, 4, 5]],
    augmentation=AugmentationConfig(operations=("flip", "crop"), flip=0.25),
    loss="mse",
    target_scale=2.5,
    warm_up=1,
    falls_to=0.25,
)


@pytest.mark.parametrize("recipe", [Recipe(), Recipe((0.5,), 7), WHOLE])
def test_json_brings_it_back(recipe):
    values = json.loads(json.dumps(recipe.to_dict()))
    assert Recipe.from_dict(values) == recipe


def test_json_says_it_in_plain_words():
    values = json.loads(json.dumps(WHOLE.to_dict()))
    assert values["learning_rates"] == [0.02, 0.01]
    assert values["batches"] == [[0, 1, 2], [3, 4, 5]]
    assert values["augmentation"]["operations"] == ["flip", "crop"]
    plain = {"learning_rates": [], "momentum": 0.0, "optimizer": "sgd"}
    plain |= {"loss": "cross_entropy", "target_scale": 1.0}
    plain |= {"warm_up": 0, "falls_to": 1.0}
    assert Recipe().to_dict() == plain


def test_a_recipe_of_before_is_read():
    """Those of before said nothing of loss, targets and how the rate changes."""
    older = {"learning_rates": [0.1], "momentum": 0.5, "steps": 3, "optimizer": "sgd"}
    assert Recipe.from_dict(older) == Recipe((0.1,), steps=3, momentum=0.5)


def test_rates_rise_and_fall_along_half_a_cosine():
    """Step 2 has the whole rate; a quarter of the way down a cosine of 45 degrees."""
    found = Recipe((0.4,), steps=6, warm_up=2, falls_to=0.5).rates(7.0)
    quarter = 0.5 + 0.25 * (1 + math.sqrt(0.5))
    expected = np.array([0, 0.5, 1, quarter, 0.75, 1.5 - quarter]) * 0.4
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert Recipe(steps=2).rates(0.25).tolist() == [0.25, 0.25]
    given = Recipe((0.5, 0.25), steps=2).rates(7.0)
    assert given.tolist() == [0.5, 0.25], "to the last bit"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rates": (0.0,)}, "a learning rate of a recipe must be positive"),
        ({"learning_rates": (float("nan"),)}, "must be positive and finite, not nan"),
        ({"learning_rates": (1.0, 1.0)}, "as many as there are steps, None, not 2"),
        ({"steps": 0}, "steps of a recipe must be at least 1, not 0"),
        ({"batch_size": -1}, "batch_size of a recipe must be at least 1, not -1"),
        ({"momentum": 1.0}, "momentum of a recipe must be 0 to 1, 1 excluded, not 1.0"),
        ({"steps": 2, "warm_up": 3}, "warm_up of a recipe must be at most its steps"),
        ({"warm_up": 1}, "at most its steps, None, not 1"),
        ({"falls_to": 1.5}, "falls_to of a recipe must be 0 to 1, not 1.5"),
        ({"target_scale": 0.0}, "target_scale of a recipe must be positive and finite"),
        ({"steps": 2, "batches": ((0,),)}, "as many as there are steps, 2, not 1"),
        ({"steps": 1, "batches": ((-1,),)}, "must be 0 or more, not -1"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    with pytest.raises(UserError, match=re.escape(message)):
        Recipe(**change)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rate": 0.1}, "did you mean 'learning_rates'"),
        ({"learning_rates": 0.1}, "learning_rates must be a list, not 0.1"),
        ({"learning_rates": ["a"]}, "learning_rates must be a number, not 'a'"),
        ({"steps": "2"}, "steps must be a whole number, not '2'"),
        ({"batches": [0, 1]}, "batches must be a list, not 0"),
        ({"loss": "mae"}, "loss"),
        ({"augmentation": "dsa"}, "augmentation is a section, not 'dsa'"),
        ({"augmentation": {"flip": "much"}}, "flip must be a number, not 'much'"),
    ],
)
def test_values_of_other_types_are_named(values, message):
    with pytest.raises(UserError, match=re.escape(message)):
        Recipe.from_dict(values)


def test_batches_name_images_that_are_there():
    WHOLE.check_images(6)
    with pytest.raises(UserError, match="must be below 5, not 5"):
        WHOLE.check_images(5)
