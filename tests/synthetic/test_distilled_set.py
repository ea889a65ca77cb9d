import itertools
import json
import os
import pathlib
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from dam_tf.base import files
from dam_tf.base.errors import UserError
from dam_tf.data.preprocessing.preprocessing import Preprocessing, fit_preprocessing
from dam_tf.synthetic import distilled_set
from dam_tf.synthetic.distilled_set import DistilledSet, record_files

NAMES = ("red panda", "kočka", "$x_1$", "犬")
SHARD = "distilled-train.tfrecord-00000-of-00001"


@pytest.fixture(scope="module")
def preprocessing() -> Preprocessing:
    real = np.random.default_rng(1).integers(0, 256, (20, 6, 5, 3), dtype=np.uint8)
    return fit_preprocessing("standardize", real)


@pytest.fixture(scope="module")
def distilled(preprocessing) -> DistilledSet:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(7, 6, 5, 3)).astype(np.float32)
    # What float32 has besides: both zeros, a denormal, the largest and the smallest.
    extremes = [0.0, -0.0, 1e-45, np.finfo(np.float32).max, np.finfo(np.float32).min]
    images[0, 0, :, 0] = extremes
    labels = [2, 0, 0, 3, 1, 0, 2]
    return DistilledSet(images, labels, NAMES, preprocessing, "folder:/my pictures")


@pytest.fixture(scope="module")
def saved(distilled, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("saved") / "run"
    distilled.save(folder)
    return folder


@pytest.fixture
def run(saved, tmp_path) -> pathlib.Path:
    """A folder with `distilled`, to be damaged or written to."""
    return shutil.copytree(saved, tmp_path / "run")


def assert_same(first: DistilledSet, second: DistilledSet) -> None:
    np.testing.assert_array_equal(
        first.images.view(np.uint32), second.images.view(np.uint32)
    )
    np.testing.assert_array_equal(first.labels, second.labels)
    assert (first.class_names, first.name) == (second.class_names, second.name)


def test_knows_its_shape(distilled):
    assert distilled.num_classes == 4
    assert distilled.image_shape == (6, 5, 3)
    assert distilled.ipc == 3
    assert distilled.images.dtype == np.float32
    assert distilled.labels.dtype == np.int64


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
        loaded.to_numpy("model")[0], distilled.to_numpy("model")[0]
    )
    assert sorted(os.listdir(tmp_path / "run")) == ["distilled", "preprocessing"]
    assert capfd.readouterr() == ("", "")


def test_loads_from_within_the_run(distilled, run, monkeypatch):
    monkeypatch.chdir(run)
    assert_same(DistilledSet.load("distilled"), distilled)
    assert_same(DistilledSet.load("."), distilled)


def test_opens_in_tfds_without_this_package(distilled, run):
    folder = run / "distilled"
    assert "dam_tf" not in "".join(path.read_text() for path in folder.glob("*.json"))
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
    seen = dataset_arrays(distilled.as_dataset("model"))
    ordinary = np.abs(distilled.images) < 1e3
    expected = (distilled.images.astype(np.float64) - mean) / deviation
    np.testing.assert_allclose(seen[0][ordinary], expected[ordinary], 1e-5, 1e-6)
    with pytest.raises(UserError, match="did you mean 'pixels'"):
        distilled.as_dataset("pixel")


def dataset_arrays(dataset: tf.data.Dataset) -> tuple[np.ndarray, ...]:
    return tuple(map(np.stack, zip(*dataset.as_numpy_iterator(), strict=True)))


def test_without_preprocessing_the_network_sees_pixels(rng, tmp_path):
    images = rng.random((2, 4, 4, 1), np.float32)
    DistilledSet(images, [0, 1], ("a", "b")).save(tmp_path)
    loaded = DistilledSet.load(tmp_path)
    assert loaded.preprocessing is None
    np.testing.assert_array_equal(loaded.to_numpy("model")[0], images)
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

    monkeypatch.setattr(distilled_set, "load_preprocessing", refuse)
    written = os.stat(run / "preprocessing")
    distilled.save(run, keep_preprocessing=True)
    assert os.stat(run / "preprocessing").st_ino == written.st_ino
    shutil.rmtree(run / "preprocessing")
    distilled.save(run, keep_preprocessing=True)
    monkeypatch.undo()
    assert_same(DistilledSet.load(run), distilled)
    assert DistilledSet.load(run).preprocessing.kind == "standardize"


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
    with pytest.raises(UserError, match=r"features\.json"):
        DistilledSet.load(tmp_path)


def test_preview_is_a_picture(distilled, tmp_path):
    distilled.preview(tmp_path / "preview.png")
    assert tf.io.decode_png((tmp_path / "preview.png").read_bytes()).shape[0] > 64


def test_label_names_are_one_a_line(distilled, run):
    text = (run / "distilled" / "label.labels.txt").read_text(encoding="utf-8")
    assert tuple(text.splitlines()) == NAMES
    features = json.loads((run / "distilled" / "features.json").read_text())
    assert "image" in features["featuresDict"]["features"]
