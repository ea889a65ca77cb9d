"""The files of a set: damage, kills, older and later versions, and strangers' files."""

import itertools
import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from dam_tf.base import files
from dam_tf.base.errors import UserError
from dam_tf.synthetic.distilled_set import DistilledSet
from tests.synthetic.sets import SHARD, assert_same

FIXTURES = pathlib.Path(__file__).resolve().parents[1] / "fixtures"


class Killed(BaseException):
    """Stands for the end of the process."""


def test_a_kill_leaves_the_old_set_or_the_new_one(distilled, saved, tmp_path):
    """Ends `save` at its n-th step on the disk, without any tidying up."""
    new = DistilledSet(np.ones([1, 4, 4, 1]), [0], ("only",))
    results = []
    for step in range(1, 100):
        run = shutil.copytree(saved, tmp_path / str(step))
        try:
            with pytest.MonkeyPatch.context() as patch:
                kill_at(step, patch)
                new.save(run)
        except Killed:
            found = DistilledSet.load(run)
            results.append(found.num_classes == 1)
            assert_same(found, new if results[-1] else distilled)
            new.save(run)
            assert_same(DistilledSet.load(run), new)
        else:
            break
    # Many steps, and at one of them the old set became the new one.
    assert len(results) > 5
    assert results == sorted(results)


def kill_at(step: int, patch: pytest.MonkeyPatch) -> None:
    steps = itertools.count(1)

    def counted(function):
        def wrapper(*args, **kwargs):
            if next(steps) == step:
                raise Killed
            return function(*args, **kwargs)

        return wrapper

    patch.setattr(files.os, "fsync", counted(os.fsync))
    patch.setattr(files.os, "rename", counted(os.rename))
    patch.setattr(files, "_exchange", counted(files._exchange))
    patch.setattr(pathlib.Path, "write_text", counted(pathlib.Path.write_text))
    patch.setattr(tf.io, "TFRecordWriter", counted(tf.io.TFRecordWriter))
    patch.setattr(files.shutil, "rmtree", lambda *args, **kwargs: None)


def test_a_failed_save_leaves_the_old_set_and_nothing_else(distilled, run, monkeypatch):

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            DistilledSet(np.ones([1, 4, 4, 1]), [0], ("only",)).save(run)
    assert_same(DistilledSet.load(run), distilled)
    assert sorted(os.listdir(run)) == ["distilled", "preprocessing"]


