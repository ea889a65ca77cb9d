"""Distilled sets in memory, and as files that other programs read."""

import dataclasses
import json
import os
import pathlib
import re
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from dam_tf.base.errors import UserError
from dam_tf.data.preprocessing.preprocessing import fit_preprocessing
from dam_tf.synthetic import folder as set_folder
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.synthetic.recipe import Recipe
from dam_tf.synthetic.records import record_files
from tests.synthetic.sets import NAMES, assert_same


def test_knows_its_shape(distilled):
    assert distilled.num_classes == 4
    assert distilled.image_shape == (6, 5, 3)
    assert distilled.ipc == 3
    assert distilled.images.dtype == np.float32
    assert distilled.labels.dtype == np.int64
    assert repr(distilled) == (
        "<DistilledSet 'folder:/my pictures' of 7 images 6x5x3, 4 classes>"
    )


def test_the_budget_is_counted_in_what_is_stored(whole, distilled):
    assert (distilled.size, distilled.bytes) == (7, 7 * 6 * 5 * 3 * 4)
    assert (whole.size, whole.bytes) == (2, 2 * 6 * 4 * 3 * 4 + 8 * 4 * 4)
    assert whole.ipc == 1  # two stored images for four classes
    hard = dataclasses.replace(whole, soft_labels=None, labels=[2] * 8)
    assert hard.ipc == 2


LABELS = [2, 0, 0, 3, 1, 0, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros([7, 6, 5])}, "images must be"),
        ({"images": np.zeros([0, 6, 5, 3]), "labels": []}, "images must be"),
        ({"labels": [0] * 6}, "labels must be [7]"),
        ({"labels": [4] * 7}, "labels must be 0 to 3"),
        ({"labels": [-1] * 7}, "labels must be 0 to 3"),
        ({"class_names": ["a", "b", "c", "a"]}, "'a' is there twice"),
        ({"class_names": ["a", "b", "c", " d"]}, "' d'"),
        ({"class_names": ["a", "b", "c", ""]}, "'' is empty"),
        ({"images": np.full([7, 6, 5, 3], np.nan)}, "images must be finite"),
        ({"soft_labels": np.eye(4)}, "soft_labels must be [7, 4]"),
        ({"soft_labels": -np.eye(4)[LABELS]}, "row 0 of soft_labels holds no prob"),
        ({"soft_labels": np.eye(4)[LABELS] * 1.1}, "add up to 1, not to 1.1"),
        ({"soft_labels": np.full([7, 4], np.nan)}, "row 0 of soft_labels holds no"),
        (
            {"soft_labels": np.eye(4)[(np.array(LABELS) + 1) % 4]},
            "no label is the most probable class of its row",
        ),
        ({"formation": "factor:2"}, "'factor:2' and stored images do not go together"),
        ({"stored": np.zeros([7, 6, 5, 3])}, "'raw' and stored images do not go tog"),
        ({"formation": "zip"}, "unknown formation 'zip'"),
        (
            {"formation": "factor:2", "stored": np.zeros([2, 6, 5, 3])},
            "6x5 cannot be cut into 2 x 2 equal parts",
        ),
        (
            {
                "formation": "factor:2",
                "stored": np.zeros([2, 6, 4, 3]),
                "images": np.zeros([7, 6, 4, 3]),
            },
            "stored must be [1, 6, 4, 3], from which 'factor:2' makes images of",
        ),
        ({"recipe": Recipe(steps=1, batches=((7,),))}, "must be below 7, not 7"),
    ],
)
def test_refuses_what_does_not_fit(distilled, change, message):
    given = {
        "images": distilled.images,
        "labels": distilled.labels,
        "class_names": NAMES,
    }
    with pytest.raises(ValueError, match=re.escape(message)):
        DistilledSet(**{**given, **change})


def test_comes_back_bit_for_bit(distilled, tmp_path, capfd):
    distilled.save(tmp_path / "run")
    loaded = DistilledSet.load(tmp_path / "run")
    assert_same(loaded, distilled)
    assert_same(DistilledSet.load(tmp_path / "run" / "distilled"), distilled)
    np.testing.assert_array_equal(
        loaded.to_numpy("network")[0], distilled.to_numpy("network")[0]
    )
    assert sorted(os.listdir(tmp_path / "run")) == ["distilled", "preprocessing"]
    assert capfd.readouterr() == ("", "")


