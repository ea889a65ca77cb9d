"""What measured best: files of settings by data set and images per class."""

import logging
import pathlib
import re

import pytest

from dam_tf.base.errors import UserError
from dam_tf.commands import compile as compiling
from dam_tf.commands import distill as distilling
from dam_tf.config.experts import own_training
from dam_tf.config.presets import best_files, expectations, make_config
from dam_tf.config.settings import read_config, replace, resolve, save_config
from dam_tf.data.catalog import CATALOG
from dam_tf.studies.rows import find_rows

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "configs" / "best"
FILES = best_files()


def best(name, ipc, **more):
    given = {"dataset.name": name, "distillation.ipc": ipc, "method.name": "best"}
    return make_config(overrides={**given, **more})


def test_every_file_is_found_by_its_name():
    assert sorted(FILES.values()) == sorted(FOLDER.iterdir())
    assert {("cifar10", 1), ("digits", 1), ("digits", 10)} <= FILES.keys()


@pytest.mark.parametrize("key", FILES, ids=lambda key: f"{key[0]}-{key[1]}")
def test_a_file_says_what_comes_of_it_and_has_the_settings_for_that(key, caplog):
    name, ipc = key
    told = expectations(FILES[key])
    assert f"--dataset={name} --ipc={ipc} --method=best" in told["Run"]
    pattern = r"\d\d\.\d \+- \d\.\d % over \d+ networks .*epochs"
    assert re.match(pattern, told["Accuracy"])
    assert "minute" in told["Time"] or "hour" in told["Time"]
    assert " GB" in told["Memory"]
    caplog.set_level(logging.INFO)
    config = best(name, ipc)
    (line,) = caplog.messages
    assert config == read_config(FILES[key]) and config.method.name != "best"
    assert (config.dataset.name, config.distillation.ipc) == key
    own = make_config(overrides={"dataset.name": name})
    assert config.augmentation == own.augmentation, "a mirrored 2 is no 2 here, too"
    expected = ("Accuracy", "Time", "Memory")
    assert line == (
        f"The best for {name} is {config.method.name}, by {FILES[key]}: "
        f"{'; '.join(f'{one.lower()} {told[one]}' for one in expected)}."
    )
    assert "\n" not in line and "#" not in line and "  " not in line


