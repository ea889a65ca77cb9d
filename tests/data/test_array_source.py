import numpy as np
import pytest
import sklearn.datasets

import dam_tf
from dam_tf.base.errors import UserError


@pytest.fixture
def arrays(rng):
    """Five classes, in no order, of 4x6 colour images that show their label."""
    labels = rng.permutation(np.arange(40) % 5)
    images = rng.integers(0, 200, [40, 4, 6, 3], np.uint8)
    images[:, 0, 0, 0] = 200 + labels
    return {
        "x_train": images,
        "y_train": labels,
        "x_test": images[::-1][:20],
        "y_test": labels[::-1][:20],
    }


@pytest.fixture
def load_arrays(tmp_path, load):
    def load_arrays(arrays, **settings):
        np.savez(tmp_path / "data.npz", **arrays)
        return load(f"npz:{tmp_path / 'data.npz'}", **settings)

    return load_arrays


def test_npz_is_sorted_by_class_and_keeps_the_order_within(arrays, load_arrays):
    data = load_arrays(arrays)
    order = np.argsort(arrays["y_train"], kind="stable")
    np.testing.assert_array_equal(data.train.images, arrays["x_train"][order])
    np.testing.assert_array_equal(data.train.labels, arrays["y_train"][order])
    assert data.class_names == ("0", "1", "2", "3", "4")
    assert (data.test.images[:, 0, 0, 0] == 200 + data.test.labels).all()


def test_chunks_do_not_matter(arrays, load_arrays, monkeypatch):
    monkeypatch.setattr("dam_tf.data.sources.arrays.CHUNK", 7)
    data = load_arrays(arrays)
    order = np.argsort(arrays["y_train"], kind="stable")
    np.testing.assert_array_equal(data.train.images, arrays["x_train"][order])


def test_npz_of_grey_images_and_a_column_of_labels(arrays, load_arrays):
    arrays["x_train"], arrays["x_test"] = (
        arrays["x_train"][..., 0],
        arrays["x_test"][..., :1],
    )
    arrays["y_train"] = arrays["y_train"][:, np.newaxis].astype(np.uint8)
    data = load_arrays(arrays)
    assert data.image_shape == (4, 6, 1) and data.train.labels.dtype == np.int64


def test_npz_max_classes_and_image_size(arrays, load_arrays):
    data = load_arrays(arrays, max_classes=3, image_size=5)
    assert data.train.images.shape == (24, 5, 5, 3)
    assert data.train.offsets.tolist() == [0, 8, 16, 24]


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (lambda a: {"x_train": a["x_train"]}, "lacks y_train"),
        (lambda a: {"data": a["x_train"], "labels": a["y_train"]}, "lacks x_train"),
        (
            lambda a: {**a, "x_train": a["x_train"] * 1.0},
            "x_train .* values .* 0 to 1",
        ),
        (lambda a: {**a, "x_test": a["x_test"] - 300.0}, r"x_test .* before you save"),
        (lambda a: {**a, "x_train": a["x_train"] * np.nan}, "x_train .* NaN"),
        (lambda a: {**a, "x_train": a["x_train"][0, 0]}, r"x_train .* shape \(6, 3\)"),
        (lambda a: {**a, "x_train": a["x_train"][..., :2]}, "with 1 or 3 channels"),
        (lambda a: {**a, "x_train": a["x_train"] * 1j}, "complex128; pixels must be"),
        (
            lambda a: {**a, "x_train": np.moveaxis(a["x_train"], -1, 1)},
            r"shape \(40, 3, 4, 6\); .*; channels come last: np.moveaxis\(images, 1",
        ),
        (lambda a: {**a, "x_test": a["x_test"][:0]}, r"x_test .* shape \(0, "),
        (lambda a: {**a, "x_test": a["x_test"][:, :3]}, "must have the same shape"),
        (lambda a: {**a, "y_train": a["y_train"] + 0.5}, "label 0.5 of image|whole"),
        (lambda a: {**a, "y_train": a["y_train"][1:]}, "40 images .* 39 labels"),
        (lambda a: {**a, "y_train": np.int64(3)}, "40 images .* no list of labels"),
        (lambda a: {**a, "y_train": 0 * a["y_train"]}, "all images are of one class"),
        (
            lambda a: {**a, "y_test": a["y_test"] + 1},
            "y_test .* label 5, but the",
        ),
        (
            lambda a: {**a, "y_train": np.eye(7)[a["y_train"]]},
            "class '5' has no image",
        ),
        (
            lambda a: {**a, "y_test": np.eye(4)[a["y_test"] % 4]},
            "y_test .* 4 classes .* there are 5 class names",
        ),
        (
            lambda a: {**a, "y_train": np.ones([40, 5], int)},
            r"y_train .* several classes .* row 0 is \[1, 1, 1, 1, 1\]; a classifier",
        ),
        (
            lambda a: {**a, "x_train": np.array([{}])},
            "cannot read .*data.npz: its x_train holds Python objects",
        ),
        (
            lambda a: {**a, "x_train": np.zeros([40], "i4,f4")},
            r"x_train .* shape \(40,\)",
        ),
    ],
)
def test_unfit_npz(arrays, load_arrays, change, pattern):
    with pytest.raises(UserError, match=pattern) as caught:
        load_arrays(change(arrays))
    assert "data" in str(caught.value) and "\n" not in str(caught.value)