def test_all_parts_come_back_but_the_history(whole, tmp_path):
    whole.save(tmp_path)
    loaded = DistilledSet.load(tmp_path)
    assert_same(loaded, whole)
    assert (loaded.history, loaded.preprocessing) == ({}, None)
    assert {"stored.npz", "recipe.json"} <= set(os.listdir(tmp_path / "distilled"))
    metadata = json.loads((tmp_path / "distilled" / "metadata.json").read_text())
    assert metadata["version"] == 2


def test_soft_labels_open_in_tfds_too(whole, tmp_path):
    whole.save(tmp_path)
    builder = tfds.builder_from_directory(tmp_path / "distilled")
    examples = list(builder.as_dataset(split="train"))
    found = np.stack([example["soft_label"] for example in examples])
    np.testing.assert_array_equal(found, whole.soft_labels)
    assert [int(example["label"]) for example in examples] == whole.labels.tolist()


def test_soft_labels_take_the_place_of_labels(whole, distilled):
    images, soft = dataset_arrays(whole.as_dataset("pixels", soft_labels=True))
    np.testing.assert_array_equal(images, whole.images)
    np.testing.assert_array_equal(soft, whole.soft_labels)
    assert dataset_arrays(whole.as_dataset())[1].tolist() == whole.labels.tolist()
    hard = distilled.to_numpy(soft_labels=True)[1]
    np.testing.assert_array_equal(hard, np.eye(4)[LABELS])
    assert hard.dtype == np.float32


@pytest.mark.parametrize("soft", [False, True])
def test_keras_trains_on_it(whole, soft):
    loss = "categorical" if soft else "sparse_categorical"
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(4)])
    model.compile(loss=f"{loss}_crossentropy", run_eagerly=True)
    model.fit(whole.as_dataset("network", soft).batch(3), shuffle=False, verbose=0)


def test_loads_from_within_the_run(distilled, run, monkeypatch):
    monkeypatch.chdir(run)
    assert_same(DistilledSet.load("distilled"), distilled)
    assert_same(DistilledSet.load("."), distilled)


def test_opens_in_tfds_without_this_package(distilled, run):
    folder = run / "distilled"
    assert "dam_tf" not in (folder / "features.json").read_text()
    builder = tfds.builder_from_directory(folder)
    assert builder.info.features["image"].dtype == np.float32
    assert builder.info.features["label"].dtype == np.int64
    assert builder.info.features["label"].names == list(NAMES)
    assert builder.info.splits["train"].num_examples == 7
    assert "folder:/my pictures" in builder.info.description
    pairs = list(builder.as_dataset(split="train", as_supervised=True))
    images, labels = (np.stack(part) for part in zip(*pairs, strict=True))
    np.testing.assert_array_equal(images, distilled.images)
    np.testing.assert_array_equal(labels, distilled.labels)


def test_opens_with_plain_tensorflow_and_features_json(distilled, tmp_path):
    distilled.save(tmp_path, shard_bytes=1000)
    folder = tmp_path / "distilled"
    features = json.loads((folder / "features.json").read_text())["featuresDict"]
    tensor = features["features"]["image"]["tensor"]
    shape = [int(side) for side in tensor["shape"]["dimensions"]]
    specification = {
        "image": tf.io.FixedLenFeature(shape, tensor["dtype"]),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }
    files = sorted(str(path) for path in folder.glob("*.tfrecord*"))
    assert len(files) == 3
    records = list(tf.data.TFRecordDataset(files))
    parsed = tf.io.parse_example(records, specification)
    np.testing.assert_array_equal(parsed["image"], distilled.images)
    np.testing.assert_array_equal(parsed["label"], distilled.labels)


