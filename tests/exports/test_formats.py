"""Exports, read back by other programs' readers; and what the tool refuses."""

import dataclasses
import json
import os
import pathlib
import shutil

import keras
import numpy as np
import pyarrow.parquet
import pytest
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.config.settings import save_config
from dam_tf.data.preprocessing.preprocessing import fit_preprocessing
from dam_tf.exports import formats as exporting
from dam_tf.exports.formats import FORMATS, export
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.synthetic.formation import decode
from dam_tf.synthetic.recipe import Recipe
from dam_tf.training.on_distilled import train_network
from tests.tiny_data import tiny_config
from tests.tools.running import call

NAMES = ("red panda", "a/b", "犬")
LABELS = [2, 0, 1, 1, 0, 2, 0]


@pytest.fixture(scope="module")
def distilled() -> DistilledSet:
    rng = np.random.default_rng(0)
    real = rng.integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    images = rng.normal(0.5, 0.5, (7, 8, 8, 3))  # many lie outside 0..1
    preprocessing = fit_preprocessing("standardize", real)
    return DistilledSet(images, LABELS, NAMES, preprocessing, "pandas")


@pytest.fixture(scope="module")
def whole(distilled) -> DistilledSet:
    """A set with all that a set can have."""
    stored = np.random.default_rng(1).random((2, 8, 8, 3), np.float32)
    soft = np.full([8, 3], 0.25, np.float32)
    labels = np.arange(8) % 3
    soft[np.arange(8), labels] = 0.5
    return DistilledSet(
        decode(stored, "factor:2"),
        labels,
        NAMES,
        distilled.preprocessing,
        soft_labels=soft,
        stored=stored,
        formation="factor:2",
        recipe=Recipe((0.1,), 20),
        provenance={"data": "0123"},
    )


@pytest.fixture(scope="module")
def exported(distilled, tmp_path_factory) -> dict[str, pathlib.Path]:
    folder = tmp_path_factory.mktemp("exported") / "all"
    return export(distilled, list(FORMATS), folder, tiny_config())


def test_everything_lies_where_it_is_said(exported):
    (folder,) = {path.parent for path in exported.values()}
    assert set(os.listdir(folder)) == {*FORMATS, "export.json"}
    note = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    assert note["source"] == "pandas"
    assert tuple(note["class_names"]) == NAMES
    assert note["config"]["evaluation"]["epochs"] == 3


def test_tfrecord_is_the_set_itself(exported, distilled):
    loaded = DistilledSet.load(exported["tfrecord"])
    np.testing.assert_array_equal(loaded.images, distilled.images)
    assert loaded.class_names == NAMES
    assert loaded.preprocessing.kind == "standardize"


def test_npz_has_both_spaces_and_the_way_between(exported, distilled):
    with np.load(exported["npz"] / "distilled.npz", allow_pickle=False) as arrays:
        found = dict(arrays)  # without pickles, which np.load refuses
    np.testing.assert_array_equal(found["images"], distilled.images)
    assert found["images"].dtype == found["model_images"].dtype == np.float32
    assert found["labels"].tolist() == LABELS
    assert tuple(found["class_names"]) == NAMES
    assert str(found["preprocessing_kind"]) == "standardize"
    seen = found["images"] - found["preprocessing_mean"]
    seen = seen / found["preprocessing_deviation"]
    np.testing.assert_allclose(found["model_images"], seen, atol=1e-6)


