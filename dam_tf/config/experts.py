"""How experts are trained on the real set (`training/experts.py`).

Nothing here imports TensorFlow.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from dam_tf.base.errors import UserError, choice_error
from dam_tf.config.method_settings import STORAGES, MethodSettings
from dam_tf.config.places import with_absolute_paths
from dam_tf.config.settings import (
    Config,
    EvaluationConfig,
    replace,
    settings_that_matter,
)

KEPT = ("all", "ends")


# How the code of MTT trains its experts (Cazenavette et al., CVPR 2022, buffer.py),
# but for their number and length: it has 100 experts of 50 epochs.
EXPERT_TRAINING: dict[str, Any] = {
    "evaluation.epochs": 3,
    "evaluation.batch_size": 256,
    "evaluation.learning_rate": 0.01,
    "evaluation.schedule": "constant",
    "evaluation.momentum": 0.0,
    "evaluation.weight_decay": 0.0,
    "evaluation.augmentation": "dsa",
}
# How the code of NCFM trains the networks of its pool (Wang et al., CVPR 2025), as far
# as our trainer has it: there are 20 of 60 epochs, the rate falls to a fifth after 2/3
# and after 5/6 of them, and images are only shifted and varied in colour.
POOL_TRAINING: dict[str, Any] = {
    "evaluation.epochs": 20,
    "evaluation.batch_size": 128,
    "evaluation.learning_rate": 0.01,
    "evaluation.schedule": "step",
    "evaluation.momentum": 0.9,
    "evaluation.weight_decay": 5e-4,
    "evaluation.augmentation": "dsa",
    "evaluation.cutmix": 0.5,
}


@dataclasses.dataclass(frozen=True)
class Role:
    """What trained networks are for, in words of messages, and how they are trained.

    Attributes:
        word: What one of them is called.
        command: Trains them.
        setting: Takes their folder.
        use: What a method does with them.
        training: How they are trained, where nothing else is said.
        kept: Which states of them, as of `ExpertTraining`.
    """

    word: str
    command: str
    setting: str
    use: str
    training: Mapping[str, Any] = dataclasses.field(repr=False)
    kept: str


EXPERT = Role(
    "expert", "experts", "method.experts", "follows experts", EXPERT_TRAINING, "all"
)
NETWORK = Role(
    "network",
    "pretrain",
    "method.pool",
    "matches through trained networks",
    POOL_TRAINING,
    "ends",
)
_ROLES = {role.setting.partition(".")[2]: role for role in (EXPERT, NETWORK)}
_SECTIONS = ("preset", "dataset", "network", "augmentation", "evaluation")


@dataclasses.dataclass(frozen=True)
class ExpertTraining:
    """How many experts are trained, and how their weights are kept.

    Attributes:
        experts: How many.
        storage: float32, or bfloat16 for half the space and two digits of a weight.
        kept: Which states: "all", after every epoch; or "ends", before and after the
            training, which is what methods take that match through a pool.

    Raises:
        UserError: a value is out of range.
    """

    experts: int = 10
    storage: str = "float32"
    kept: str = "all"

    def __post_init__(self):
        if self.experts < 1:
            raise UserError(f"experts must be at least 1, not {self.experts}")
        if self.storage not in STORAGES:
            raise choice_error("storage", self.storage, STORAGES)
        if self.kept not in KEPT:
            raise choice_error("kept", self.kept, KEPT)

    @property
    def word(self) -> str:
        """What messages call one of them."""
        return (EXPERT if self.kept == "all" else NETWORK).word


def expert_config(
    config: Config,
    given: Collection[str] = (),
    training: Mapping[str, Any] = EXPERT_TRAINING,
) -> Config:
    """Returns settings whose section evaluation is how experts are trained.

    Args:
        config: The settings otherwise.
        given: What of `training` stays as `config` has it, by dotted key.
        training: The rest of it: `EXPERT_TRAINING`, or `POOL_TRAINING`.

    Example:
        >>> found = expert_config(Config(), ["evaluation.epochs"]).evaluation
        >>> found.epochs, found.momentum
        (1000, 0.0)
    """
    usual = {key: value for key, value in training.items() if key not in given}
    return replace(config, **{k.replace(".", "__"): v for k, v in usual.items()})


def training_settings(config: Config, settings: ExpertTraining) -> dict[str, Any]:
    """Returns what all experts of a folder depend on, ready for JSON.

    Args:
        config: As of `expert_config`.
        settings: How many, which may become more, and how they are kept.
    """
    found = settings_that_matter(with_absolute_paths(config), ["evaluation.networks"])
    matter = {
        key: value
        for key, value in found.items()
        if key.partition(".")[0] in _SECTIONS or key == "distillation.seed"
    }
    return {"study": f"{settings.word}s", "storage": settings.storage, **matter}


def role_of(method: MethodSettings) -> Role | None:
    """Returns what trained networks are to a method; None where it needs none."""
    return _ROLES.get(method.networks_in)


def own_training(config: Config) -> tuple[Config, ExpertTraining] | None:
    """Returns how a run trains the networks that its method needs, if it does.

    They are those of the role's command with the run's data, network and augmentation,
    whatever the run says of evaluation and of its own seed: so other runs find them.

    Args:
        config: Of the run.

    Returns:
        Settings as of `expert_config`, and how many.

    Example:
        >>> given = {"method__name": "mtt", "method__train_networks": 10}
        >>> config, settings = own_training(replace(Config(), **given))
        >>> config.evaluation.epochs, settings.experts, settings.kept
        (3, 10, 'all')
    """
    method, role = config.method, role_of(config.method)
    if role is None or method.train_networks is None:
        return None
    config = dataclasses.replace(config, evaluation=EvaluationConfig())
    config = expert_config(config, (), role.training)
    epochs = method.train_epochs or config.evaluation.epochs
    seed = method.train_seed or 0
    config = replace(config, evaluation__epochs=epochs, distillation__seed=seed)
    storage = method.train_storage or STORAGES[0]
    return config, ExpertTraining(method.train_networks, storage, role.kept)
