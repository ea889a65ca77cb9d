"""`dam_tf.distill`: what it makes of its arguments, and the ten lines of a program."""

import dataclasses
import pathlib
import subprocess
import sys
import tempfile

import keras
import numpy as np
import pytest
import tensorflow as tf

import dam_tf
from dam_tf.base.errors import UserError
from dam_tf.base.interruption import Interrupted
from dam_tf.config.settings import save_config
from dam_tf.data.preprocessing.preprocessing import fit_preprocessing
from dam_tf.runs.folder import RunFolder
from tests.tiny_data import make_data, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")

SMALL = dam_tf.NetworkConfig(width=8, depth=1)
QUICK = {"network": SMALL, "iterations": 4, "log_every": 2, "batch_real": 4}


@pytest.fixture
def arrays():
    """Images and labels of three classes, shuffled."""
    split = make_data().train
    order = np.random.default_rng(1).permutation(len(split.images))
    return split.images[order, ..., 0], split.labels[order]


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """An empty folder to work in, and one where temporary files lie."""
    (tmp_path / "temporary").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "temporary"


@pytest.fixture
def asked(monkeypatch):
    """What a run was asked for; no run is made."""
    calls = []

    def run(config, folder, *others):
        names = "resume overwrite callbacks data layer networks strategy method train"
        given = dict(zip(names.split(), others, strict=True))
        calls.append({"config": config, "folder": folder, **given})
        images = np.zeros([2, 8, 8, 1], np.float32)
        return dam_tf.DistilledSet(images, [0, 1], ("a", "b"))

    monkeypatch.setattr("dam_tf.runs.run.distill", run)
    return calls


# Keras says it of any tf.data.Dataset in `fit`.
@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning")
def test_the_ten_lines(arrays, temporary):
    x, y = arrays
    x_test, y_test = x[:9], y[:9]
    distilled = dam_tf.distill(x, y, ipc=2, **QUICK)
    assert distilled.images.shape == (6, 8, 8, 1)
    assert distilled.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert distilled.history["iteration"] == [2, 4]
    assert np.isfinite(distilled.history["loss"]).all()
    assert not [*temporary.glob("dam_tf*")] and not [*pathlib.Path().iterdir()]

    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(5)
    by_dm = dam_tf.distill(data, ipc=2, method="dm", **QUICK)
    assert not np.array_equal(by_dm.images, distilled.images)

    seen = []
    callback = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(epoch)
    )
    kept = dam_tf.distill(
        x,
        y,
        ipc=2,
        method=dam_tf.methods.DataDAM(power=2),
        output_dir="runs/x",
        resume=True,
        callbacks=[callback],
        strategy=tf.distribute.get_strategy(),
        **QUICK,
    )
    assert seen == [2, 4] and RunFolder(pathlib.Path("runs/x")).holds_run()
    assert not np.array_equal(kept.images, distilled.images)

    distilled.save("set")
    loaded = dam_tf.load("set")
    np.testing.assert_array_equal(loaded.images, distilled.images)
    classifier = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    classifier.compile("sgd", loss)
    learned_from = loaded.as_dataset("network").shuffle(6).batch(4)
    classifier.fit(learned_from, epochs=2, shuffle=False, verbose=0)
    result = dam_tf.evaluate(
        loaded, x_test, y_test, networks=2, epochs=1, network=SMALL
    )
    assert result.confusion.sum() == 2 * len(x_test)


def test_a_resumed_run_has_its_whole_history(arrays):
    x, y = arrays
    whole = dam_tf.distill(x, y, output_dir="whole", **QUICK)
    half = {**QUICK, "iterations": 2}
    first = dam_tf.distill(x, y, output_dir="halves", **half)
    assert first.history["iteration"] == [2]
    rest = dam_tf.distill(x, y, output_dir="halves", resume=True, **QUICK)
    np.testing.assert_array_equal(rest.images, whole.images)
    assert rest.history["iteration"] == [2, 4]
    assert rest.history["loss"] == whole.history["loss"]
    with pytest.raises(UserError, match="halves was made of other images"):
        dam_tf.distill(255 - x, y, output_dir="halves", resume=True, **QUICK)
    with pytest.raises(UserError, match="holds another run"):
        dam_tf.distill(x, y, output_dir="halves", **QUICK)


