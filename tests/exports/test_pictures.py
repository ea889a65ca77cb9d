"""PNG and Parquet: labels that every reader finds, and pixels that 8 bits can hold."""

import io
import json
import logging
import os
import pathlib
import shutil

import keras
import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from dam_tf.base.errors import UserError
from dam_tf.config.sections import DatasetConfig
from dam_tf.config.settings import Config
from dam_tf.data.loading import load_dataset
from dam_tf.exports.formats import export
from dam_tf.exports.pictures import folder_names
from dam_tf.synthetic.distilled_set import DistilledSet

LABELS = [2, 0, 1, 1, 0, 2, 0]
NAMES = ("red panda", "a/b", "犬")


def a_set(low=0.0, high=1.0, labels=LABELS, names=NAMES, channels=3) -> DistilledSet:
    rng = np.random.default_rng(0)
    images = rng.uniform(low, high, (len(labels), 8, 8, channels))
    return DistilledSet(images, labels, names, name="pandas")


def export_one(name: str, distilled: DistilledSet, folder, **options) -> pathlib.Path:
    return export(distilled, [name], folder / "out", Config(), **options)[name]


def described(folder: pathlib.Path) -> dict:
    return json.loads((folder / "set.json").read_text(encoding="utf-8"))


def clipped(images: np.ndarray) -> np.ndarray:
    """What 8 bits hold of pixels: the formula."""
    return np.floor(np.clip(np.float64(images), 0, 1) * 255 + 0.5).astype(np.uint8)


@pytest.mark.parametrize("count", [1, 9, 10, 11, 12, 100, 101, 1000])
def test_folders_sorted_as_text_are_in_the_order_of_labels(count):
    for names in ([str(k + 1) for k in range(count)], [chr(0x5000 + count - k) for k
                  in range(count)], ["Zebra", "_", "~", "aardvark"] * 250):  # fmt: skip
        folders = folder_names(names[:count])
        assert sorted(folders) == folders and len(set(folders)) == min(count, 1000)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["cat", "dog"], ["0_cat", "1_dog"]),
        (["a/b", "a\\b", "a:b"], ["0_a_b", "1_a_b", "2_a_b"]),
        (["..", ".", "-rf", "~", "end."], ["0_._", "1__", "2_-rf", "3_~", "4_end_"]),
        (["NUL", "00_x", "a\tb", "犬"], ["0_NUL", "1_00_x", "2_a_b", "3_犬"]),
        (["a\udce9", "end "], ["0_a_", "1_end_"]),
    ],
)
def test_folder_names_are_safe(names, expected):
    assert folder_names(names) == expected


def test_long_folder_names_are_cut():
    names = folder_names(["犬" * 300, "犬" * 301])
    assert len(set(names)) == 2
    assert all(len(name.encode()) < 140 for name in names)


def test_a_folder_loader_gives_our_labels(tmp_path):
    """Twelve classes named 1 to 12, read by Keras, which sorts folders as text."""
    names = [str(k) for k in range(1, 13)]
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(12), 2))
    distilled = a_set(labels=labels, names=names)
    folder = export_one("png", distilled, tmp_path)
    read = keras.utils.image_dataset_from_directory(
        folder / "train", image_size=(8, 8), batch_size=None, shuffle=False, verbose=0
    )
    classes = described(folder)["classes"]
    assert [one["folder"] for one in classes] == read.class_names
    assert [one["name"] for one in classes] == names
    assert [one["label"] for one in classes] == list(range(12))
    images, found = zip(*read.as_numpy_iterator(), strict=True)
    order = np.argsort(labels, kind="stable")
    np.testing.assert_array_equal(found, labels[order])
    np.testing.assert_array_equal(images, clipped(distilled.images)[order])


def test_png_is_a_folder_for_each_class(tmp_path):
    distilled = a_set(-0.5, 1.5)
    folder = export_one("png", distilled, tmp_path)
    rows = described(folder)["classes"]
    assert [row["folder"] for row in rows] == ["0_red panda", "1_a_b", "2_犬"]
    assert [row["name"] for row in rows] == list(NAMES)
    pixels = clipped(distilled.images)
    for position, (label, image) in enumerate(zip(LABELS, pixels, strict=True)):
        path = folder / "train" / rows[label]["folder"] / f"{position}.png"
        with Image.open(path) as file:
            np.testing.assert_array_equal(np.asarray(file), image)


def test_png_reads_back_as_a_folder_of_ours(tmp_path):
    """It needs a test split; labels are those of the set."""
    distilled = a_set()
    folder = export_one("png", distilled, tmp_path)
    shutil.copytree(folder / "train", folder / "test")
    data = load_dataset(DatasetConfig(name=f"folder:{folder}"))
    assert data.train.labels.tolist() == sorted(LABELS)
    rows = np.argsort(LABELS, kind="stable")
    np.testing.assert_array_equal(data.train.images, clipped(distilled.images)[rows])


