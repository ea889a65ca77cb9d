import functools
import io
import os
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from dam_tf import plots
from dam_tf.plots import grids


def image_set(rng, num_classes, per_class, side=8, channels=3):
    images = rng.random((num_classes * per_class, side, side, channels), np.float32)
    labels = rng.permutation(np.repeat(np.arange(num_classes), per_class))
    return images, labels


def read(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def enlarged(image: np.ndarray, factor: int) -> np.ndarray:
    """An independent enlargement: Pillow's, without interpolation."""
    pixels = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    size = (image.shape[1] * factor, image.shape[0] * factor)
    mode = Image.fromarray(np.broadcast_to(pixels, [*image.shape[:2], 3]).copy())
    return np.asarray(mode.resize(size, Image.Resampling.NEAREST))


def places(picture: np.ndarray, part: np.ndarray) -> list[tuple[int, int]]:
    """Where `part` appears in `picture`, exactly: top, left."""
    height, width = part.shape[:2]
    corners = np.argwhere((picture[:-height, :-width] == part[0, 0]).all(-1))
    return [
        (top, left)
        for top, left in corners.tolist()
        if (picture[top : top + height, left : left + width] == part).all()
    ]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("per_class", [1, 2, 4])
def test_every_image_is_there_exactly_and_beside_its_class(
    rng, tmp_path, channels, per_class
):
    images, labels = image_set(rng, 5, per_class, channels=channels)
    plots.save_grid(images, labels, list("abcde"), tmp_path / "grid.png")
    picture = read(tmp_path / "grid.png")
    found = {}
    for label, image in zip(labels, images, strict=True):
        (place,) = places(picture, enlarged(image, 16))
        found.setdefault(label, []).append(place)
    for of_class in found.values():
        assert len({top for top, _ in of_class}) == 1
        steps = np.diff([left for _, left in of_class])
        assert (steps == 16 * 8 + 2).all()
    corners = [of_class[0] for of_class in found.values()]
    assert len(set(corners)) == 5


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ((0.0, 0.2, 0.4, 0.6), (0, 51, 102, 153)),  # as they are
        ((0.0, 0.5, 1.0, 2.0), (0, 64, 128, 255)),  # 0..2
        ((-1.0, 0.0, 0.0, 1.0), (0, 128, 128, 255)),  # -1..1
        ((0.0, np.nan, 1.0, 1.0), (0, 0, 255, 255)),
    ],
)
def test_contrast_is_reduced_only_where_values_leave_the_range(values, shown):
    image = np.array(values, np.float32).reshape(1, 2, 2, 1)
    picture = plots.grid_array(image, np.array([0]))
    expected = np.unique([*shown, 255])  # 255 is the paper, too
    np.testing.assert_allclose(np.unique(picture), expected, atol=1)


def test_one_wild_value_does_not_hide_the_rest():
    image = np.full([1, 10, 10, 1], 0.5, np.float32)
    image[0, 0, 0] = 1000
    picture = plots.grid_array(image, np.array([0]))
    reach = 2.5 * image.std() + image.mean()
    assert round(255 * 0.5 / reach) in np.unique(picture)


def test_array_has_every_image_and_no_others(rng):
    images, labels = image_set(rng, 3, 2)
    grid = plots.grid_array(images, labels)
    assert grid.dtype == np.uint8
    assert grid.ndim == 3 and grid.shape[-1] == 3
    for image in images:
        assert len(places(grid, enlarged(image, 8))) == 1
    assert (grid != 255).any(-1).sum() == 6 * 64 * 64


def test_array_stops_at_the_most_images_per_class(rng):
    images, labels = image_set(rng, 2, 5)
    grid = plots.grid_array(images, labels, max_per_class=2)
    shown = [len(places(grid, enlarged(image, 8))) for image in images]
    for index in range(2):
        assert np.array(shown)[labels == index].tolist() == [1, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("num_classes", "per_class", "side"),
    [(1, 1, 8), (2, 1, 8), (10, 1, 32), (10, 50, 32), (100, 1, 32), (100, 10, 32),
     (200, 1, 64)],
)  # fmt: skip
def test_pictures_are_neither_too_large_nor_too_small(
    tmp_path, num_classes, per_class, side
):
    images = np.zeros([num_classes * per_class, side, side, 1], np.float32)
    labels = np.repeat(np.arange(num_classes), per_class)
    names = [f"class_{i}" for i in range(num_classes)]
    path = tmp_path / "grid.png"
    plots.save_grid(images, labels, names, path)
    height, width = read(path).shape[:2]
    assert max(height, width) < 4000
    assert width / height < 3.5 and height / width < 3.5
    shown = num_classes * min(per_class, 10)
    assert height * width > shown * 64 * 64


def test_classes_without_images_and_with_different_numbers(rng, tmp_path):
    images = rng.random((4, 8, 8, 3))
    labels = np.array([3, 0, 0, 0])
    plots.save_grid(images, labels, ["a", "none", "none either", "d"], tmp_path / "x")
    picture = read(tmp_path / "x")
    assert all(len(places(picture, enlarged(image, 16))) == 1 for image in images)