def test_dataset_has_pixels_or_what_the_network_sees(distilled, preprocessing):
    mean = preprocessing.standardize.mean.numpy()
    deviation = preprocessing.standardize.deviation.numpy()
    plain = dataset_arrays(distilled.as_dataset())
    np.testing.assert_array_equal(plain[0], distilled.images)
    np.testing.assert_array_equal(plain[1], distilled.labels)
    seen = dataset_arrays(distilled.as_dataset("network"))
    ordinary = np.abs(distilled.images) < 1e3
    expected = (distilled.images.astype(np.float64) - mean) / deviation
    np.testing.assert_allclose(seen[0][ordinary], expected[ordinary], 1e-5, 1e-6)
    with pytest.raises(UserError, match="did you mean 'pixels'"):
        distilled.as_dataset("pixel")
    with pytest.raises(UserError, match="'model' is called 'network' now"):
        distilled.as_dataset("model")


def dataset_arrays(dataset: tf.data.Dataset) -> tuple[np.ndarray, ...]:
    return tuple(map(np.stack, zip(*dataset.as_numpy_iterator(), strict=True)))


def test_without_preprocessing_the_network_sees_pixels(rng, tmp_path):
    images = rng.random((2, 4, 4, 1), np.float32)
    DistilledSet(images, [0, 1], ("a", "b")).save(tmp_path)
    loaded = DistilledSet.load(tmp_path)
    assert loaded.preprocessing is None
    np.testing.assert_array_equal(loaded.to_numpy("network")[0], images)
    assert os.listdir(tmp_path) == ["distilled"]


def test_large_sets_have_several_files(distilled, tmp_path):
    distilled.save(tmp_path, shard_bytes=1000)
    shards = sorted(path.name for path in (tmp_path / "distilled").glob("*.tfrecord*"))
    assert shards == [f"distilled-train.tfrecord-0000{i}-of-00003" for i in range(3)]
    assert_same(DistilledSet.load(tmp_path), distilled)
    dataset = tfds.builder_from_directory(tmp_path / "distilled").as_dataset("train")
    read = np.stack([example["label"] for example in dataset])
    np.testing.assert_array_equal(np.sort(read), np.sort(distilled.labels))
    names = [pathlib.Path(file).name for file in record_files(tmp_path)]
    assert names == shards


def test_saving_again_replaces_everything(distilled, tmp_path):
    distilled.save(tmp_path, shard_bytes=1000)
    other = DistilledSet(np.ones([1, 4, 4, 1]), [0], ("only",))
    other.save(tmp_path)
    assert_same(DistilledSet.load(tmp_path), other)
    assert len(list((tmp_path / "distilled").glob("*.tfrecord*"))) == 1


def test_preprocessing_is_written_only_where_it_changed(distilled, rng, run):
    written = os.stat(run / "preprocessing")
    distilled.save(run)
    assert os.stat(run / "preprocessing").st_ino == written.st_ino
    real = rng.integers(0, 99, (20, 6, 5, 3), dtype=np.uint8)
    changed = DistilledSet(
        distilled.images, distilled.labels, NAMES, fit_preprocessing("zca", real)
    )
    changed.save(run)
    assert DistilledSet.load(run).preprocessing.kind == "zca"
    arrays = run / "preprocessing" / "arrays.npz"
    arrays.write_bytes(arrays.read_bytes()[:-30])
    changed.save(run)
    assert DistilledSet.load(run).preprocessing.kind == "zca"


def test_a_kept_preprocessing_is_not_read(distilled, run, monkeypatch):
    def refuse(folder):
        raise AssertionError(f"{folder} was read")

    monkeypatch.setattr(set_folder, "load_preprocessing", refuse)
    written = os.stat(run / "preprocessing")
    distilled.save(run, keep_preprocessing=True)
    assert os.stat(run / "preprocessing").st_ino == written.st_ino
    shutil.rmtree(run / "preprocessing")
    distilled.save(run, keep_preprocessing=True)
    monkeypatch.undo()
    assert_same(DistilledSet.load(run), distilled)
    assert DistilledSet.load(run).preprocessing.kind == "standardize"


def test_preview_is_a_picture(distilled, tmp_path):
    distilled.preview(tmp_path / "preview.png")
    assert tf.io.decode_png((tmp_path / "preview.png").read_bytes()).shape[0] > 64


def test_label_names_are_one_a_line(distilled, run):
    text = (run / "distilled" / "label.labels.txt").read_text(encoding="utf-8")
    assert tuple(text.splitlines()) == NAMES
    features = json.loads((run / "distilled" / "features.json").read_text())
    assert "image" in features["featuresDict"]["features"]