def damage(path: pathlib.Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
        return
    if how == "garbage":
        data = bytearray(b"{nonsense")
    elif how == "one record":  # a whole record is missing at the end
        data = data[: len(data) // 7 * 6]
    elif how == "flipped":
        data[len(data) // 2] ^= 0x10
    elif how == "cut":
        data = data[:-5]
    elif how == "empty":
        data = bytearray()
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("file", "how"),
    [
        (SHARD, "missing"),
        (SHARD, "garbage"),
        (SHARD, "one record"),
        (SHARD, "flipped"),
        (SHARD, "cut"),
        (SHARD, "empty"),
        ("features.json", "missing"),
        ("features.json", "garbage"),
        ("features.json", "empty"),
        ("dataset_info.json", "missing"),
        ("dataset_info.json", "garbage"),
        ("dataset_info.json", "empty"),
        ("label.labels.txt", "cut"),
        ("label.labels.txt", "empty"),
        ("metadata.json", "garbage"),
        ("metadata.json", "missing"),
        ("../preprocessing/arrays.npz", "cut"),
        ("../preprocessing/arrays.npz", "missing"),
    ],
)
def test_damage_is_named_in_one_line(run, file, how):
    damage(run / "distilled" / file, how)
    with pytest.raises(UserError) as caught:
        DistilledSet.load(run)
    message = str(caught.value)
    assert pathlib.Path(file).name in message
    assert str(run) in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("file", "how"),
    [
        ("stored.npz", "missing"),
        ("stored.npz", "garbage"),
        ("stored.npz", "cut"),
        ("stored.npz", "empty"),
        ("recipe.json", "missing"),
        ("recipe.json", "garbage"),
        ("recipe.json", "cut"),
        ("recipe.json", "empty"),
        (SHARD, "one record"),
    ],
)
def test_damage_to_the_parts_of_version_2_is_named(whole, tmp_path, file, how):
    whole.save(tmp_path)
    damage(tmp_path / "distilled" / file, how)
    with pytest.raises(UserError) as caught:
        DistilledSet.load(tmp_path)
    assert str(tmp_path / "distilled" / file) in str(caught.value)
    assert "\n" not in str(caught.value)


def change_json(path: pathlib.Path, *keys, value) -> None:
    """Puts `value` where `keys` lead."""
    whole = found = json.loads(path.read_text())
    for key in keys[:-1]:
        found = found[key]
    found[keys[-1]] = value
    path.write_text(json.dumps(whole))


FEATURES = ("featuresDict", "features")


@pytest.mark.parametrize(
    ("file", "keys", "value"),
    [
        ("features.json", ["pythonClassName"], "antigravity.FeaturesDict"),
        ("features.json", [*FEATURES, "image", "pythonClassName"], "antigravity.X"),
        ("features.json", [*FEATURES, "soft_label", "pythonClassName"], "a.Tensor"),
        ("features.json", [*FEATURES, "text"], {"pythonClassName": "a.Text"}),
        ("features.json", [*FEATURES, "image", "tensor", "dtype"], "uint8"),
        ("features.json", [*FEATURES, "image", "tensor", "shape"], {}),
        ("features.json", [*FEATURES, "label", "classLabel", "numClasses"], "many"),
        ("features.json", [*FEATURES, "label", "classLabel", "numClasses"], "3"),
        ("features.json", [*FEATURES], []),
        ("dataset_info.json", ["splits"], []),
        ("dataset_info.json", ["splits", 0, "name"], "test"),
        ("dataset_info.json", ["splits", 0, "shardLengths"], ["-8"]),
        ("dataset_info.json", ["splits", 0, "shardLengths"], ["4", "4"]),
        ("metadata.json", ["source"], 7),
        ("metadata.json", ["provenance"], "mine"),
        ("metadata.json", ["formation"], "factor:1"),
        ("metadata.json", ["formation"], "factor:3"),
        ("recipe.json", ["steps"], "two"),
        ("recipe.json", ["batches"], [[0], [8]]),
    ],
)
def test_descriptions_of_something_else_are_refused(whole, tmp_path, file, keys, value):
    whole.save(tmp_path)
    path = tmp_path / "distilled" / file
    change_json(path, *keys, value=value)
    with pytest.raises(UserError) as caught:
        DistilledSet.load(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_image_larger_than_its_record_takes_no_memory(whole, tmp_path):
    whole.save(tmp_path)
    path = tmp_path / "distilled" / "features.json"
    keys = [*FEATURES, "image", "tensor", "shape", "dimensions"]
    change_json(path, *keys, value=["1000000", "1000000", "3"])
    with pytest.raises(UserError, match=r"record 1 of 8, .* \(its image is inc"):
        DistilledSet.load(tmp_path)


def test_no_module_of_a_strangers_folder_is_imported(run, tmp_path, monkeypatch):
    """TFDS would import what features.json names."""
    (tmp_path / "trap.py").write_text("raise SystemExit('the trap was imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = run / "distilled" / "features.json"
    change_json(path, *FEATURES, "image", "pythonClassName", value="trap.Tensor")
    with pytest.raises(UserError, match=r"features\.json is damaged"):
        DistilledSet.load(run)
    with pytest.raises(SystemExit, match="the trap was imported"):
        tfds.builder_from_directory(run / "distilled")


def test_version_1_is_read():
    """The folder was written by the last code of version 1 (record_version_1.py)."""
    loaded = DistilledSet.load(FIXTURES / "version_1")
    images = np.arange(60, dtype=np.float32).reshape(5, 4, 3, 1) / 50 - 0.1
    np.testing.assert_array_equal(loaded.images, images.astype(np.float32))
    assert loaded.labels.tolist() == [1, 0, 2, 0, 1]
    assert loaded.class_names == ("red panda", "kočka", "犬")
    assert (loaded.name, loaded.formation) == ("folder:pictures", "raw")
    assert loaded.soft_labels is loaded.stored is loaded.recipe is None
    assert (loaded.provenance, loaded.history) == ({}, {})
    mean = np.arange(240).mean() / 255
    deviation = np.arange(240).std() / 255
    seen, _ = loaded.to_numpy("network")
    np.testing.assert_allclose(seen, (images - mean) / deviation, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("version", [3, 0, "2", None])
def test_other_versions_are_refused(run, version):
    change_json(run / "distilled" / "metadata.json", "version", value=version)
    with pytest.raises(UserError) as caught:
        DistilledSet.load(run)
    expected = f"{run / 'distilled'} is of version {version!r} of the format; this"
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)


def record_lengths(path: pathlib.Path) -> list[int]:
    """Bytes of each record: a length of 8, two checksums of 4, and its content."""
    data, lengths = path.read_bytes(), []
    while sum(lengths) < len(data):
        start = sum(lengths)
        lengths.append(int.from_bytes(data[start : start + 8], "little") + 16)
    return lengths


@pytest.mark.parametrize("number", [1, 4, 7])
@pytest.mark.parametrize("place", ["length", "content"])
def test_a_damaged_record_is_named_with_its_place(run, number, place):
    path = run / "distilled" / SHARD
    lengths = record_lengths(path)
    assert len(lengths) == 7
    start = sum(lengths[: number - 1])
    data = bytearray(path.read_bytes())
    data[start + (3 if place == "length" else 100)] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        DistilledSet.load(run)
    assert f"{path} is damaged: record {number} of 7, at byte {start}," in str(
        caught.value
    )


def test_a_whole_record_of_something_else_is_named_with_its_place(distilled, run):
    path = run / "distilled" / SHARD
    first, *others = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    feature = tf.train.Feature(int64_list=tf.train.Int64List(value=[0]))
    features = tf.train.Features(feature={"label": feature})
    records = [first, tf.train.Example(features=features).SerializeToString()]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in [*records, *others[1:]]:
            writer.write(record)
    with pytest.raises(UserError) as caught:
        DistilledSet.load(run)
    message = str(caught.value)
    assert f"record 2 of 7, at byte {len(first) + 16}," in message
    assert "image" in message and "\n" not in message


def test_missing_folders_are_named(distilled, run):
    with pytest.raises(UserError, match="no such folder"):
        DistilledSet.load(run / "elsewhere")
    (run / "empty").mkdir()
    with pytest.raises(UserError, match=r"no distilled set in .*empty"):
        DistilledSet.load(run / "empty")
    shutil.rmtree(run / "preprocessing")
    with pytest.raises(UserError, match="no folder preprocessing/"):
        DistilledSet.load(run)


def test_other_data_sets_are_not_taken_for_distilled_ones(tmp_path):
    features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
    folder = tmp_path / "distilled"
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / SHARD)) as writer:
        writer.write(features.serialize_example({"text": "hello"}))
    tfds.folder_dataset.write_metadata(
        data_dir=folder, features=features, check_data=False
    )
    with pytest.raises(UserError, match=r"no distilled set .* metadata\.json is miss"):
        DistilledSet.load(tmp_path)
    metadata = {"source": "books", "preprocessing": False}
    (folder / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(UserError, match=r"features\.json is damaged: no distilled set"):
        DistilledSet.load(tmp_path)
