"""The settings of a run: one frozen schema, read from TOML with flags over it.

Settings are layered, later over earlier: the defaults below, the named preset
(`PRESETS`), what the method says of section distillation, the TOML file, single
overrides. A value of `None` means "decided by the data", and is filled in once the data
are known. Nothing here imports TensorFlow, so a tool can check its settings and speak
before that import.
"""

import collections
import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tomli_w

from dam_tf.base.errors import choice_error
from dam_tf.base.files import atomic_file
from dam_tf.config.generators import GENERATORS
from dam_tf.config.methods import METHODS, MethodSettings
from dam_tf.config.schema import (
    build,
    flat,
    keys_that_affect,
    read_toml,
    set_value,
    setting,
    to_dict,
)
from dam_tf.config.sections import (
    AugmentationConfig,
    DatasetConfig,
    DistillationConfig,
    EvaluationConfig,
    NetworkConfig,
    SelectionConfig,
)

# What section `[method]` may be: a method of distillation, or a generator.
_KINDS = collections.ChainMap(METHODS, GENERATORS)


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings of a run, in sections named as in the TOML files."""

    preset: str = setting("paper", "which protocol's values to start from")
    dataset: DatasetConfig = setting(DatasetConfig(), "what is distilled")
    network: NetworkConfig = setting(NetworkConfig(), "which network is used")
    # The settings of this section depend on its name.
    method: MethodSettings = dataclasses.field(
        default=METHODS["datadam"](),
        metadata={"variants": _KINDS, "listed": METHODS},
    )
    augmentation: AugmentationConfig = setting(
        AugmentationConfig(), "how images are varied"
    )
    distillation: DistillationConfig = setting(
        DistillationConfig(), "how images are learned"
    )
    selection: SelectionConfig = setting(
        SelectionConfig(), "how a coreset is chosen", affects="selection"
    )
    evaluation: EvaluationConfig = setting(
        EvaluationConfig(), "how a set is tested", affects="evaluation"
    )


# Where the paper and its PyTorch code differ; what is not listed is the default. What
# a preset says of methods stands by the method's name.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {},
    "reference": {
        "dataset": {"zca_input": "standardized"},
        "method": {"datadam": {"power": 1.0, "task_balance": 0.01}},
        "network": {"norm": "batch"},
        "distillation": {"iterations": 20_000, "batch_real": 64},
        "evaluation": {"epochs": 1800, "batch_size": 64, "networks": 10},
    },
}


def read_config(
    file: os.PathLike | str | None = None,
    overrides: Mapping[str, Any] | None = None,
    of_a_run: bool = False,
) -> Config:
    """Returns the settings of a TOML file with single overrides over them.

    Settings of a data set's own are not looked for: `presets.make_config` does that.

    Args:
        file: A TOML file with the sections of `Config`; None for the defaults.
        overrides: Values by dotted key, `{"distillation.ipc": 10}`. A string is
            read as the setting's type, as it comes from a command line.
        of_a_run: Whether `file` was written by a run, maybe an earlier one: dam_tf 0.1
            wrote the settings of all methods for each, and LD once had Adam alone.

    Raises:
        UserError: a key is unknown, or a value has the wrong type or range.

    Example:
        >>> config = read_config(overrides={"distillation.ipc": "10"})
        >>> config.distillation.ipc
        10
    """
    values = _of_today(read_toml(file)) if file is not None else {}
    if of_a_run:
        _complete_method(values)
    for key, value in (overrides or {}).items():
        set_value(values, key, value)
    preset = values.get("preset", Config.preset)
    if not isinstance(preset, str) or preset not in PRESETS:
        raise choice_error("preset", preset, PRESETS)
    method = values.get("method", {})
    method = method.get("name") if isinstance(method, Mapping) else None
    merged: dict[str, Any] = {"preset": preset}
    for section in (*PRESETS[preset], "distillation", *values):
        if section != "preset":
            given = values.get(section, {})
            if isinstance(given, Mapping):
                given = {**_base_values(preset, section, method), **given}
            merged[section] = given
    return from_dict(merged)


# What dam_tf 0.1 called settings, and their values, of section evaluation.
_FORMER_NAMES = {"models": "networks", "together": "networks_at_once"}
_FORMER_SCHEDULES = {"lineage": "step"}


def _of_today(values: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings of a file, maybe of dam_tf 0.1, by their names of today."""
    section = values.get("evaluation")
    if not isinstance(section, dict):
        return values
    section = {_FORMER_NAMES.get(name, name): value for name, value in section.items()}
    schedule = section.get("schedule")
    if isinstance(schedule, str) and schedule in _FORMER_SCHEDULES:
        section["schedule"] = _FORMER_SCHEDULES[schedule]
    return {**values, "evaluation": section}


