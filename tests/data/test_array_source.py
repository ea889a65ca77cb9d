import numpy as np
import pytest
import sklearn.datasets

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


def shifted(arrays):
    return {**arrays, "y_test": np.where(arrays["y_test"] == 2, 1, arrays["y_test"])}


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (lambda a: {"x_train": a["x_train"]}, "lacks y_train"),
        (lambda a: {**a, "x_train": a["x_train"] / 255}, "x_train is float64, .*uint8"),
        (lambda a: {**a, "x_test": a["x_test"].astype(int)}, "x_test is int64; pixels"),
        (lambda a: {**a, "x_train": a["x_train"][0, 0]}, r"x_train has shape \(6, 3\)"),
        (lambda a: {**a, "x_train": a["x_train"][..., :2]}, "with 1 or 3 channels"),
        (lambda a: {**a, "x_test": a["x_test"][:0]}, r"x_test has shape \(0, "),
        (lambda a: {**a, "x_test": a["x_test"][:, :3]}, "must have the same shape"),
        (
            lambda a: {**a, "y_train": a["y_train"] * 1.0},
            "y_train is float64 .40,.; lab",
        ),
        (
            lambda a: {**a, "y_test": np.eye(5, dtype=int)[a["y_test"]]},
            "y_test is int64",
        ),
        (lambda a: {**a, "y_train": a["y_train"][1:]}, "40 images .* 39 labels"),
        (
            lambda a: {**a, "y_train": a["y_train"] - 1},
            "y_train holds -1; labels start",
        ),
        (
            lambda a: {**a, "y_train": a["y_train"] * 2},
            "class 1 has no image in x_train",
        ),
        (shifted, "class 2 has no image in x_test"),
        (
            lambda a: {**a, "x_train": np.array([{}])},
            "cannot read .*data.npz: its x_train holds Python objects",
        ),
    ],
)
def test_unfit_npz(arrays, load_arrays, change, pattern):
    with pytest.raises(UserError, match=pattern) as caught:
        load_arrays(change(arrays))
    assert "data" in str(caught.value) and "\n" not in str(caught.value)


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
