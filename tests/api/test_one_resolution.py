"""The same data and the same choices are the same settings, however they are given."""

import logging

import numpy as np
import pytest

import dam_tf
from dam_tf.commands import distill as command
from dam_tf.commands import program
from dam_tf.config.settings import PRESETS, Config, replace
from dam_tf.data.catalog import CATALOG

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture
def asked(monkeypatch):
    """The settings that runs were asked for; no run is made."""
    calls = []

    def run(config, *_):
        calls.append(config)
        images = np.zeros([2, 8, 8, 1], np.float32)
        return dam_tf.DistilledSet(images, [0, 1], ("a", "b"))

    monkeypatch.setattr("dam_tf.runs.run.distill", run)
    return calls


def of_command(*words) -> Config:
    command.OPTIONS.parse(words)
    return command.OPTIONS.config()


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", [*CATALOG, "folder:pictures", "npz:mine.npz"])
@pytest.mark.parametrize("method", ["datadam", "dm"])
def test_commands_settings_and_functions_agree(name, preset, method, asked):
    flags = f"--dataset={name}", f"--preset={preset}", "--ipc=7", f"--method={method}"
    expected = of_command(*flags)
    overrides = {"dataset.name": name, "preset": preset, "distillation.ipc": 7}
    made = dam_tf.make_config(overrides={**overrides, "method.name": method})
    assert made == expected
    dam_tf.distill(name, preset=preset, ipc=7, method=method)
    dam_tf.distill(made)
    assert asked == [expected, expected]


def test_what_is_kept_for_a_data_set_is_found():
    digits = dam_tf.make_config(overrides={"dataset.name": "digits"})
    assert "flip" not in digits.augmentation.operations
    assert digits == dam_tf.make_config() == of_command()
    cifar10 = dam_tf.make_config(overrides={"dataset.name": "cifar10"})
    assert cifar10.dataset.preprocessing == "zca"


def test_arrays_have_the_settings_of_a_file_of_arrays(asked):
    dam_tf.distill(np.zeros([4, 8, 8], np.uint8), [0, 1, 0, 1])
    expected = of_command("--dataset=npz:mine.npz")
    assert replace(asked[0], dataset__name="npz:mine.npz") == expected


@pytest.mark.parametrize("name", [None, "arrays"])
def test_settings_of_another_data_set_are_said(name, asked, caplog):
    caplog.set_level(logging.WARNING)
    config = dam_tf.make_config(overrides={"dataset.name": name} if name else {})
    dam_tf.distill(np.zeros([4, 8, 8], np.uint8), [0, 1, 0, 1], config=config)
    assert ("settings that dam_tf keeps for digits" in caplog.text) == (name is None)
    assert ("augmentation.operations = ['color', " in caplog.text) == (name is None)
    assert asked[0] == config


@pytest.mark.parametrize("given", [{}, {"epochs": 2, "momentum": 0.9}])
def test_experts_are_those_of_the_command(given, monkeypatch, tmp_path):
    """The same data, preprocessing, settings and number, however they are asked for."""
    asked = []

    def train(config, settings, *_):
        asked.append((config, settings))
        return _NoExperts()

    monkeypatch.setattr("dam_tf.training.experts.train_experts", train)
    words = [f"--set=evaluation.{key}={value}" for key, value in given.items()]
    words += ["--dataset=digits", "--experts=3", "--seed=4", "--storage=bfloat16"]
    words += [f"--output_dir={tmp_path}", "--network=mlp"]
    assert program.run("experts", words) == 0
    same = {"experts": 3, "seed": 4, "storage": "bfloat16", "network": "mlp"}
    dam_tf.train_experts("digits", output_dir=tmp_path, **same, **given)
    assert asked[0] == asked[1]
    assert asked[0][0].evaluation.batch_size == 256


class _NoExperts(list):
    epochs = 0


CHOICES = {
    "distillation.iterations": 3,
    "distillation.batch_real": 5,
    "distillation.jit": "none",
    "network.width": 8,
    "network.depth": 1,
}
FLAGS = [f"--set={key}={value}" for key, value in CHOICES.items()]
SMALL = {
    "iterations": 3,
    "batch_real": 5,
    "jit": "none",
    "network": dam_tf.NetworkConfig(width=8, depth=1),
}


def images_of_command(folder, *words):
    words = [*words, *FLAGS, f"--output_dir={folder}"]
    assert program.run("distill", words) == 0
    return dam_tf.load(folder).images


def test_digits_are_the_same_bit_for_bit(tmp_path):
    expected = images_of_command(tmp_path / "run", "--dataset=digits")
    np.testing.assert_array_equal(dam_tf.distill("digits", **SMALL).images, expected)
    config = dam_tf.make_config(overrides={"dataset.name": "digits", **CHOICES})
    np.testing.assert_array_equal(dam_tf.distill(config).images, expected)


def test_arrays_and_a_file_of_them_are_the_same_bit_for_bit(tmp_path):
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, [40, 8, 8, 3], np.uint8)
    y = generator.permutation(np.arange(40) % 3)
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=y)
    name = f"npz:{tmp_path / 'mine.npz'}"
    expected = images_of_command(tmp_path / "run", f"--dataset={name}")
    np.testing.assert_array_equal(dam_tf.distill(x, y, **SMALL).images, expected)
    np.testing.assert_array_equal(dam_tf.distill(name, **SMALL).images, expected)
