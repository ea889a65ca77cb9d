"""`dam_tf.train_experts`: data of any kind in, experts for MTT and TESLA out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dam_tf.api.distill import settings_below
from dam_tf.config.experts import ExpertTraining, expert_config
from dam_tf.config.keywords import (
    augmentation_values,
    named_or_section,
    preprocessing_values,
    refuse_unknown,
    section_values,
    with_keywords,
)
from dam_tf.config.settings import (
    AugmentationConfig,
    Config,
    EvaluationConfig,
    NetworkConfig,
)

if TYPE_CHECKING:
    from dam_tf.api import Arrays, Data, Path
    from dam_tf.data.preprocessing.preprocessing import Preprocessing
    from dam_tf.networks.trajectories import Experts


def train_experts(
    data: Data,
    /,
    labels: Arrays | None = None,
    *,
    output_dir: Path,
    experts: int = 10,
    storage: str = "float32",
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    momentum: float | None = None,
    weight_decay: float | None = None,
    schedule: str | None = None,
    network: str | NetworkConfig | None = None,
    class_names: Sequence[str] | None = None,
    pixel_range: tuple[float, float] | None = None,
    image_size: int | None = None,
    max_classes: int | None = None,
    preprocessing: str | Preprocessing | None = None,
    augmentation: Sequence[str] | AugmentationConfig | None = None,
    data_dir: str | None = None,
    preset: str | None = None,
    config: Config | Path | None = None,
    seed: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    **unknown: Any,
) -> Experts:
    """Trains networks on the real images, which the methods mtt and tesla follow.

    What is left out is as the command `experts` has it: how networks are trained is
    that of the code of MTT, whatever `config` says, and all else as of `distill`.

    Args:
        data: As of `distill`, but for a `Config` or its file.
        labels: As of `distill`.
        output_dir: Where the experts are kept: a file each.
        experts: How many.
        storage: "float32" (the default), or "bfloat16" for half the space.
        epochs: Passes over the real images, after each of which the weights are kept;
            3 by default.
        batch_size: Images per update; 256 by default.
        learning_rate: Of the networks' SGD; 0.01 by default.
        momentum: Of the networks' SGD; 0 by default.
        weight_decay: L2 penalty; 0 by default.
        schedule: Of the learning rate: "constant" (the default), "step" or "paper".
        network: As of `distill`, which must be given the same.
        class_names: As of `distill`.
        pixel_range: As of `distill`.
        image_size: As of `distill`.
        max_classes: As of `distill`.
        preprocessing: As of `distill`.
        augmentation: As of `distill`.
        data_dir: As of `distill`.
        preset: As of `distill`.
        config: As of `distill`.
        seed: Decides every random choice; 0 by default.
        resume: Go on with the experts in `output_dir`, or add more to them.
        overwrite: Replace the experts in `output_dir`.
        **unknown: Refused, with the nearest keyword.

    Returns:
        The experts; `len` says how many.

    Raises:
        UserError: something given cannot be used, or something else lies in
            `output_dir`.

    Example:
        >>> import numpy as np, tempfile
        >>> x = np.random.default_rng(0).integers(0, 256, [20, 8, 8], np.uint8)
        >>> y, small = ["cat", "dog"] * 10, NetworkConfig(width=8, depth=1)
        >>> found = train_experts(
        ...     x, y, output_dir=tempfile.mkdtemp(), experts=2, epochs=1, network=small
        ... )
        >>> len(found), found.epochs
        (2, 1)
    """
    values = dict(locals())
    refuse_unknown(unknown, train_experts)
    training = section_values("evaluation", EvaluationConfig, values)
    training.pop("evaluation__augmentation")  # the keyword is of DSA's section
    given = [k.replace("__", ".") for k, v in training.items() if v is not None]
    settings = with_keywords(
        settings_below(data, config, preset),
        **training,
        **named_or_section("network", network, NetworkConfig),
        **augmentation_values(augmentation),
        **preprocessing_values(preprocessing),
        distillation__seed=seed,
        dataset__name=data if isinstance(data, str) else None,
        dataset__data_dir=data_dir,
        dataset__image_size=image_size,
        dataset__max_classes=max_classes,
    )
    settings = expert_config(settings, given)
    how = ExpertTraining(experts, storage)
    from dam_tf.data.sources.memory import as_real_data
    from dam_tf.training import experts as training_of

    real, beside = None, (labels, class_names, pixel_range)  # not for named data
    if not isinstance(data, str) or any(value is not None for value in beside):
        real = as_real_data(
            data, labels, None, class_names, pixel_range, settings.dataset
        )
    seen = None if isinstance(preprocessing, str) else preprocessing
    return training_of.train_experts(
        settings, how, output_dir, resume, overwrite, real, seen
    )
