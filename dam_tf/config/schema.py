"""Settings as nested frozen dataclasses: declared once, read from text, checked.

What `sections.py` and `methods.py` declare is read here, from TOML or a command line,
with errors that name the key, what it accepts and the nearest known one.
"""

import dataclasses
import functools
import math
import os
import pathlib
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from dam_tf.base.errors import UserError, choice_error, did_you_mean

_hints = functools.cache(typing.get_type_hints)


def setting(
    default: Any,
    description: str,
    choices: tuple[str, ...] = (),
    minimum: float | None = None,
    below: float | None = None,
    affects: str | None = None,
) -> Any:
    """Declares one setting or section: its default, its meaning, what it accepts.

    `affects` says what another value changes: `result` (what is distilled; if nothing
    is said), `length` (for how many iterations), `evaluation`, `selection`, `files`
    (where they lie and which are kept) or `speed`. That of a section holds for all its
    settings that say nothing else.
    """
    metadata = {
        "description": description,
        "choices": choices,
        "minimum": minimum,
        "below": below,
        "affects": affects,
    }
    return dataclasses.field(default=default, metadata=metadata)


def check_at_least_1(numbers: Any) -> None:
    """Raises a `UserError` where a field of a dataclass of numbers is below 1."""
    for field in dataclasses.fields(numbers):
        value = getattr(numbers, field.name)
        if value is not None and value < 1:
            raise UserError(f"{field.name} must be at least 1, not {value}")


def to_dict(config: Any) -> dict[str, Any]:
    """Returns a dataclass of settings as nested plain values, without `None`s."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in (
            (field.name, _plain(getattr(config, field.name)))
            for field in dataclasses.fields(config)
        )
        if value is not None
    }


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings in sections by dotted key.

    Example:
        >>> flat({"preset": "paper", "method": {"power": 4.0}})
        {'preset': 'paper', 'method.power': 4.0}
    """
    found = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found.update({f"{key}.{name}": inner for name, inner in value.items()})
        else:
            found[key] = value
    return found


def keys_that_affect(
    schema: type, *what: str, unless_said: str = "result"
) -> frozenset[str]:
    """Returns the dotted keys of the settings whose `affects` is one of `what`.

    Args:
        schema: A dataclass of settings, in sections or not.
        *what: As in `setting(affects=...)`.
        unless_said: What a setting affects that does not say it.

    Example:
        >>> from dam_tf.config.settings import Config
        >>> sorted(keys_that_affect(Config, "speed"))
        ['dataset.cache', 'evaluation.networks_at_once']
    """
    hints = _hints(schema)
    found = set()
    for field in dataclasses.fields(schema):
        affects = field.metadata.get("affects") or unless_said
        if dataclasses.is_dataclass(section := hints[field.name]):
            for kind in field.metadata.get("variants", {"": section}).values():
                inner = keys_that_affect(kind, *what, unless_said=affects)
                found |= {f"{field.name}.{name}" for name in inner}
        elif affects in what:
            found.add(field.name)
    return frozenset(found)


def read_toml(file: os.PathLike | str) -> dict[str, Any]:
    """Returns the tables of a TOML file, or raises a `UserError` that names it."""
    path = pathlib.Path(file)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no such configuration file: {path}") from None
    except (OSError, ValueError, RecursionError) as error:  # of tomllib and int, too
        raise UserError(f"cannot read configuration file {path}: {error}") from None


def set_value(values: dict[str, Any], key: str, value: Any) -> None:
    """Sets one value of nested mappings; a string is yet to be read as its type."""
    *sections, name = key.split(".")
    if len(sections) > 1:
        raise UserError(f"unknown setting {key!r}; write it as section.key")
    target = values.setdefault(sections[0], {}) if sections else values
    if not isinstance(target, dict):
        raise UserError(f"setting {sections[0]!r} has no settings of its own")
    target[name] = _Text(value) if isinstance(value, str) else value


class _Text(str):
    """A value from a command line, still to be read as its setting's type."""


def build(schema: type, values: Mapping[str, Any]) -> Any:
    """Returns the dataclass `schema` of nested mappings, each value checked.

    Raises:
        UserError: a key is unknown, or a value has the wrong type or range.
    """
    return _build(schema, values, "", list(_keys(schema, values)))