@pytest.mark.parametrize("name", ['say "c"', "a\\nb", "50 %", "{}"])
def test_every_name_comes_back_from_the_file_beside(tmp_path, name):
    folder = export_one("png", a_set(labels=[0, 1], names=(name, "b")), tmp_path)
    (row, _) = described(folder)["classes"]
    assert row["name"] == name and (folder / "train" / row["folder"]).is_dir()


def test_parquet_is_what_hugging_face_datasets_reads(tmp_path):
    distilled = a_set(-0.5, 1.5)
    (path,) = export_one("parquet", distilled, tmp_path).iterdir()
    assert path.name == "train-00000-of-00001.parquet"
    table = pyarrow.parquet.read_table(path)
    assert str(table.schema.field("image").type) == (
        "struct<bytes: binary, path: string>"
    )
    assert str(table.schema.field("label").type) == "int64"
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert features["label"] == {"_type": "ClassLabel", "names": list(NAMES)}
    assert table["label"].to_pylist() == LABELS
    pixels = clipped(distilled.images)
    for row, image in zip(table["image"].to_pylist(), pixels, strict=True):
        with Image.open(io.BytesIO(row["bytes"])) as file:
            np.testing.assert_array_equal(np.asarray(file), image)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("low", "high"), [(-6.5, 4.0), (0.2, 0.7), (-1.9e7, 3e6)])
def test_scaled_pixels_come_back_within_half_a_step(tmp_path, channels, low, high):
    distilled = a_set(low, high, channels=channels)
    exported = export(
        distilled, ["png", "parquet"], tmp_path / "out", Config(), pixels="scaled"
    )
    scale = described(exported["png"])
    step = (scale["high"] - scale["low"]) / 255
    assert scale["low"] == min(0, distilled.images.min())
    assert scale["high"] == max(1, distilled.images.max())
    (path,) = exported["parquet"].iterdir()
    table = pyarrow.parquet.read_table(path)
    assert json.loads(table.schema.metadata[b"scale"]) == {
        name: scale[name] for name in ("low", "high")
    }
    for position, row in enumerate(table["image"].to_pylist()):
        (path,) = exported["png"].glob(f"train/*/{position}.png")
        assert path.read_bytes() == row["bytes"]
        with Image.open(path) as file:
            values = np.asarray(file, np.float64).reshape(8, 8, channels)
            text = {name: float(file.text[name]) for name in ("low", "high")}
        assert text == {name: scale[name] for name in text}
        pixels = scale["low"] + (scale["high"] - scale["low"]) * values / 255
        image = distilled.images[position]
        assert np.abs(pixels - image).max() <= 0.501 * step


@pytest.mark.parametrize(
    ("values", "said", "level"),
    [
        ([0, 1, 0.5, -0.001], "0.0 % of the pixels lie outside 0..1", logging.INFO),
        ([0.5] * 95 + [2] * 5, "5.0 % of the pixels lie outside", logging.INFO),
        ([0.5] * 94 + [2, -1] * 3, "6.0 % of the pixels", logging.WARNING),
    ],
)
def test_the_clipped_share_is_said_once(tmp_path, caplog, values, said, level):
    images = np.reshape(np.float32(values), [len(values), 1, 1, 1])
    distilled = DistilledSet(images, [0] * len(values), ("a",))
    with caplog.at_level(logging.INFO, "dam_tf"):
        export(distilled, ["png", "npz", "parquet"], tmp_path / "out", Config())
    (line,) = caplog.records
    assert line.getMessage().startswith(f"png and parquet: {said}")
    assert line.levelno == level
    assert ("--pixels=scaled" in line.getMessage()) == (level == logging.WARNING)


def test_what_the_scale_is_is_said(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "dam_tf"):
        export_one("parquet", a_set(-6, 4), tmp_path, pixels="scaled")
    (line,) = caplog.messages
    assert line.startswith("parquet: pixels from -5.9")
    assert "are written as 0 to 255, in steps of 0.039;" in line


def test_a_class_without_an_image_is_named(tmp_path, caplog):
    export_one("png", a_set(labels=[0, 2]), tmp_path)
    assert caplog.messages[-1].startswith(
        "png: 1 of 3 classes have no image (the first is 1_a_b)"
    )
    assert sorted(os.listdir(tmp_path / "out" / "png" / "train"))[1] == "1_a_b"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("png", {"pixels": "scald"}, r"'scald' \(did you mean 'scaled'\?\)"),
        ("npz", {"pixels": "scaled"}, "'scaled' is for png and parquet, and npz keeps"),
    ],
)
def test_pixels_that_cannot_be(tmp_path, name, options, message):
    with pytest.raises(UserError, match=message):
        export_one(name, a_set(), tmp_path, **options)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["png", "parquet"])
def test_images_that_are_no_pictures_are_refused(tmp_path, name):
    with pytest.raises(UserError, match="5 channels"):
        export_one(name, a_set(channels=5), tmp_path)
    assert os.listdir(tmp_path) == []
