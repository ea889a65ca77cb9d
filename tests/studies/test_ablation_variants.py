"""Ablations: what varies in each, and the numbers of the paper beside it."""

import dataclasses
import re

import pytest

from dam_tf.base.errors import UserError
from dam_tf.config.methods import DataDAMSettings
from dam_tf.config.settings import read_config, save_config
from dam_tf.studies.ablation.ablations import ABLATIONS, Variant
from tests.tiny_data import tiny_config


@pytest.mark.parametrize("name", ABLATIONS)
@pytest.mark.parametrize("blocks", [1, 2, 3, 5])
def test_every_variant_is_a_valid_setting_with_a_folder_of_its_own(name, blocks):
    ablation = ABLATIONS[name]
    variants = ablation.variants(blocks)
    configs = [variant.config(read_config(), 2, 7) for variant in variants]
    assert all(c.distillation.seed == 7 for c in configs)
    assert all(c.distillation.ipc == 2 for c in configs)
    folders = {variant.folder for variant in variants}
    assert len(folders) == (1 if name == "augmentation" else len(variants))
    assert all(re.fullmatch(r"[\w.+-]+", folder) for folder in folders)
    assert re.fullmatch(r"(Table|Figures?) [\d and]+", ablation.reference)
    assert ablation.chart in ("bars", "lines", "curves")
    if ablation.chart == "lines":
        assert all(variant.value is not None for variant in variants)


def test_the_papers_numbers():
    """Tables 5 to 7, copied from the paper by hand, a second time."""

    def numbers(name, ipc):
        found = ABLATIONS[name].variants(3)
        return {one.name: one.paper[ipc][0] for one in found}

    assert numbers("components", 10) == {
        "mmd": 48.9,
        "sam": 49.8,
        "feature_map": 47.2,
        "sam+mmd": 54.2,
    }
    assert list(numbers("layers", 10).values()) == [48.9, 50.2, 51.5, 49.8, 54.2]
    table7 = [[*numbers("networks", ipc).values()] for ipc in (1, 10, 50)]
    assert table7 == [
        [32.0, 30.8, 30.7, 31.5, 26.2, 26.9],
        [54.2, 54.0, 53.1, 52.1, 51.2, 51.7],
        [67.0, 66.2, 66.4, 67.0, 65.8, 65.3],
    ]


def test_what_layers_mean():
    layers = {v.name: v.overrides for v in ABLATIONS["layers"].variants(4)}
    assert layers == {
        "mmd": {"method.layers": ()},
        "1+mmd": {"method.layers": (1,)},
        "2+mmd": {"method.layers": (2,)},
        "3+mmd": {"method.layers": (3,)},
        "all": {"method.task_balance": 0.0},
        "all+mmd": {},
    }


def test_a_preset_is_kept():
    base = read_config(overrides={"preset": "reference"})
    config = ABLATIONS["loss"].variants(3, ["mae"])[0].config(base, 5, 1)
    assert config.preset == "reference" and config.network.norm == "batch"
    assert config.method == dataclasses.replace(base.method, loss="mae")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("layers", ["3+mmd"], "unknown variant '3.mmd'"),
        ("power", ["two"], "method.power must be a number, not 'two'"),
        ("power", ["-1"], "at least 0"),
        ("loss", ["rmse"], "did you mean 'mse'"),
        ("power", ["1", "1.0"], "names one twice"),
    ],
)
def test_other_values_are_refused(name, values, message):
    with pytest.raises(UserError, match=message):
        ABLATIONS[name].variants(3, values)


def test_a_variant_knows_its_folder():
    assert Variant(">=80").folder == "80"
    assert Variant("none", shared_run=True).folder == "distilled"


def test_settings_without_layers_survive_the_file(tmp_path):
    config = tiny_config(method__layers=())
    save_config(config, tmp_path / "config.toml")
    assert read_config(tmp_path / "config.toml").method == config.method
    assert DataDAMSettings().layers is None
