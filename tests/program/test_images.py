"""Images that a program's runner reads, held against what dam_tf reads of the same."""

import unicodedata

import numpy as np
import PIL.Image
import pytest

from dam_tf.config.sections import DatasetConfig
from dam_tf.data.loading import load_dataset
from dam_tf.exports.program.runner.files import Program, Refused
from dam_tf.exports.program.runner.images import read_data, to_pixels
from tests.program.conftest import describe


@pytest.fixture
def read(program, monkeypatch):
    """Reads a data set as a runner does, for a program that was compiled for it."""

    def of(data, path, **settings):
        about = describe(data.train.images, data.train.counts.tolist(), [])
        about |= {
            "class_names": list(data.class_names),
            "test_count": len(data.test.images),
            "test_crc32": describe(data.test.images, [], [])["test_crc32"],
        }
        program.write(data=about, settings=settings)
        return read_data(path, Program(program.path), tested=True, any_data=False)

    return of


def same(splits, data):
    for (images, labels), split in zip(splits, (data.train, data.test), strict=True):
        np.testing.assert_array_equal(images, split.images)
        np.testing.assert_array_equal(labels, split.labels)
    return True


@pytest.fixture
def pictures(tmp_path, rng):
    """A folder with pictures of every kind, and things that are none."""
    root = tmp_path / "pictures"
    noise = rng.integers(0, 256, [20, 30, 4], np.uint8)
    accented = unicodedata.normalize("NFD", "chén")
    for split in ("train", "val"):
        for name in ("b", accented):
            (root / split / name / "more").mkdir(parents=True)
        b, c = root / split / "b", root / split / accented
        PIL.Image.fromarray(noise[:, :, :3]).save(b / "wide.png")
        PIL.Image.fromarray(noise[:8, :8, :3]).save(b / "more" / "a.JPG", quality=90)
        PIL.Image.fromarray(noise[:8, :8]).save(b / "transparent.png")
        PIL.Image.fromarray(noise[:8, :8, 0]).save(b / "grey.bmp")
        PIL.Image.fromarray(noise[:8, :8, :3]).quantize(8).save(c / "palette.gif")
        PIL.Image.fromarray(noise[:8, :8, :3]).save(c / "10.png")
        PIL.Image.fromarray(noise[8:16, :8, :3]).save(c / "9.png")
        deep = noise[:8, :8, 0].astype(np.uint16) * 250
        PIL.Image.fromarray(deep).save(c / "deep.png")
        exif = PIL.Image.Exif()
        exif[0x0112] = 6
        PIL.Image.fromarray(noise[:8, :8, :3]).save(c / "turned.jpg", exif=exif)
        (c / "notes.txt").write_text("no picture")
        (b / ".hidden.png").write_bytes(b"")
        (b / "@eaDir").mkdir()
        PIL.Image.fromarray(noise[:8, :8, :3]).save(b / "@eaDir" / "thumbnail.png")
    return root


def test_pictures_are_those_of_dam_tf(pictures, read, capsys):
    config = DatasetConfig(name=f"folder:{pictures}", image_size=8)
    data = load_dataset(config)
    assert data.image_shape == (8, 8, 3) and len(data.train.images) == 9
    assert same(read(data, pictures), data)
    assert "2 files or folders are left out" in capsys.readouterr().out


def test_a_damaged_picture_is_named(pictures, read):
    data = load_dataset(DatasetConfig(name=f"folder:{pictures}", image_size=8))
    (pictures / "train" / "b" / "text.jpg").write_text("no picture")
    with pytest.raises(Refused, match=r"text.jpg: no picture that Pillow knows$"):
        read(data, pictures)
    (pictures / "train" / "b" / "text.jpg").unlink()
    wide = pictures / "train" / "b" / "wide.png"
    wide.write_bytes(wide.read_bytes()[:900])
    with pytest.raises(Refused, match=r"cannot read .*wide.png: [^\n]+$"):
        read(data, pictures)


def test_a_folder_without_a_class_is_refused(pictures, read):
    data = load_dataset(DatasetConfig(name=f"folder:{pictures}", image_size=8))
    for path in (pictures / "val" / "b").rglob("*.*"):
        path.unlink() if path.is_file() else None
    with pytest.raises(Refused, match=r"val/b is missing, or has no picture"):
        read(data, pictures)
    (pictures / "val").rename(pictures / "else")
    with pytest.raises(Refused, match=r"has no folder test/ or val/ or validation/"):
        read(data, pictures)