MEDMNIST = {
    "train_images": "x_train",
    "train_labels": "y_train",
    "test_images": "x_test",
    "test_labels": "y_test",
}


@pytest.mark.parametrize(
    "change",
    [
        lambda a: {ours: a[theirs] for ours, theirs in MEDMNIST.items()},
        lambda a: {**a, "y_train": a["y_train"][:, None], "y_test": a["y_test"] * 1.0},
        lambda a: {
            **a,
            **{y: np.eye(5, dtype=int)[a[y]] for y in ("y_train", "y_test")},
        },
        lambda a: {**a, "y_test": np.eye(5)[a["y_test"]].astype(bool)},
        lambda a: {**a, **{x: a[x] / 255 for x in ("x_train", "x_test")}},
        lambda a: {**a, "x_train": (a["x_train"] / 255).astype(np.float32)},
        lambda a: {**a, "x_train": a["x_train"].astype(np.int64)},
        lambda a: {**a, "x_train": np.asfortranarray(a["x_train"])},
    ],
    ids=[
        "medmnist",
        "column",
        "one_hot",
        "bool",
        "floats",
        "float32",
        "int64",
        "fortran",
    ],
)
def test_forms_of_the_same_images_and_labels(arrays, load_arrays, change):
    expected, found = load_arrays(arrays), load_arrays(change(arrays))
    for ours, theirs in ((found.train, expected.train), (found.test, expected.test)):
        np.testing.assert_array_equal(ours.images, theirs.images)
        np.testing.assert_array_equal(ours.labels, theirs.labels)
    assert found.class_names == expected.class_names


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (np.arange(5) + 1, "1 2 3 4 5"),
        (np.array([10, 2, 30, 4, -5]), "-5 2 4 10 30"),  # by value, not as text
        (np.array(["e", "d", "c", "b", "a"]), "a b c d e"),
    ],
)
def test_classes_are_named_by_their_labels(arrays, load_arrays, names, expected):
    """As from Python: each image is of the class that its label names."""
    labels = {key: names[arrays[key]] for key in ("y_train", "y_test")}
    data = load_arrays({**arrays, **labels})
    assert data.class_names == tuple(expected.split())
    for split in (data.train, data.test):
        shown = names[split.images[:, 0, 0, 0] - 200]
        of_image = np.array(data.class_names)[split.labels]
        np.testing.assert_array_equal(of_image, shown.astype(str))


def test_what_is_left_out_of_a_file_is_said(arrays, load_arrays, caplog):
    caplog.set_level("INFO")
    load_arrays({**arrays, "val_images": np.zeros(3), "val_labels": np.zeros(3)})
    assert "data.npz: val_images, val_labels left out." in caplog.text


