import dataclasses
import subprocess
import sys
import tomllib
import typing

import pytest

from dam_tf import networks
from dam_tf.base.errors import UserError
from dam_tf.config import settings as configs
from dam_tf.config.methods import METHODS
from dam_tf.config.schema import keys_that_affect
from dam_tf.config.sections import DistillationConfig, NetworkConfig
from dam_tf.config.settings import (
    PRESETS,
    Config,
    from_dict,
    read_config,
    replace,
    save_config,
    to_dict,
)


def toml(tmp_path, text: str):
    path = tmp_path / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_are_the_protocol_of_the_paper():
    config = read_config()
    assert config == Config()
    assert config.method.power == 4
    assert config.method.task_balance is None
    assert config.distillation.iterations == 8000
    assert config.distillation.momentum == 0.5
    assert config.network.norm is None  # the architecture's own: instance


@pytest.mark.parametrize(
    ("preset", "file", "override", "expected"),
    [
        (False, False, False, 8000),
        (True, False, False, 20_000),
        (False, True, False, 7),
        (True, True, False, 7),
        (True, False, True, 3),
        (True, True, True, 3),
    ],
)
def test_later_layers_win(tmp_path, preset, file, override, expected):
    text = 'preset = "reference"\n' if preset else ""
    text += "[distillation]\n" + ("iterations = 7\n" if file else "ipc = 5\n")
    overrides = {"distillation.iterations": "3"} if override else {}
    config = read_config(toml(tmp_path, text), overrides)
    assert config.distillation.iterations == expected
    # What the upper layers do not mention comes from below.
    assert config.distillation.batch_real == (64 if preset else 256)
    assert config.network.norm == ("batch" if preset else None)
    assert config.distillation.ipc == (1 if file else 5)


def test_the_preset_itself_can_be_overridden(tmp_path):
    path = toml(tmp_path, 'preset = "paper"\n[method]\npower = 2')
    config = read_config(path, {"preset": "reference"})
    assert config.preset == "reference"
    assert config.method.task_balance == 0.01
    assert config.method.power == 2.0


