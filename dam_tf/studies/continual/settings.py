"""What a study of continual learning consists of, checked before it begins.

It imports no TensorFlow, so a tool can name a mistake at once. `study.py` runs the
study.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from dam_tf.base.errors import UserError, check_each_once, choice_error
from dam_tf.config.settings import Config, settings_that_matter

STATISTICS = ("first_step", "all")

# One trial: (steps, order, memory, step).
Key = tuple[int, int, str, int]


@dataclasses.dataclass(frozen=True)
class ContinualConfig:
    """The paper's class-incremental protocol (section 4.5, Figure 7), and its scale.

    Attributes:
        memories: How the replay buffer is filled: coresets (random, herding,
            k-center, forgetting) and methods of distillation (datadam, dm, ...).
        steps: Into how many steps the classes are split; several make several
            panels of the figure.
        orders: Random orders of the classes, functions of the seed.
        statistics: What preprocessing is fitted to: the training images of the
            classes of the `first_step`, all that is there when it is needed first,
            or those of `all` classes, as the DC/DSA/DM code does.

    Raises:
        UserError: there is no memory, no step or no order, or one is there twice.

    Example:
        >>> study = ContinualConfig(("random", "dm"), steps=(2,), orders=1)
        >>> study.keys()
        [(2, 0, 'random', 0), (2, 0, 'random', 1), (2, 0, 'dm', 0), (2, 0, 'dm', 1)]
    """

    memories: tuple[str, ...] = ("random", "herding", "dm", "datadam")
    steps: tuple[int, ...] = (5,)
    orders: int = 5
    statistics: str = "first_step"

    def __post_init__(self):
        for what, values in (("memory", self.memories), ("steps", self.steps)):
            check_each_once(what, values)
        for what, value in (("steps", min(self.steps)), ("orders", self.orders)):
            if value < 1:
                raise UserError(f"{what} must be at least 1, not {value}")
        if self.statistics not in STATISTICS:
            raise choice_error("value of statistics", self.statistics, STATISTICS)

    def keys(self) -> list[Key]:
        """Returns the trials, those of an order together."""
        return [
            (steps, order, memory, step)
            for steps in self.steps
            for order in range(self.orders)
            for memory in self.memories
            for step in range(steps)
        ]

    def settings(self, config: Config) -> dict[str, Any]:
        """Returns what all trials depend on, ready for JSON.

        Memories, steps and orders are not among it: a resumed study may have more
        of them, or fewer.

        Args:
            config: The settings of data, networks, distillation and evaluation.
        """
        return {
            "study": "continual learning",
            "statistics": self.statistics,
            **settings_that_matter(config, ["selection.method"]),
        }


def split_classes(order: Sequence[int], steps: int) -> list[list[int]]:
    """Returns the classes of each step: as equal as can be, the first ones larger.

    Args:
        order: Labels in the order in which the classes arrive.
        steps: How many parts.

    Raises:
        UserError: there are more steps than classes.

    Example:
        >>> split_classes([4, 0, 3, 1, 2], 3)
        [[4, 0], [3, 1], [2]]
    """
    if steps > len(order):
        raise UserError(
            f"{steps} steps are more than the {len(order)} classes; a step needs a "
            "class of its own"
        )
    return [part.tolist() for part in np.array_split(order, steps)]
