"""From the keywords of a Python call to a `Config`, and errors that name keywords.

`dam_tf/api/` takes single settings as keywords; None means that one is left out.
Nothing here imports TensorFlow.
"""

import dataclasses
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from dam_tf.base.errors import UserError, did_you_mean
from dam_tf.config.methods import METHODS, MethodSettings
from dam_tf.config.schema import to_dict
from dam_tf.config.settings import (
    AugmentationConfig,
    Config,
    EvaluationConfig,
    NetworkConfig,
    from_dict,
    read_config,
    replace,
)

_ELSEWHERE = {
    "a network": (NetworkConfig, "network=dam_tf.NetworkConfig({}=...)"),
    "the augmentation": (
        AugmentationConfig,
        "augmentation=dam_tf.AugmentationConfig({}=...)",
    ),
    "evaluating": (EvaluationConfig, "dam_tf.evaluate(..., {}=...)"),
}

_EXAMPLES = {
    "method": "a method such as dam_tf.methods.DataDAM(power=2)",
    "network": "settings such as dam_tf.NetworkConfig(width=64)",
}


def is_settings(value: Any) -> bool:
    """Whether `value` is settings, or the path of a TOML file of them.

    Example:
        >>> is_settings("runs/digits/config.toml"), is_settings("cifar10")
        (True, False)
    """
    if isinstance(value, Config):
        return True
    return isinstance(value, (str, os.PathLike)) and str(value).endswith(".toml")


def settings_of(value: Config | os.PathLike | str) -> Config:
    """Returns the settings that `is_settings` recognised."""
    return value if isinstance(value, Config) else read_config(value)


def with_keywords(config: Config, **given: Any) -> Config:
    """Returns `config` with what is given changed, and checked.

    Args:
        config: The settings under the keywords.
        **given: Values by `section__key`; by section, its settings as a dataclass. What
            is None is left alone.

    Raises:
        UserError: a value has the wrong type or range.

    Example:
        >>> with_keywords(Config(), distillation__ipc=10).distillation.ipc
        10
        >>> with_keywords(Config(), network=NetworkConfig(width=8)).network.width
        8
    """
    given = {name: _plain(value) for name, value in given.items() if value is not None}
    sections = {name: value for name, value in given.items() if "__" not in name}
    if sections:
        changed = dataclasses.replace(config, **sections)
        config = from_dict(to_dict(changed))  # so that their values are checked too
    single = {name: value for name, value in given.items() if name not in sections}
    return replace(config, **single) if single else config


def refuse_unknown(names: Iterable[str], function: Callable) -> None:
    """Raises a `UserError` for the first keyword that a public function does not take.

    Args:
        names: Keywords that were given and are none of the function's.
        function: What the user called; it has the name under which `dam_tf` has it.

    Example:
        >>> def distill(data, *, iterations=0, **unknown): ...
        >>> refuse_unknown(["iteration"], distill)
        Traceback (most recent call last):
        dam_tf.base.errors.UserError: unknown keyword 'iteration' (did you mean ...
    """
    parameters = inspect.signature(function).parameters.values()
    kinds = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    known = [parameter.name for parameter in parameters if parameter.kind in kinds]
    public = f"dam_tf.{function.__name__}"
    for name in names:
        hint = _elsewhere(name, public) or did_you_mean(name, known)
        raise UserError(
            f"unknown keyword {name!r}{hint}; {public} takes: {', '.join(known)}"
        )


def _elsewhere(name: str, function: str) -> str:
    """Returns where a setting is given that is no keyword of the function."""
    of_network = name in _fields(NetworkConfig)  # though some methods have a width, too
    for settings in METHODS.values():
        if name in _fields(settings) and not of_network:
            return f" (it is a setting of a method: {_method_text(settings, name)})"
    for what, (schema, text) in _ELSEWHERE.items():
        if name in _fields(schema) and function not in text:
            return f" (it is a setting of {what}: {text.format(name)})"
    return ""


def _method_text(settings: type[MethodSettings], name: str) -> str:
    kind = settings.__name__.removesuffix("Settings")
    return f"method=dam_tf.methods.{kind}({name}=...)"


def _fields(schema: type) -> set[str]:
    return {field.name for field in dataclasses.fields(schema)} - {"name"}


def _plain(value: Any) -> Any:
    """Returns NumPy's numbers as Python's, which settings are made of."""
    return value.item() if isinstance(value, np.generic) else value


def section_values(
    section: str, schema: type, values: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns those of `values` that are fields of a section, by `section__key`.

    Example:
        >>> section_values("network", NetworkConfig, {"width": 8, "ipc": 1})
        {'network__width': 8}
    """
    names = {field.name for field in dataclasses.fields(schema)}
    return {f"{section}__{key}": values[key] for key in names & values.keys()}


def named_or_section(section: str, value: Any, schema: type) -> dict[str, Any]:
    """Returns a keyword that is a name or a whole section, as `with_keywords` takes it.

    Raises:
        UserError: it is neither.

    Example:
        >>> named_or_section("network", "vgg11", NetworkConfig)
        {'network__name': 'vgg11'}
    """
    if isinstance(value, str):
        return {f"{section}__name": value}
    if value is not None and not isinstance(value, schema):
        raise UserError(
            f"{section} must be a name or {_EXAMPLES[section]}, not {value!r}"
        )
    return {section: value}


def augmentation_values(value: Any) -> dict[str, Any]:
    """Returns the keyword `augmentation`, operations or a section, in that way."""
    if isinstance(value, AugmentationConfig):
        return {"augmentation": value}
    return {"augmentation__operations": value}


def preprocessing_values(value: Any) -> dict[str, Any]:
    """Returns the keyword `preprocessing`, a name or a fitted layer, in that way."""
    kind = getattr(value, "kind", value)
    if kind == "standardize_zca":
        return {
            "dataset__preprocessing": "zca",
            "dataset__zca_input": "standardized",
        }
    if kind == "zca" and kind is not value:
        return {"dataset__preprocessing": "zca", "dataset__zca_input": "pixels"}
    return {"dataset__preprocessing": kind}
