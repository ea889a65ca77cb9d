"""How a network is to be trained on a distilled set, where that was learned with it.

Methods that unroll training (DD, MTT) learn images for one way of training, often its
step sizes too; methods that regress (KIP, FRePo) were published with a way of their
own. The set carries the recipe to whoever trains on it; `evaluate` trains in its own
way.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dam_tf.base.errors import UserError
from dam_tf.config.schema import build, setting, to_dict
from dam_tf.config.sections import NORMS, AugmentationConfig


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The training that a set was learned for; what is left out is open.

    Args:
        learning_rates: One for all steps, or one for each step.
        steps: The number of steps.
        momentum: Of SGD.
        batch_size: Images in a step.
        batches: For each step the numbers of its images, where the order was learned
            too (as in Wang et al., Dataset Distillation, 2018).
        augmentation: What the images were augmented with.
        optimizer: "sgd", or "adam" with PyTorch's defaults, which has no `momentum`.
        start_seed: Networks start from the weights of this seed alone
            (`Purpose.FIXED_NETWORK`); from fresh ones if left out.
        loss: What networks minimise, as `evaluation.loss`.
        target_scale: With "mse", logits are to become this times p - 1 / classes, of
            the probabilities p that the set has as labels.
        warm_up: Steps in which the learning rate rises from 0.
        falls_to: The share of the learning rate at the end, along half a cosine.
        norm: Of the networks, as `network.norm`.

    Raises:
        UserError: a value is out of range, or two of them do not fit together.

    Example:
        >>> recipe = Recipe(learning_rates=(0.02, 0.01), steps=2, batch_size=50)
        >>> Recipe.from_dict(recipe.to_dict()) == recipe
        True
    """

    learning_rates: tuple[float, ...] = setting((), "one, or one a step")
    steps: int | None = setting(None, "number of steps")
    momentum: float = setting(0.0, "of SGD")
    batch_size: int | None = setting(None, "images in a step")
    batches: tuple[tuple[int, ...], ...] | None = setting(None, "images of each step")
    augmentation: AugmentationConfig | None = None
    optimizer: str = setting("sgd", "which optimizer", choices=("sgd", "adam"))
    start_seed: int | None = setting(None, "of the first weights", minimum=0)
    loss: str = setting("cross_entropy", "what falls", choices=("cross_entropy", "mse"))
    target_scale: float = setting(1.0, "of what logits are to become")
    warm_up: int = setting(0, "steps of rising learning rate", minimum=0)
    falls_to: float = setting(1.0, "share of the learning rate at the end")
    norm: str | None = setting(None, "of the networks", choices=NORMS)

    def __post_init__(self):
        rates = tuple(float(rate) for rate in self.learning_rates)
        object.__setattr__(self, "learning_rates", rates)
        for rate in rates:
            _check("a learning rate", rate, 0 < rate < math.inf, "positive and finite")
        for name in ("steps", "batch_size"):
            value = getattr(self, name)
            _check(name, value, value is None or value >= 1, "at least 1")
        _check("momentum", self.momentum, 0 <= self.momentum < 1, "0 to 1, 1 excluded")
        scale, share = self.target_scale, self.falls_to
        _check("target_scale", scale, 0 < scale < math.inf, "positive and finite")
        _check("falls_to", share, 0 <= share <= 1, "0 to 1")
        fits = self.warm_up <= (self.steps or 0)
        _check("warm_up", self.warm_up, fits, f"at most its steps, {self.steps}")
        if len(rates) > 1:
            fits = len(rates) == self.steps
            _check("the number of learning rates", len(rates), fits, self._one_a_step)
        if self.batches is not None:
            batches = tuple(tuple(map(int, batch)) for batch in self.batches)
            object.__setattr__(self, "batches", batches)
            fits = len(batches) == self.steps
            _check("the number of batches", len(batches), fits, self._one_a_step)
            lowest = min(itertools.chain(*batches), default=0)
            _check(
                "the number of an image in batches", lowest, lowest >= 0, "0 or more"
            )

    def check_images(self, count: int) -> None:
        """Raises a `UserError` where `batches` names an image beyond `count`."""
        largest = max(itertools.chain(*(self.batches or ())), default=0)
        fits = largest < count
        _check("an image's number in batches", largest, fits, f"below {count}")

    def rates(self, usual: float) -> np.ndarray:
        """Returns the learning rate of each step, float32 `[steps]`.

        Args:
            usual: The learning rate where the recipe leaves it open.

        Example:
            >>> Recipe((0.4,), steps=4, warm_up=2, falls_to=0.5).rates(0.0).round(2)
            array([0. , 0.2, 0.4, 0.3], dtype=float32)
        """
        rising = self.warm_up
        steps = np.arange(self.steps)
        falling = np.cos(np.pi * (steps - rising) / max(1, self.steps - rising))
        shares = self.falls_to + (1 - self.falls_to) * (1 + falling) / 2
        shares = np.where(steps < rising, steps / max(1, rising), shares)
        return np.float32(shares * (self.learning_rates or (usual,)))

    def to_dict(self) -> dict[str, Any]:
        """Returns the recipe as plain values, ready for JSON."""
        return to_dict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Recipe":
        """Returns the recipe that `to_dict` returned.

        Raises:
            UserError: a name in it is not known, or a value is not of its type.
        """
        values = dict(values)
        if (augmentation := values.pop("augmentation", None)) is not None:
            if not isinstance(augmentation, dict):
                raise UserError(f"augmentation is a section, not {augmentation!r}")
            augmentation = build(AugmentationConfig, augmentation)
        recipe = build(cls, values)
        return dataclasses.replace(recipe, augmentation=augmentation)

    @property
    def _one_a_step(self) -> str:
        return f"as many as there are steps, {self.steps}"


def _check(what: str, value: Any, holds: bool, expected: str) -> None:
    if not holds:
        raise UserError(f"{what} of a recipe must be {expected}, not {value}")