def test_lines_of_a_comment_go_on_where_they_are_indented(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("# Mine.\n# Time: an hour\n#   or two\n# So: a: b\n\n# Run: no\n")
    assert expectations(file) == {"Time": "an hour or two", "So": "a: b"}


def test_the_run_that_was_measured_is_repeated():
    """What the resolved settings of that run say, where they are not the defaults."""
    config = resolve(best("cifar10", "1"), (32, 32, 3))
    method, settings = config.method, config.distillation
    assert (method.name, method.steps, method.expert_epochs) == ("mtt", 50, 2)
    assert (method.step_size, method.step_size_rate, method.batch) == (0.01, 1e-7, None)
    assert (settings.learning_rate, settings.momentum) == (100.0, 0.5)
    assert (settings.iterations, settings.seed, settings.init) == (500, 0, "random")
    assert config.dataset.preprocessing_kind == "zca" and config.preset == "paper"
    training, how = own_training(config)
    assert (how.experts, how.kept, how.storage) == (10, "all", "bfloat16")
    trained, evaluated = training.evaluation, config.evaluation
    assert (trained.epochs, trained.momentum, trained.batch_size) == (3, 0.0, 256)
    assert (evaluated.networks, evaluated.epochs, evaluated.momentum) == (3, 1000, 0.9)


def test_the_run_of_ten_images_that_was_measured_is_repeated():
    config = resolve(best("cifar10", 10), (32, 32, 3))
    method, settings = config.method, config.distillation
    assert (method.name, method.calibration, method.clamp) == ("dance", 1.0, "on")
    assert (settings.learning_rate, settings.momentum) == (1.6, 0.5)
    assert (settings.iterations, settings.seed, settings.init) == (1000, 0, "random")
    assert (settings.formation, settings.batch_real) == ("factor:2", 128)
    assert config.dataset.preprocessing_kind == "standardize"
    training, how = own_training(config)
    assert (how.experts, how.kept, how.storage) == (3, "ends", "float32")
    trained, evaluated = training.evaluation, config.evaluation
    assert (trained.epochs, trained.momentum, trained.batch_size) == (10, 0.9, 128)
    assert (evaluated.networks, evaluated.epochs, evaluated.momentum) == (3, 600, 0.9)


def test_the_run_with_soft_labels_that_was_measured_is_repeated():
    config = resolve(best("tiny_imagenet", 1), (32, 32, 3))
    method, settings = config.method, config.distillation
    assert (method.name, method.labels, method.calibration) == ("dance", "soft", 1.0)
    assert (settings.iterations, settings.classes_per_step) == (1500, 20)
    assert (settings.formation, settings.batch_real) == ("factor:2", 64)
    assert config.dataset.preprocessing_kind == "standardize"
    training, how = own_training(config)
    assert (how.experts, how.kept, training.evaluation.epochs) == (3, "ends", 10)
    assert (config.evaluation.networks, config.evaluation.epochs) == (3, 300)


def test_what_is_given_lies_over_the_file(tmp_path):
    given = {"distillation.iterations": "7", "method.steps": "5", "network.width": "4"}
    config = best("cifar10", 1, **given)
    assert config.distillation.iterations == 7 and config.distillation.ipc == 1
    assert (config.method.steps, config.method.expert_epochs) == (5, 2)
    assert config.network.width == 4
    save_config(config, tmp_path / "config.toml")
    assert read_config(tmp_path / "config.toml") == config
    assert 'name = "mtt"' in (tmp_path / "config.toml").read_text()
    applied = make_config(
        FILES["cifar10", 1], {"dataset.name": "folder:mine", "distillation.ipc": 2}
    )
    expected = replace(best("cifar10", 1), dataset__name="folder:mine")
    assert applied == replace(expected, distillation__ipc=2)
    assert best("digits", 1) == make_config(overrides={"method.name": "best"})


@pytest.mark.parametrize(
    ("name", "ipc", "nearest"),
    [
        ("cifar10", 3, "cifar10_ipc1.toml --dataset=cifar10 --ipc=3"),
        ("digits", 9, "digits_ipc10.toml --dataset=digits --ipc=9"),
        ("folder:mine", 1, "cifar10_ipc1.toml --dataset=folder:mine --ipc=1"),
    ],
)
def test_for_other_data_it_is_said_what_is_known_and_what_to_do(name, ipc, nearest):
    with pytest.raises(UserError, match=f"not found for {name} with --ipc={ipc};") as e:
        best(name, ipc)
    for known, images in FILES:
        assert f"{known} with --ipc={images}" in str(e.value)
    assert str(e.value).endswith(nearest) and f"--config={FOLDER}" in str(e.value)
    assert "\n" not in str(e.value)


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(UserError, match=r"takes a file of its own, and .* mine\.toml"):
        make_config("mine.toml", {"method.name": "best"})
    with pytest.raises(UserError, match="'many'"):
        best("digits", "many")
    with pytest.raises(UserError, match=r"unknown setting 'method\.steps'"):
        best("digits", 1, **{"method.steps": 5})
    with pytest.raises(UserError, match="unknown method 'best'"):
        find_rows(["best"])


@pytest.mark.parametrize("command", [distilling, compiling])
def test_commands_take_it(command):
    command.OPTIONS.parse(["--dataset=digits", "--ipc=10", "--method=best", "--seed=3"])
    found = command.OPTIONS.config()
    assert found == replace(best("digits", 10), distillation__seed=3)
    assert "feature_map, " in command.OPTIONS.help()
    assert "best" in command.OPTIONS.help()


def test_each_data_set_is_of_the_catalog():
    assert {name for name, _ in FILES} <= set(CATALOG)