def build_section(schema: type, values: Mapping[str, Any], name: str) -> Any:
    """Returns the dataclass of one section, as `build` does of all of them.

    Args:
        schema: Of the section.
        values: Settings by their names in the section.
        name: Of the section, for messages.
    """
    known = [f"{name}.{field.name}" for field in dataclasses.fields(schema)]
    return _build(schema, values, f"{name}.", known)


def _build(
    schema: type, values: Mapping[str, Any], prefix: str, known: list[str]
) -> Any:
    fields = {field.name: field for field in dataclasses.fields(schema)}
    hints = _hints(schema)
    checked = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if name not in fields:
            what = "setting" if prefix else "setting or section"
            raise UserError(
                f"unknown {what} {key!r}{_near(key, known)}; "
                f"{prefix.rstrip('.') or 'the file'} accepts: {', '.join(fields)}"
            )
        if dataclasses.is_dataclass(hints[name]):
            if not isinstance(value, Mapping):
                raise UserError(f"{key!r} is a section, not {value!r}")
            kind = _kind(fields[name], hints[name], value)
            checked[name] = _build(kind, value, f"{key}.", known)
        else:
            checked[name] = _check(key, hints[name], fields[name].metadata, value)
    return schema(**checked)


def _kind(field: dataclasses.Field, hint: type, values: Any) -> type:
    """The dataclass of a section: the one declared, or the variant of its `name`."""
    if (kinds := field.metadata.get("variants")) is None:
        return hint
    name = values.get("name") if isinstance(values, Mapping) else None
    name = field.default.name if name is None else name
    if not isinstance(name, str) or name not in kinds:
        raise choice_error(field.name, name, field.metadata.get("listed", kinds))
    return kinds[name]


def _keys(schema: type, values: Mapping[str, Any]) -> Iterator[str]:
    hints = _hints(schema)
    for field in dataclasses.fields(schema):
        yield field.name
        kind = _kind(field, hints[field.name], values.get(field.name))
        if dataclasses.is_dataclass(kind):
            yield from (f"{field.name}.{one.name}" for one in dataclasses.fields(kind))


def _near(key: str, keys: list[str]) -> str:
    # A known name in another section, or in none, is nearer than any spelling.
    name = key.rpartition(".")[2]
    elsewhere = [known for known in keys if known.endswith(f".{name}")]
    if elsewhere:
        return f" (did you mean {elsewhere[0]!r}?)"
    return did_you_mean(key, keys)


def _check(key: str, hint: Any, metadata: Mapping[str, Any], value: Any) -> Any:
    value = _convert(key, hint, value)
    if value is None:
        return None
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(item, float) and not math.isfinite(item):
            raise UserError(f"{key} must be finite, not {item}")
        if metadata["choices"] and item not in metadata["choices"]:
            raise choice_error(f"value of {key}", item, metadata["choices"])
        minimum = metadata["minimum"]
        if minimum is not None and not item >= minimum:
            raise UserError(f"{key} must be at least {minimum}, not {item}")
        below = metadata["below"]
        if below is not None and not item < below:
            raise UserError(f"{key} must be less than {below}, not {item}")
    return value


def _convert(key: str, hint: Any, value: Any) -> Any:
    """Reads `value` as the type `hint`: str, int, float, a tuple, or None."""
    if isinstance(hint, types.UnionType):
        if value is None or (isinstance(value, str) and value == ""):
            return None
        hint = next(option for option in hint.__args__ if option is not type(None))
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        if isinstance(value, _Text):
            value = [_Text(part.strip()) for part in value.split(",") if part.strip()]
        if not isinstance(value, (list, tuple)):
            raise UserError(f"{key} must be a list, not {value!r}")
        return tuple(_convert(key, item, part) for part in value)
    if isinstance(value, _Text) and hint is not str:
        try:
            return hint(value)
        except ValueError:
            value = str(value)
    if hint is float and type(value) is int:
        return float(value)
    if hint is str and isinstance(value, str):
        return str(value)
    if type(value) is not hint:
        names = {int: "a whole number", float: "a number", str: "a text"}
        raise UserError(f"{key} must be {names[hint]}, not {value!r}")
    return value


def _plain(value: Any) -> Any:
    return to_dict(value) if dataclasses.is_dataclass(value) else value