def test_presets_change_only_known_settings():
    for name in PRESETS:
        assert read_config(overrides={"preset": name}).preset == name


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("distillation.ipc", "10", 10),
        ("distillation.ipc", 10, 10),
        ("distillation.momentum", "0.9", 0.9),
        ("distillation.momentum", "1e-1", 0.1),
        ("distillation.momentum", 1, 1.0),
        ("distillation.learning_rate", "3", 3.0),
        ("distillation.learning_rate", "", None),
        ("distillation.learning_rate", None, None),
        ("dataset.name", "folder:/my pictures, two", "folder:/my pictures, two"),
        ("dataset.name", "10", "10"),
        ("dataset.data_dir", "", ""),
        ("dataset.image_size", "32", 32),
        ("method.layers", "1, 2,3", (1, 2, 3)),
        ("method.layers", [1, 2], (1, 2)),
        ("method.layers", "", None),
        ("augmentation.operations", "flip,crop", ("flip", "crop")),
        ("augmentation.operations", "", ()),
    ],
)
def test_overrides_are_read_as_the_settings_type(key, text, value):
    section, name = key.split(".")
    found = getattr(getattr(read_config(overrides={key: text}), section), name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        # Unknown names: the key, and the nearest known one.
        ("distillation.iterattions", 1, ["did you mean 'distillation.iterations'"]),
        ("distilation.ipc", 1, ["'distilation'", "did you mean 'distillation'"]),
        ("ipc", 1, ["'ipc'", "did you mean 'distillation.ipc'"]),
        ("dataset.ipc", 1, ["'dataset.ipc'", "did you mean 'distillation.ipc'"]),
        ("dataset.qqqq", 1, ["'dataset.qqqq'", "accepts: name, data_dir"]),
        ("preset", "refrence", ["'refrence'", "did you mean 'reference'", "paper"]),
        ("network.norm", "instanse", ["network.norm", "did you mean 'instance'"]),
        ("augmentation.operations", "flip,crob", ["'crob'", "did you mean 'crop'"]),
        # Wrong types.
        ("distillation.ipc", "ten", ["distillation.ipc", "whole number", "'ten'"]),
        ("distillation.ipc", 1.0, ["distillation.ipc", "whole number", "1.0"]),
        ("distillation.ipc", True, ["distillation.ipc", "whole number", "True"]),
        ("distillation.ipc", None, ["distillation.ipc", "whole number", "None"]),
        ("distillation.momentum", "big", ["distillation.momentum", "a number"]),
        ("dataset.name", 3, ["dataset.name", "a text", "3"]),
        ("method.layers", 3, ["method.layers", "a list", "3"]),
        ("method.layers", "1,x", ["method.layers", "whole number", "'x'"]),
        ("preset", ["paper"], ["preset", "['paper']"]),
        ("preset", 3, ["preset", "3"]),
        # Structure.
        ("method", "dm", ["'method' is a section", "'dm'"]),
        ("method.dm.power", 1, ["'method.dm.power'", "section.key"]),
        ("preset.name", 1, ["preset"]),
        # Ranges.
        ("distillation.ipc", "0", ["distillation.ipc", "at least 1", "0"]),
        ("distillation.ipc", -1, ["distillation.ipc", "at least 1", "-1"]),
        ("distillation.learning_rate", "-0.1", ["at least 0", "-0.1"]),
        ("augmentation.scale", "0.5", ["augmentation.scale", "at least 1"]),
        ("method.scale", "nan", ["method.scale", "finite"]),
        ("method.power", "inf", ["method.power", "finite"]),
    ],
)
def test_errors_name_the_key_and_what_it_accepts(key, value, words):
    with pytest.raises(UserError) as caught:
        read_config(overrides={key: value})
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[distillation]\nipcs = 1", ["'distillation.ipcs'", "'distillation.ipc'"]),
        ("[distillation]\nipc = '1'", ["distillation.ipc", "whole number", "'1'"]),
        ("distillation = 1", ["'distillation' is a section", "1"]),
        ("[[distillation]]\nipc = 1", ["'distillation' is a section"]),
        ("preset = ['paper']", ["preset", "['paper']"]),
        ("ipc = \nx = 1", ["settings.toml", "line 1"]),
        ("[method]\npower = nan", ["method.power", "finite"]),
    ],
)
def test_errors_in_files_are_as_clear(tmp_path, text, words):
    with pytest.raises(UserError) as caught:
        read_config(toml(tmp_path, text))
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(UserError, match=r"no such configuration file: .*none\.toml"):
        read_config(tmp_path / "none.toml")
    with pytest.raises(UserError, match="cannot read"):
        read_config(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"cannot read .*binary\.toml"):
        read_config(tmp_path / "binary.toml")


def every_setting_changed(method: str) -> Config:
    """A valid configuration of a method in which nothing is as by default."""
    values = {}
    for section, schema in typing.get_type_hints(Config).items():
        if not dataclasses.is_dataclass(schema):
            continue
        values[section] = {}
        for field in dataclasses.fields(
            METHODS[method] if section == "method" else schema
        ):
            if (section, field.name) == ("method", "name"):
                values[section]["name"] = method
                continue
            choices = [c for c in field.metadata["choices"] if c != field.default]
            default = field.default
            if isinstance(default, tuple):
                value = choices[:2] or [2, 3]
            elif choices:
                value = choices[0]
            elif field.name == "images_per_class":
                value = "proportional"
            elif isinstance(default, str) or field.type == str | None:
                value = 'grüße "quoted" \\ # 犬'
            elif field.name == "layers":
                value = [2, 3]
            elif field.metadata["below"] is not None:
                value = type(default)(field.metadata["below"] / 2)
            else:
                value = (default or 30) + 1
            values[section][field.name] = value
    return from_dict({"preset": "reference", **values})


@pytest.mark.parametrize(
    "config",
    [
        Config(),
        read_config(overrides={"preset": "reference"}),
        read_config(overrides={"preset": "reference", "method.task_balance": None}),
        read_config(overrides={"augmentation.operations": ""}),
        *map(every_setting_changed, METHODS),
    ],
    ids=["default", "reference", "preset undone", "no augmentation", *METHODS],
)
def test_saved_settings_come_back(tmp_path, config):
    save_config(config, tmp_path / "config.toml")
    assert read_config(tmp_path / "config.toml") == config
    tomllib.loads((tmp_path / "config.toml").read_text(encoding="utf-8"))


def test_every_setting_differs_in_the_round_trip():
    changed, default = every_setting_changed("datadam"), Config()
    for section, schema in typing.get_type_hints(Config).items():
        if dataclasses.is_dataclass(schema):
            for field in dataclasses.fields(getattr(default, section)):
                if (section, field.name) == ("method", "name"):
                    continue
                pair = [
                    getattr(getattr(config, section), field.name)
                    for config in (changed, default)
                ]
                assert pair[0] != pair[1], f"{section}.{field.name}"


