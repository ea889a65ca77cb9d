import collections
import dataclasses
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.base.devices import split
from dam_tf.base.errors import UserError
from dam_tf.base.machine import usable_cores
from dam_tf.base.seeds import Purpose, drawn_classes
from dam_tf.data.preprocessing.preprocessing import fit_preprocessing
from dam_tf.data.real_data import Split
from dam_tf.data.sampling import ClassBatches
from tests.tiny_data import make_data, save_npz


@pytest.fixture
def data():
    return make_data(per_class=(3, 8, 20, 6), channels=3)


def batches_of(split, first, last, seed=5, group=2):
    batches = ClassBatches(split, 6, seed)
    return [batch.images.numpy() for batch in batches.dataset(first, last, group)]


def test_batches_hold_images_of_their_classes(data):
    elements = batches_of(data.train, 0, 3)
    assert len(elements) == 3 * 2
    for position, element in enumerate(elements):
        assert element.shape == (2, 6, 8, 8, 3) and element.dtype == np.uint8
        for offset in range(2):
            label = position % 2 * 2 + offset
            own = {image.tobytes() for image in data.train.class_images(label)}
            drawn = [image.tobytes() for image in element[offset]]
            assert set(drawn) <= own
            # Without replacement where the class is large enough.
            assert len(set(drawn)) == 6 or len(own) < 6


def test_batches_are_those_of_indices(data):
    batches = ClassBatches(data.train, 6, 5)
    elements = iter(batches.dataset(1, 3, 2))
    for iteration in (1, 2):
        for labels in ((0, 1), (2, 3)):
            rows = [batches.indices(iteration, label) for label in labels]
            element = next(elements)
            np.testing.assert_array_equal(element.classes, labels)
            np.testing.assert_array_equal(element.images, data.train.images[rows])


def test_resumed_equals_uninterrupted(data):
    whole = batches_of(data.train, 0, 5)
    np.testing.assert_array_equal(batches_of(data.train, 3, 5), whole[6:])
    assert not np.array_equal(whole[0], whole[2])
    assert not np.array_equal(batches_of(data.train, 0, 1, seed=6), whole[:2])


@pytest.mark.parametrize("drawn", [4, 3])
@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_shares_together_are_the_classes_of_the_iteration(data, drawn, replicas):
    batches = ClassBatches(data.train, 6, 5, drawn)
    parts = []
    for places in split(drawn, replicas):
        elements = list(batches.dataset(2, 5, len(places), places).as_numpy_iterator())
        assert len(elements) == 3
        parts.append(elements)
    for iteration, found in enumerate(zip(*parts, strict=True), 2):
        classes = drawn_classes(5, iteration, 4, drawn)
        rows = [batches.indices(iteration, label) for label in classes]
        labels, images = (np.concatenate(part) for part in zip(*found, strict=True))
        np.testing.assert_array_equal(labels, classes)
        np.testing.assert_array_equal(images, data.train.images[rows])


def test_images_are_drawn_where_a_graph_asks_for_them(data):
    """Each as likely as the others, none twice; other counters, another draw."""
    batches = ClassBatches(data.train, 6, 5)

    @tf.function
    def some(label, counter):
        return batches.images_of(label, 6, Purpose.PROBE_BATCH, 1, counter)

    own = [image.tobytes() for image in data.train.class_images(2)]
    times = collections.Counter()
    for counter in range(200):
        drawn = [image.tobytes() for image in some(2, tf.constant(counter)).numpy()]
        assert len(set(drawn)) == 6
        times.update(drawn)
    assert set(times) == set(own)
    # 200 draws of 6 in 20 images: 60 each, with a deviation of 6.5.
    assert min(times.values()) > 34 and max(times.values()) < 86
    np.testing.assert_array_equal(some(2, tf.constant(3)), some(2, tf.constant(3)))
    assert len(some(0, tf.constant(0))) == 6, "with replacement, of three images"


def test_no_share_has_no_batches(data):
    batches = ClassBatches(data.train, 6, 5)
    assert not list(batches.dataset(0, 3, 1, range(4, 4)))