def test_settings_first_as_before(tmp_path):
    config = tiny_config(distillation__iterations=2)
    data = make_data()
    first = dam_tf.distill(config, tmp_path / "a", data=data)
    save_config(config, tmp_path / "my.toml")
    second = dam_tf.distill(str(tmp_path / "my.toml"), tmp_path / "b", data=data)
    third = dam_tf.distill(data, config=config, output_dir=tmp_path / "c")
    for other in (second, third):
        np.testing.assert_array_equal(other.images, first.images)
    assert (tmp_path / "a" / "config.toml").is_file()


def test_a_name_has_the_settings_of_its_own_file(asked):
    dam_tf.distill("digits", ema_decay=0.9)
    (call,) = asked
    config = call["config"]
    assert (config.dataset.name, config.distillation.iterations) == ("digits", 500)
    assert "flip" not in config.augmentation.operations
    assert config.distillation.ema_decay == 0.9 and call["data"] is None
    dam_tf.distill(dam_tf.load_dataset(config.dataset), iterations=3)
    assert "flip" not in asked[1]["config"].augmentation.operations
    assert asked[1]["config"].distillation.iterations == 3


def test_arrays_have_the_defaults(asked, arrays):
    dam_tf.distill(*arrays)
    config = asked[0]["config"]
    assert dataclasses.replace(config, dataset=dam_tf.Config().dataset) == (
        dam_tf.Config()
    )
    assert asked[0]["data"].name.startswith("arrays:")


@pytest.mark.parametrize(
    ("keywords", "key", "expected"),
    [
        ({"ipc": np.int64(7)}, "distillation.ipc", 7),
        ({"images_per_class": [5, 3]}, "distillation.images_per_class", "5,3"),
        ({"learning_rate": 3}, "distillation.learning_rate", 3.0),
        ({"snapshot_at": [1, 2]}, "distillation.snapshot_at", (1, 2)),
        ({"method": "pixel_mmd"}, "method.name", "pixel_mmd"),
        ({"method": dam_tf.methods.DataDAM(power=2)}, "method.power", 2.0),
        ({"preset": "reference"}, "method.power", 1.0),
        ({"preset": "reference"}, "distillation.batch_real", 64),
        ({"preset": "reference", "method": "dm"}, "method.name", "dm"),
        ({"network": "resnet18_ap"}, "network.name", "resnet18_ap"),
        ({"network": SMALL}, "network.width", 8),
        ({"augmentation": []}, "augmentation.operations", ()),
        ({"augmentation": ["flip"]}, "augmentation.operations", ("flip",)),
        (
            {"augmentation": dam_tf.AugmentationConfig(rotate=3.0)},
            "augmentation.rotate",
            3.0,
        ),
        ({"preprocessing": "zca"}, "dataset.preprocessing", "zca"),
        ({"image_size": 16}, "dataset.image_size", 16),
        ({"config": tiny_config(distillation__ipc=3)}, "distillation.ipc", 3),
        ({"config": tiny_config(), "ipc": 5}, "distillation.ipc", 5),
        ({"config": tiny_config(), "ipc": 5}, "network.width", 8),
    ],
)
def test_keywords_are_settings(asked, arrays, keywords, key, expected):
    dam_tf.distill(*arrays, **keywords)
    section, name = key.split(".")
    found = getattr(getattr(asked[0]["config"], section), name)
    assert found == expected and type(found) is type(expected)
    method = keywords.get("method")
    assert asked[0]["method"] is (None if isinstance(method, str) else method)


@pytest.mark.parametrize("kind", ["zca", "standardize_zca"])
def test_a_fitted_preprocessing(asked, arrays, kind):
    layer = fit_preprocessing(kind, arrays[0][..., None])
    dam_tf.distill(*arrays, preprocessing=layer)
    assert asked[0]["layer"] is layer
    assert asked[0]["config"].dataset.preprocessing_kind == kind