def test_a_test_class_may_have_no_image(arrays, load_arrays):
    shown = arrays["y_test"] != 2
    some = {"x_test": arrays["x_test"][shown], "y_test": arrays["y_test"][shown]}
    assert load_arrays({**arrays, **some}).test.counts[2] == 0


def test_a_distilled_set_is_no_data(tmp_path, load):
    pixels = np.zeros([2, 8, 8, 1], np.float32)
    distilled = dam_tf.DistilledSet(pixels, np.array([0, 1]), ("cat", "dog"))
    dam_tf.export(distilled, ["npz"], tmp_path / "out", dam_tf.make_config())
    with pytest.raises(UserError, match=r"a distilled set .* give the folder of its"):
        load(f"npz:{tmp_path / 'out' / 'npz' / 'distilled.npz'}")


@pytest.mark.parametrize("length", [0, 10, 100, 2000])
def test_truncated_npz(arrays, load_arrays, load, tmp_path, length):
    load_arrays(arrays)
    file = tmp_path / "data.npz"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(UserError, match=r"cannot read .*data\.npz: .*numpy\.savez"):
        load(f"npz:{file}")


@pytest.mark.parametrize("seed", range(20))
def test_damaged_npz(arrays, load, tmp_path, seed):
    np.savez_compressed(tmp_path / "data.npz", **arrays)
    file = tmp_path / "data.npz"
    content = bytearray(file.read_bytes())
    damage = np.random.default_rng(seed)
    for place in damage.integers(0, len(content), 20):
        content[place] = damage.integers(256)
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"data\.npz"):
        load(f"npz:{file}")


def test_garbage_for_npz(load, tmp_path):
    (tmp_path / "data.npz").write_bytes(b"no npz file at all")
    with pytest.raises(UserError, match=r"cannot read .*data\.npz"):
        load(f"npz:{tmp_path / 'data.npz'}")
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(UserError, match=r"cannot read .*array\.npy"):
        load(f"npz:{tmp_path / 'array.npy'}")


@pytest.mark.parametrize("name", ["nowhere.npz", "."])
def test_missing_npz(load, tmp_path, name):
    with pytest.raises(UserError, match="no such file"):
        load(f"npz:{tmp_path / name}")


def test_digits_are_all_there_and_split_one_to_four(load):
    data = load("digits")
    raw = sklearn.datasets.load_digits()
    assert len(data.train.images) + len(data.test.images) == len(raw.target) == 1797
    assert data.image_shape == (8, 8, 1)
    for digit in range(10):
        of_digit = np.round(raw.images[raw.target == digit] * 255 / 16)
        test = data.test.class_images(digit)[..., 0]
        np.testing.assert_array_equal(test, of_digit[4::5])
        assert len(data.train.class_images(digit)) == len(of_digit) - len(test)
    assert data.train.images.max() == 255 and data.train.images.min() == 0


def test_digits_of_another_size_and_fewer(load):
    data = load("digits", image_size=16, max_classes=3)
    assert data.image_shape == (16, 16, 1) and data.num_classes == 3
    assert (
        abs(
            data.train.images.mean() - load("digits", max_classes=3).train.images.mean()
        )
        < 1
    )


def test_npz_without_test_images_can_be_distilled_but_not_tested(
    arrays, load_arrays, load, tmp_path
):
    train = {"x_train": arrays["x_train"], "y_train": arrays["y_train"]}
    data = load_arrays(train)
    assert data.test is None and len(data.train.images) == 40
    cached = load(f"npz:{tmp_path / 'data.npz'}", data_dir=str(tmp_path), cache="disk")
    assert cached.test is None and cached.fingerprint == data.fingerprint
    verified = load(
        f"npz:{tmp_path / 'data.npz'}", data_dir=str(tmp_path), cache="verify"
    )
    np.testing.assert_array_equal(verified.train.images, data.train.images)
    with pytest.raises(UserError, match="no test images"):
        cached.tested()