@pytest.fixture
def cached(data, load, tmp_path):
    everywhere = dataclasses.replace(data, test=data.train)  # has every class
    name = save_npz(tmp_path / "data.npz", everywhere)
    return load(name, cache="disk", data_dir=str(tmp_path)).train


def test_cache_gives_what_memory_gives(data, cached, load, tmp_path):
    memory = load(f"npz:{tmp_path / 'data.npz'}", cache="memory").train
    np.testing.assert_array_equal(batches_of(cached, 0, 40), batches_of(memory, 0, 40))


def test_rows_in_any_order_and_again(data, cached):
    rows = np.array([36, 0, 5, 5, 12, 36, 1])
    np.testing.assert_array_equal(cached.take(rows), data.train.images[rows])
    assert cached.take(rows[:0]).shape == (0, 8, 8, 3)


def test_disk_that_cannot_be_read(cached, monkeypatch):
    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.preadv", fail)
    with pytest.raises(UserError, match=r"is damaged: train: .*Input/output error"):
        cached.take(np.array([3]))


@dataclasses.dataclass(frozen=True)
class SlowSplit(Split):
    """Takes long for some batches, and notes how many are read at once."""

    reading: list[int] = dataclasses.field(default_factory=list)
    most: list[int] = dataclasses.field(default_factory=list)
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def take(self, rows):
        with self.lock:
            self.reading.append(0)
            self.most.append(len(self.reading))
        time.sleep(0.02 * (int(rows.sum()) % 3))
        with self.lock:
            self.reading.pop()
        return self.images[rows]


def test_order_is_kept_whoever_is_ready_first(data):
    slow = SlowSplit(data.train.images, data.train.labels, data.train.offsets)
    np.testing.assert_array_equal(
        batches_of(slow, 0, 12), batches_of(data.train, 0, 12)
    )
    assert max(slow.most) > 1 or usable_cores() == 1


def test_batches_are_loaded_ahead(data):
    slow = SlowSplit(data.train.images, data.train.labels, data.train.offsets)
    elements = iter(ClassBatches(slow, 6, 5).dataset(0, 12, 2))
    next(elements)
    for _ in range(500):
        if len(slow.most) >= 3:
            break
        time.sleep(0.01)
    assert len(slow.most) >= 3  # without a step having asked for them


def test_damaged_image_is_named_from_inside_a_step(cached):
    with open(cached.file.path, "r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    batches = ClassBatches(cached, 6, 5)

    @tf.function
    def step(elements):
        return tf.reduce_sum(tf.cast(next(elements).images, tf.int32))

    elements = iter(batches.dataset(0, 100, 2))
    with pytest.raises(UserError, match=r"is damaged.*image 5 of class '3'"):
        while True:
            with batches.failures_named():
                step(elements)
    with (
        pytest.raises(tf.errors.InvalidArgumentError, match="other"),
        ClassBatches(cached, 6, 5).failures_named(),
    ):
        tf.debugging.Assert(False, ["other"])


def test_parts_are_read_like_those_of_an_array(data, cached):
    for images, expected in (
        (cached.checked_images(), data.train.images),
        (cached.class_images(2), data.train.class_images(2)),
    ):
        assert images.shape == expected.shape and images.dtype == expected.dtype
        assert len(images) == len(expected)
        for key in (slice(3, 9), slice(15, 99), np.array([7, 0, 7]), -1):
            np.testing.assert_array_equal(images[key], expected[key])
        both = np.concatenate([images, images])
        np.testing.assert_array_equal(both, np.concatenate([expected, expected]))
    assert data.train.checked_images() is data.train.images


def test_damage_is_named_when_preprocessing_is_fitted(cached):
    with open(cached.file.path, "r+b") as file:
        file.seek(1000)
        file.write(b"12345")
    with pytest.raises(UserError, match="is damaged: train"):
        fit_preprocessing("standardize", cached.checked_images())
    with pytest.raises(UserError, match="is damaged: train"):
        cached.class_images(1)[:4]