def test_dictionaries_leave_out_what_the_data_decide():
    values = to_dict(Config())
    assert "task_balance" not in values["method"]
    assert "image_size" not in values["dataset"]
    assert from_dict(values) == Config()


def test_replace_changes_checks_and_leaves_the_original():
    config = Config()
    changed = replace(config, distillation__ipc=10, method__task_balance=0.5)
    assert (changed.distillation.ipc, changed.method.task_balance) == (10, 0.5)
    assert replace(changed, method__task_balance=None).method.task_balance is None
    assert config == Config()
    with pytest.raises(UserError, match=r"distillation\.ipc must be at least 1"):
        replace(config, distillation__ipc=0)
    with pytest.raises(UserError, match=r"ema_decay must be less than 1\.0, not 1\.0"):
        replace(config, distillation__ema_decay=1.0)
    with pytest.raises(UserError, match="did you mean"):
        replace(config, distillation__ipcs=1)


def test_settings_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().distillation.ipc = 2


def test_every_setting_says_what_it_means():
    for schema in typing.get_type_hints(Config).values():
        if dataclasses.is_dataclass(schema):
            for field in dataclasses.fields(schema):
                assert field.metadata["description"], field.name


def test_settings_are_read_without_tensorflow():
    code = f"import sys; import {configs.__name__}; print('tensorflow' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"


class TestMethods:
    """Section `[method]` has the settings of the named method, and no others."""

    def test_each_has_its_own(self):
        dm = read_config(overrides={"method.name": "dm", "method.kernel": "rbf"})
        assert type(dm.method) is METHODS["dm"] and dm.method.kernel == "rbf"
        assert to_dict(dm)["method"] == {"name": "dm", "kernel": "rbf"}

    def test_those_of_another_are_refused(self):
        with pytest.raises(UserError, match=r"unknown setting 'method.power'.*kernel"):
            read_config(overrides={"method.name": "dm", "method.power": 2})

    def test_an_unknown_method_is_refused_with_the_nearest(self):
        with pytest.raises(UserError, match=r"unknown method 'datadm'.*'datadam'"):
            read_config(overrides={"method.name": "datadm"})

    def test_a_preset_gives_each_what_is_meant_for_it(self):
        dm = read_config(overrides={"preset": "reference", "method.name": "dm"})
        assert dm.network.norm == "batch" and dm.method == METHODS["dm"]()
        own = read_config(overrides={"preset": "reference"}).method
        assert (own.power, own.task_balance) == (1.0, 0.01)

    def test_changing_the_method_leaves_the_settings_of_the_old_one(self):
        changed = replace(read_config(overrides={"method.power": 2}), method__name="dm")
        assert changed.method == METHODS["dm"]()

    def test_every_one_says_what_it_logs(self):
        for kind in METHODS.values():
            assert "loss" in kind.meanings and all(kind.meanings.values())


def test_the_architectures_are_those_of_the_registry():
    (field,) = (f for f in dataclasses.fields(NetworkConfig) if f.name == "name")
    assert field.metadata["choices"] == tuple(networks.ARCHITECTURES)


def test_what_a_setting_affects_is_its_own_or_its_sections():
    evaluation = keys_that_affect(Config, "evaluation")
    assert {"evaluation.networks", "evaluation.epochs"} <= evaluation
    assert "evaluation.networks_at_once" not in evaluation
    assert keys_that_affect(Config, "length") == {"distillation.iterations"}
    own = keys_that_affect(DistillationConfig, "files")
    assert own == {"checkpoint_every", "log_every", "snapshot_every", "snapshot_at"}


def test_settings_of_a_former_version_are_read_by_their_names_of_today(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text(
        'preset = "reference"\n[evaluation]\nmodels = 3\ntogether = 2\n'
        'schedule = "lineage"\n'
    )
    for of_a_run in (False, True):
        found = read_config(file, {"evaluation.epochs": 7}, of_a_run).evaluation
        assert (found.networks, found.networks_at_once) == (3, 2)
        assert (found.schedule, found.epochs) == ("step", 7)
    save_config(read_config(file), tmp_path / "again.toml")
    assert "lineage" not in (tmp_path / "again.toml").read_text()