@pytest.mark.parametrize(
    ("keywords", "pattern"),
    [
        ({"iteration": 5}, r"'iteration' \(did you mean 'iterations'\?\); dam_tf.dist"),
        ({"batch": 5}, "unknown keyword 'batch'"),
        ({"power": 2}, r"setting of a method: method=dam_tf.methods.DataDAM\(power="),
        ({"width": 2}, r"network=dam_tf.NetworkConfig\(width="),
        ({"rotate": 2}, r"augmentation=dam_tf.AugmentationConfig\(rotate="),
        ({"epochs": 2}, r"setting of evaluating: dam_tf.evaluate\(..., epochs="),
        ({"ipc": 0}, "distillation.ipc must be at least 1, not 0"),
        ({"ipc": "10"}, "distillation.ipc must be a whole number, not '10'"),
        ({"images_per_class": 5}, "images_per_class must be a text, not 5"),
        ({"ipc": 100}, "ipc 100 is larger than class '0'"),
        ({"method": "datadm"}, r"'datadm' \(did you mean 'datadam'"),
        ({"method": dam_tf.methods.DataDAM}, "method must be a name or a method such"),
        ({"network": "resnet"}, "network.name 'resnet' .did you mean 'resnet18'"),
        ({"network": 5}, r"network must be a name or .*NetworkConfig\(width=64\), not"),
        ({"network": dam_tf.NetworkConfig(width=0)}, "network.width must be at least"),
        ({"network": "vgg11"}, "too deep"),
        ({"augmentation": "flip"}, "augmentation.operations must be a list"),
        ({"augmentation": ["flop"]}, r"'flop' \(did you mean 'flip'"),
        ({"preprocessing": "whiten"}, "dataset.preprocessing 'whiten'"),
        ({"preset": "papr"}, r"'papr' \(did you mean 'paper'"),
        ({"preset": "paper", "config": tiny_config()}, "preset is a part of config"),
        ({"resume": True}, "resume=True needs output_dir"),
        ({"config": "missing.toml"}, "no such configuration file: missing.toml"),
    ],
)
def test_what_is_refused(arrays, temporary, keywords, pattern):
    with pytest.raises(UserError, match=pattern) as caught:
        dam_tf.distill(*arrays, **keywords)
    assert "\n" not in str(caught.value)
    assert not [*temporary.iterdir()] and not [*pathlib.Path().iterdir()]


@pytest.mark.parametrize(
    ("arguments", "keywords", "pattern"),
    [
        (["digitz"], {}, r"unknown data set 'digitz' \(did you mean 'digits'\?\)"),
        (["digits", [0, 1]], {}, "labels cannot be given for 'digits'"),
        (["digits"], {"pixel_range": (0, 1)}, "pixel_range cannot be given for"),
        ([tiny_config()], {"config": tiny_config()}, "config is given twice"),
        ([np.zeros([2, 8, 8])], {}, "images need labels"),
    ],
)
def test_data_that_are_refused(arguments, keywords, pattern):
    with pytest.raises(UserError, match=pattern):
        dam_tf.distill(*arguments, **keywords)


def test_settings_are_refused_before_tensorflow_is_imported():
    program = (
        "import sys, dam_tf\n"
        "try: dam_tf.distill([[0]], [0], iteration=3)\n"
        "except dam_tf.UserError: sys.exit('tensorflow' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_interrupted_run_without_a_folder_says_that_nothing_is_kept(
    arrays, monkeypatch
):
    def run(*_):
        raise Interrupted("stopped after iteration 1 of 4; continue with --resume", 2)

    monkeypatch.setattr("dam_tf.runs.run.distill", run)
    with pytest.raises(Interrupted, match="of 4; nothing is kept") as caught:
        dam_tf.distill(*arrays)
    assert caught.value.signal_number == 2
    with pytest.raises(Interrupted, match="continue with --resume"):
        dam_tf.distill(*arrays, output_dir="kept")


@pytest.mark.parametrize("name", ["callbacks", "strategy", "networks"])
def test_an_object_of_the_wrong_kind_costs_no_run(tmp_path, arrays, name):
    run = tmp_path / "run"
    RunFolder(run).path.mkdir()
    save_config(tiny_config(), RunFolder(run).config)
    before = RunFolder(run).config.read_bytes()
    with pytest.raises(UserError, match=f"{name} must be .*, not 'wrong'"):
        dam_tf.distill(
            *arrays, **QUICK, output_dir=run, overwrite=True, **{name: "wrong"}
        )
    assert [*run.iterdir()] == [RunFolder(run).config]
    assert RunFolder(run).config.read_bytes() == before


def test_one_callback_needs_no_list(asked, arrays):
    callback = keras.callbacks.Callback()
    dam_tf.distill(*arrays, callbacks=callback)
    assert asked[0]["callbacks"] == [callback]