LABELS = {
    "numbers": lambda labels: labels + 7,
    "column": lambda labels: labels[:, None],
    "texts": lambda labels: np.array(["dog", "ant", "cat"])[labels],
    "one-hot": lambda labels: np.eye(3, dtype=np.float32)[labels],
    "floats": lambda labels: labels.astype(np.float32),
}
IMAGES = {
    "uint8": lambda images: images,
    "int64": lambda images: images.astype(np.int64),
    "float32": lambda images: images.astype(np.float32) / 300,
    "bool": lambda images: images > 127,
    "no channels": lambda images: images[..., 0],
}
KERAS = ("x_train", "y_train", "x_test", "y_test")
MEDMNIST = ("train_images", "train_labels", "test_images", "test_labels")


@pytest.fixture
def save(tmp_path, rng):
    """Writes an npz file of three classes, and returns its path."""

    def as_file(images="uint8", labels="numbers", names=KERAS):
        arrays = {}
        for image_name, label_name in (names[:2], names[2:]):
            numbers = rng.permutation(np.repeat([0, 1, 2], [3, 4, 5]))
            noise = rng.integers(0, 256, [12, 4, 5, 1], np.uint8)
            arrays[image_name] = IMAGES[images](noise)
            arrays[label_name] = LABELS[labels](numbers)
        np.savez(tmp_path / "some.npz", **arrays)
        return tmp_path / "some.npz"

    return as_file


@pytest.mark.parametrize(
    "form",
    [{"labels": one} for one in LABELS]
    + [{"images": one} for one in IMAGES]
    + [{"names": MEDMNIST}],
    ids=str,
)
def test_arrays_are_those_of_dam_tf(save, read, form):
    path = save(**form)
    data = load_dataset(DatasetConfig(name=f"npz:{path}"))
    assert same(read(data, path), data)


def test_classes_that_dam_tf_left_out_are_left_out(save, read):
    path = save()
    data = load_dataset(DatasetConfig(name=f"npz:{path}", max_classes=2))
    assert same(read(data, path, **{"dataset.max_classes": 2}), data)
    with pytest.raises(Refused, match=r"9 is none of the program's 2 classes"):
        read(data, path)


def test_numbers_stand_for_named_classes(program):
    program.save_images()
    path = program.save_images(y_train=program.labels + 1, y_test=program.labels + 1)
    (_, labels), _ = read_data(path, Program(program.path), True, False)
    assert labels.tolist() == [0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"x_train": np.zeros([5, 4, 4, 3], np.uint8)}, r"shape of train images"),
        ({"x_test": np.zeros([5, 8, 8, 1], np.uint8)}, r"shape of test images"),
        ({"y_train": [0, 0, 0, 1, 1]}, r"training images of 'cat': 3, and .* for 2"),
        ({"x_test": np.zeros([4, 4, 4, 1], np.uint8)}, "must be equally many"),
        ({"x_train": np.zeros([5, 4, 4, 1], np.uint8)}, "take others with --any_data"),
        ({"x_test": np.zeros([5, 4, 4, 1], np.uint8)}, "the test images are not those"),
        ({"x_train": np.full([5, 4, 4, 1], 300)}, "values beyond 0 to 255"),
        ({"x_train": np.full([5, 4, 4, 1], np.nan)}, "values beyond 0 to 1"),
        ({"x_train": np.zeros([5, 16], np.uint8)}, r"shape \(5, 16\); images are"),
        ({"x_train": np.array(["a"] * 5)}, "images are .n, height, width"),
        ({"y_train": [0, 0, 1, 1, 2]}, "2 is none of the program's 2 classes"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(program, change, line):
    path = program.save_images(**change)
    if change.get("y_train") == [0, 0, 1, 1, 2]:
        program.save_images(**change)
    with pytest.raises(Refused, match=line) as refused:
        read_data(path, Program(program.path), tested=True, any_data=False)
    assert "\n" not in str(refused.value)


def test_test_images_are_read_only_where_they_are_asked_for(program):
    np.savez(
        path := program.path / "x.npz", x_train=program.images, y_train=program.labels
    )
    assert len(read_data(path, Program(program.path), False, False)) == 1
    with pytest.raises(Refused, match=r"lacks x_test or y_test; --help says"):
        read_data(path, Program(program.path), True, False)


def test_other_images_may_be_taken(program):
    path = program.save_images(x_train=program.images[::-1])
    (images, _), _ = read_data(path, Program(program.path), True, any_data=True)
    np.testing.assert_array_equal(images, program.images[::-1])


def test_values_become_levels():
    images = np.array([[[-1 / 600, 0.4999, 1 + 1 / 600]]])
    assert to_pixels(images, "x").ravel().tolist() == [0, 127, 255]