def ink(tmp_path, name: str, beside: bool) -> np.ndarray:
    """Where the name of a white image's class leaves marks."""
    count = 3 if beside else 1
    images, labels = np.ones([2 * count, 8, 8, 1]), np.repeat([0, 1], count)
    plots.save_grid(images, labels, [name, "a name of some length"], tmp_path / "x.png")
    return read(tmp_path / "x.png")


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("name", ["$x^2$", "$unclosed", "a" * 300, "犬", "a_b", r"\n"])
def test_any_name_can_be_written(tmp_path, name, beside):
    picture = ink(tmp_path, name, beside)
    assert max(picture.shape) < 1000
    blank = ink(tmp_path, " ", beside)
    assert (picture < 200).sum() > (blank < 200).sum()
    assert (picture[:, :5] == 255).all() and (picture[:, -5:] == 255).all()


def test_what_was_left_out_is_said(rng, tmp_path):
    images, labels = image_set(rng, 3, 5)
    names = ["a", "b", "c"]
    plots.save_grid(images, labels, names, tmp_path / "part.png", max_per_class=3)
    few = np.concatenate([np.flatnonzero(labels == i)[:3] for i in range(3)])
    plots.save_grid(images[few], labels[few], names, tmp_path / "all.png")
    part, whole = read(tmp_path / "part.png"), read(tmp_path / "all.png")
    assert len(part) > len(whole)
    np.testing.assert_array_equal(part[: len(whole)], whole)
    assert (part[len(whole) :] < 200).any()


def test_details_and_then_classes_give_way_where_there_is_no_room(
    rng, tmp_path, monkeypatch
):
    """Means of 2 x 2 pixels show all; with less room, the first classes are shown."""
    written: list[str] = []
    write, fit = grids._write, grids._fit

    def note(figure, x, y, text, *rest, **alignment):
        written.append(text)
        return write(figure, x, y, text, *rest, **alignment)

    monkeypatch.setattr(grids, "_write", note)
    images, labels = image_set(rng, 12, 3, side=128)
    means = images.reshape(-1, 64, 2, 64, 2, 3).mean((2, 4))
    names = [f"name {i}" for i in range(12)]
    for limit, notes in (
        (400, ["1 of 3 images per class", "images at 1/2 of their size"]),
        (320, ["images at 1/2 of their size", "the first {} of 12 classes"]),
    ):
        monkeypatch.setattr(grids, "_LIMIT", limit)
        monkeypatch.setattr(grids, "_fit", functools.partial(fit, glance=limit))
        written.clear()
        plots.save_grid(images, labels, names, tmp_path / "grid.png")
        picture = read(tmp_path / "grid.png")
        assert picture.shape[1] <= limit
        shown = [
            len(places(picture, enlarged(means[labels == index][0], 1)))
            for index in range(12)
        ]
        assert shown == sorted(shown, reverse=True)
        assert sum(shown) == 12 if limit == 400 else 0 < sum(shown) < 12
        for one in notes:
            assert one.format(sum(shown)) in written


def test_many_classes_take_little_more_memory_than_their_picture(rng, tmp_path):
    images, labels = image_set(rng, 150, 1, side=64)
    names = [str(i) for i in range(150)]
    plots.save_grid(images[:2], labels[:2] % 2, "ab", tmp_path / "first.png")
    tracemalloc.start()
    try:
        plots.save_grid(images, labels, names, tmp_path / "grid.png")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * read(tmp_path / "grid.png").nbytes


def test_a_failure_keeps_the_old_picture(rng, tmp_path, monkeypatch):
    images, labels = image_set(rng, 2, 1)
    path = tmp_path / "grid.png"
    plots.save_grid(images, labels, ["a", "b"], path)
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        plots.save_grid(images[::-1], labels, ["a", "b"], path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["grid.png"]


@pytest.mark.parametrize("shape", [(2, 8, 8), (2, 8, 8, 2), (2, 8, 8, 4)])
def test_refuses_what_is_no_image(shape, tmp_path):
    with pytest.raises(ValueError, match="1 or 3"):
        plots.grid_array(np.zeros(shape), np.array([0, 1]))
    with pytest.raises(ValueError, match="1 or 3"):
        plots.save_grid(np.zeros(shape), np.array([0, 1]), "ab", tmp_path / "x.png")


def test_no_window_and_no_global_figure(rng, tmp_path):
    import matplotlib

    backend = matplotlib.rcParams._get_backend_or_none()
    images, labels = image_set(rng, 2, 1)
    plots.save_grid(images, labels, ["a", "b"], tmp_path / "x.png")
    assert matplotlib.rcParams._get_backend_or_none() == backend
    assert Image.open(io.BytesIO((tmp_path / "x.png").read_bytes())).format == "PNG"
