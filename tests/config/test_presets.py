"""The settings that come with dam_tf for each data set."""

import pathlib
import re

import pytest

from dam_tf.base.errors import UserError
from dam_tf.config.presets import make_config, own_file
from dam_tf.config.settings import Config
from dam_tf.data.catalog import CATALOG
from dam_tf.studies.rows import Base, find_rows

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "configs"
CONFIGS = sorted(FOLDER.glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_each_file_says_how_it_is_run_and_what_came_out(path):
    assert path.stem in CATALOG
    comment = re.match(r"(#.*\n)+", path.read_text(encoding="utf-8"))[0]
    assert f"# Run: python -m dam_tf distill --dataset={path.stem} " in comment
    assert "Time" in comment and "ccuracy" in comment
    named = {"dataset.name": path.stem}
    assert make_config(overrides=named).dataset.name == path.stem
    assert own_file(path.stem) == path


def test_overrides_lie_over_a_file_and_a_file_over_the_data_sets_own(tmp_path):
    assert make_config().dataset.name == "digits"
    assert make_config().distillation.iterations == 500, "as digits.toml says"
    file = tmp_path / "mine.toml"
    file.write_text("[distillation]\nipc = 3\n")
    config = make_config(
        file, {"dataset.name": "cifar10", "distillation.batch_real": 7}
    )
    assert config.dataset.name == "cifar10" and config.dataset.preprocessing != "zca"
    assert config.distillation.ipc == 3 and config.distillation.batch_real == 7
    nested = make_config(overrides={"dataset": {"name": "cifar10"}})
    assert nested == make_config(overrides={"dataset.name": "cifar10"})
    assert nested.dataset.preprocessing == "zca"


def test_other_data_have_the_defaults():
    for name in ("folder:pictures", "npz:../digits", "../configs/digits"):
        assert own_file(name) is None
    config = make_config(overrides={"dataset.name": "npz:mine.npz"})
    assert config.distillation == Config().distillation
    with pytest.raises(UserError, match="no such configuration file"):
        make_config("missing.toml", {"dataset.name": "digits"})


def test_plans_that_ship_name_rows_and_settings_that_exist():
    for plan in sorted((FOLDER / "plans").glob("*.toml")):
        assert f"--plan=configs/plans/{plan.name}" in plan.read_text("utf-8")
        rows = find_rows([], plan=plan)
        assert {Base().config(10, row=row).distillation.ipc for row in rows} == {10}
