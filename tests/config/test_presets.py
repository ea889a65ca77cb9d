"""The settings that come with dam_tf for each data set."""

import pathlib
import re

import pytest

from dam_tf.base.errors import UserError
from dam_tf.config.presets import config_for, own_file
from dam_tf.config.settings import Config
from dam_tf.data.catalog import CATALOG

CONFIGS = sorted((pathlib.Path(__file__).resolve().parents[2] / "configs").iterdir())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_each_file_says_how_it_is_run_and_what_came_out(path):
    assert path.stem in CATALOG
    comment = re.match(r"(#.*\n)+", path.read_text(encoding="utf-8"))[0]
    assert f"# Run: python -m dam_tf distill --dataset={path.stem} " in comment
    assert "Time" in comment and "ccuracy" in comment
    assert config_for(path.stem).dataset.name == path.stem
    assert own_file(path.stem) == path


def test_overrides_lie_over_a_file_and_a_file_over_the_data_sets_own(tmp_path):
    assert config_for().dataset.name == "digits"
    assert config_for().distillation.iterations == 500, "as digits.toml says"
    file = tmp_path / "mine.toml"
    file.write_text("[distillation]\nipc = 3\n")
    config = config_for("cifar10", file, {"distillation.batch_real": 7})
    assert config.dataset.name == "cifar10" and config.dataset.preprocessing != "zca"
    assert config.distillation.ipc == 3 and config.distillation.batch_real == 7
    assert config_for(overrides={"dataset.name": "cifar10"}) == config_for("cifar10")


def test_other_data_have_the_defaults():
    for name in ("folder:pictures", "npz:../digits", "../configs/digits"):
        assert own_file(name) is None
    config = config_for("npz:mine.npz")
    assert config.distillation == Config().distillation
    with pytest.raises(UserError, match="no such configuration file"):
        config_for("digits", "missing.toml")
