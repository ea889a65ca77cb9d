"""The public names: each is there, and says what it takes, gives and refuses."""

import dataclasses
import inspect
import subprocess
import sys
import typing

import pytest

import dam_tf
from dam_tf.config.settings import DistillationConfig, EvaluationConfig

NAMES = [
    *dam_tf.__all__,
    "networks.create",
    "DistilledSet.load",
    "DistilledSet.save",
    "DistilledSet.as_dataset",
    "DistilledSet.to_numpy",
    "DistilledSet.preview",
]


def public(name):
    found = dam_tf
    for part in name.split("."):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_documented(name):
    found = public(name)
    text = inspect.getdoc(found)
    assert text and text[0].isupper()
    owner = inspect.getdoc(public(name.split(".")[0])) if "Distilled" in name else text
    if not (inspect.isclass(found) and issubclass(found, Exception)):
        assert ">>> " in owner or name.endswith("Config")
    if inspect.isfunction(found):
        for parameter in set(inspect.signature(found).parameters) - {"self"}:
            assert f"{parameter}:" in text or f"`{parameter}`" in text, parameter


def test_examples_of_public_names_are_run():
    """Doctests run with the tests; none of these may be skipped."""
    for name in NAMES:
        assert "+SKIP" not in (inspect.getdoc(public(name)) or ""), name


@pytest.mark.parametrize(
    ("function", "schema", "renamed"),
    [
        (dam_tf.distill, DistillationConfig, {}),
        (dam_tf.evaluate, EvaluationConfig, {}),
    ],
)
def test_every_setting_is_a_keyword_that_an_editor_completes(function, schema, renamed):
    parameters = inspect.signature(function).parameters
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        parameter = parameters[renamed.get(field.name, field.name)]
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert parameter.default is None
        kinds = {str: "str", int: "int", float: "float", tuple[int, ...]: "Sequence"}
        kind = typing.get_args(hints[field.name]) or (hints[field.name],)
        kind = kinds.get(hints[field.name]) or kinds[kind[0]]
        assert parameter.annotation.startswith(kind)
        assert parameter.annotation.endswith("| None")


def test_what_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'distil'"):
        dam_tf.distil  # noqa: B018


def test_importing_is_quick_and_packages_come_when_asked_for():
    program = (
        "import sys, dam_tf; assert 'tensorflow' not in sys.modules; "
        "assert dam_tf.networks.create.__name__ == 'create'; "
        "assert 'networks' in dir(dam_tf)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