def _complete_method(values: dict[str, Any]) -> None:
    """Removes settings of other methods, and adds what was no choice at the time."""
    method = values.get("method")
    if isinstance(method, dict) and method.get("name") in _KINDS:
        own, *others = (
            {field.name for field in dataclasses.fields(kind)}
            for kind in (_KINDS[method["name"]], *_KINDS.values())
        )
        for key in set().union(*others) - own:
            method.pop(key, None)
        if method["name"] == "ld":
            method.setdefault("optimizer", "adam")


def _base_values(preset: str, section: str, method: Any) -> Mapping[str, Any]:
    """What settings of a section are where they are left out, but for the defaults."""
    values = PRESETS[preset].get(section, {})
    method = Config.method.name if method is None else str(method)
    if section == "method":
        return values.get(method, {})
    if section == "distillation" and method in _KINDS:
        return {**values, **_KINDS[method].distillation}
    return values


def from_dict(values: Mapping[str, Any]) -> Config:
    """Returns the `Config` of nested mappings, checked as `read_config` does."""
    return build(Config, values)


def save_config(config: Config, path: os.PathLike | str) -> None:
    """Writes `config` as TOML, atomically; `read_config(path)` gives it back."""
    values = to_dict(config)
    for section in (*PRESETS[config.preset], "distillation"):
        settings = _base_values(config.preset, section, config.method.name)
        for key in settings:  # TOML has no None: an empty text undoes the preset
            values[section].setdefault(key, "")
    with atomic_file(path) as temporary:
        temporary.write_text(tomli_w.dumps(values), encoding="utf-8")


def replace(config: Config, **changes: Any) -> Config:
    """Returns `config` with settings changed, named `section__key`, and checked.

    Example:
        >>> replace(Config(), distillation__ipc=10).distillation.ipc
        10
    """
    values = to_dict(config)
    method = changes.get("method__name", config.method.name)
    if method != config.method.name:  # another method has settings of its own
        values["method"] = {}
    for name, value in changes.items():
        section, key = name.split("__")
        if value is None:
            values[section].pop(key, None)
        else:
            values[section][key] = value
    return from_dict(values)


def settings_that_matter(config: Config, ignored: Iterable[str] = ()) -> dict[str, Any]:
    """Returns settings by dotted key, without those that change no result.

    Left out are those that change only which files are kept and where, or the speed.

    Args:
        config: Of a run, or of all runs of a study.
        ignored: More keys to leave out, such as those that differ between trials.

    Example:
        >>> settings = settings_that_matter(Config(), ["method.name"])
        >>> settings["distillation.ipc"], "method.name" in settings
        (1, False)
        >>> "dataset.cache" in settings
        False
    """
    left_out = keys_that_affect(Config, "files", "speed").union(ignored)
    found = flat(to_dict(config))
    return {key: value for key, value in found.items() if key not in left_out}


def default_depth(image_shape: Sequence[int]) -> int:
    """Returns a ConvNet's blocks for images of this shape (section 6.1.4).

    Each block halves both sides, so the shorter one decides. The paper has no images
    below 28x28. There the last block still sees maps of at least 4x4, which is our
    choice: through instance norm over four values nearly all methods learn less, and
    those that differentiate gradients learn nothing (docs/methods.md).

    Example:
        >>> [default_depth(shape) for shape in ((32, 32, 3), (16, 128, 3), (8, 8, 1))]
        [3, 3, 2]
    """
    side = min(image_shape[:2])
    return 1 + sum(side >= least for least in (8, 16, 33, 65))


def resolve(config: Config, image_shape: tuple[int, int, int]) -> Config:
    """Returns `config` with what the data decide filled in.

    Args:
        config: Settings, some of them None.
        image_shape: Height, width and channels of the real images.

    Example:
        >>> resolve(Config(), (64, 64, 3)).method.task_balance
        0.02
    """
    by_data = config.method.by_data(
        config.dataset.name,
        config.distillation.ipc,
        image_shape,
        config.dataset.preprocessing_kind,
    )
    if config.network.name == "convnet":
        by_data["network.depth"] = default_depth(image_shape)
    found = {}
    for key, value in by_data.items():
        section, name = key.split(".")
        if getattr(getattr(config, section), name) is None:
            found[f"{section}__{name}"] = value
    return replace(config, **found)