def test_saved_model_is_the_trained_network_with_its_preprocessing(
    exported, distilled, rng
):
    images = rng.integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    network = train_network(distilled, tiny_config())
    seen = distilled.preprocessing(tf.constant(images / 255, tf.float32))
    expected = tf.nn.softmax(network(seen, training=False))

    loaded = tf.saved_model.load(exported["saved_model"])
    classify = loaded.signatures["serving_default"]
    (specification,) = classify.structured_input_signature[1].values()
    assert specification == tf.TensorSpec([None, 8, 8, 3], tf.uint8, name="images")
    found = classify(images=tf.constant(images))
    assert list(found) == ["probabilities"]
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)
    np.testing.assert_allclose(np.sum(expected, axis=1), 1, atol=1e-5)
    names = loaded.signatures["class_names"]()["class_names"].numpy()
    assert tuple(name.decode() for name in names) == NAMES
    text = (exported["saved_model"] / "assets" / "labels.txt").read_text("utf-8")
    assert tuple(text.splitlines()) == NAMES

    layer = keras.layers.TFSMLayer(
        exported["saved_model"], call_endpoint="serving_default"
    )
    found = layer(images)["probabilities"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_set_without_preprocessing_is_exported_too(tmp_path):
    images = np.linspace(0, 1, 2 * 8 * 8, dtype=np.float32).reshape(2, 8, 8, 1)
    bare = DistilledSet(images, [0, 1], ("a", "b"))
    paths = export(bare, ["npz", "saved_model"], tmp_path / "out", tiny_config())
    with np.load(paths["npz"] / "distilled.npz", allow_pickle=False) as arrays:
        assert str(arrays["preprocessing_kind"]) == "none"
        np.testing.assert_array_equal(arrays["model_images"], images)
    loaded = tf.saved_model.load(paths["saved_model"])
    found = loaded.signatures["serving_default"](tf.zeros([3, 8, 8, 1], tf.uint8))
    assert found["probabilities"].shape == (3, 2)


def test_what_version_2_adds_is_carried_or_said_to_be_left_out(whole, tmp_path):
    names = ["tfrecord", "npz", "png", "parquet"]
    paths = export(whole, names, tmp_path / "out", tiny_config())
    note = json.loads((tmp_path / "out" / "export.json").read_text())
    assert note["left_out"] == {
        "tfrecord": [],
        "npz": [],
        "png": [
            "preprocessing",
            "soft labels",
            "stored images",
            "recipe",
            "provenance",
        ],
        "parquet": ["preprocessing", "stored images", "recipe", "provenance"],
    }
    with np.load(paths["npz"] / "distilled.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["soft_labels"], whole.soft_labels)
        np.testing.assert_array_equal(arrays["stored"], whole.stored)
        assert str(arrays["formation"]) == "factor:2"
        recipe = json.loads(str(arrays["recipe"]))
        assert (recipe["learning_rates"], recipe["steps"]) == ([0.1], 20)
        assert json.loads(str(arrays["provenance"])) == {"data": "0123"}
    loaded = DistilledSet.load(paths["tfrecord"])
    np.testing.assert_array_equal(loaded.soft_labels, whole.soft_labels)
    assert loaded.recipe == whole.recipe
    (path,) = paths["parquet"].iterdir()
    table = pyarrow.parquet.read_table(path)
    np.testing.assert_array_equal(table["soft_label"].to_pylist(), whole.soft_labels)
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["soft_label"]["length"] == 3


def test_the_classifier_is_trained_on_soft_labels(whole):
    hard = dataclasses.replace(whole, soft_labels=None)
    images = np.zeros([1, 8, 8, 3], np.float32)
    found, other = (
        train_network(one, tiny_config())(images).numpy() for one in (whole, hard)
    )
    assert not np.allclose(found, other, atol=1e-4)


@pytest.mark.parametrize("name", ["png", "saved_model"])
def test_what_cannot_be_written_costs_nothing(distilled, tmp_path, name):
    """All is checked first: an earlier export stays, to the byte."""
    config, out = tiny_config(), tmp_path / "out"
    export(distilled, ["npz"], out, config)
    before = (out / "npz" / "distilled.npz").read_bytes()
    spectral = DistilledSet(np.zeros([1, 8, 8, 5]), [0], ("a",))
    deep = tiny_config(network__name="vgg11", network__depth=None)
    with pytest.raises(UserError):
        export(spectral, ["npz", name], out, deep, overwrite=True)
    assert os.listdir(tmp_path) == ["out"]
    assert (out / "npz" / "distilled.npz").read_bytes() == before


def test_a_folder_behind_a_link_is_replaced_not_the_link(distilled, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for name in ("npz", "png"):
        export(distilled, [name], tmp_path / "link", tiny_config(), overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert set(os.listdir(tmp_path / "real")) == {"png", "export.json"}
    assert set(os.listdir(tmp_path)) == {"real", "link"}


@pytest.mark.parametrize(
    ("formats", "message"),
    [
        (["pgn"], r"unknown format 'pgn' \(did you mean 'png'\?\); choose one of:"),
        ([], "no format is given; choose of: tfrecord, npz, png"),
    ],
)
def test_unknown_formats_are_named(distilled, tmp_path, formats, message):
    with pytest.raises(UserError, match=message):
        export(distilled, formats, tmp_path / "out", tiny_config())


def test_only_an_export_is_replaced_and_only_when_told(distilled, tmp_path):
    config, out = tiny_config(), tmp_path / "out"
    export(distilled, ["npz"], out, config)
    with pytest.raises(UserError, match="holds another export; replace it with --over"):
        export(distilled, ["png"], out, config)
    export(distilled, ["png"], out, config, overwrite=True)
    assert set(os.listdir(out)) == {"png", "export.json"}
    (out / "letter.txt").write_text("mine")
    with pytest.raises(UserError, match="not of an export"):
        export(distilled, ["npz"], out, config, overwrite=True)
    assert (out / "letter.txt").read_text() == "mine"
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        export(distilled, ["npz"], tmp_path / "file", config, overwrite=True)


def test_a_full_disk_leaves_the_old_export(distilled, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    export(distilled, ["npz"], tmp_path / "out", tiny_config())
    monkeypatch.setitem(exporting.FORMATS, "png", exporting.Format(full))
    with pytest.raises(OSError, match="No space left"):
        export(
            distilled, ["npz", "png"], tmp_path / "out", tiny_config(), overwrite=True
        )
    assert os.listdir(tmp_path) == ["out"]
    assert set(os.listdir(tmp_path / "out")) == {"npz", "export.json"}


def test_the_tool_says_where_things_are_or_why_not(distilled, tmp_path):
    run, bare, torn = (tmp_path / name for name in ("run", "bare", "torn"))
    distilled.save(run)
    save_config(tiny_config(), run / "config.toml")
    for copy in (bare, torn):
        shutil.copytree(run, copy)
    shutil.rmtree(bare / "preprocessing")
    (shard,) = (torn / "distilled").glob("*.tfrecord*")
    os.truncate(shard, shard.stat().st_size - 40)
    for name, message in (
        ("bare", "no folder preprocess"),
        ("torn", "is damaged: record 7 of 7, at byte "),
    ):
        result = call(
            "export",
            f"--distilled={name}",
            "--output_dir=x",
            "--format=npz",
            folder=tmp_path,
        )
        assert result.returncode == 2 and message in result.stderr
    assert not (tmp_path / "x").exists()
    result = call(
        "export",
        "--distilled=run",
        "--output_dir=out",
        "--format=npz,saved_model",
        folder=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "Exporting run into out",
        "npz: 7 images, in out/npz",
        "saved_model: convnet trained on 7 images for 3 epochs, in out/saved_model",
    ]
