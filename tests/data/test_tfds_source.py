import socket

import numpy as np
import pytest
import tensorflow_datasets as tfds

from dam_tf.base.errors import UserError
from dam_tf.config.sections import DatasetConfig
from dam_tf.data.catalog import CATALOG, IMAGENETTE
from dam_tf.data.loading import open_source


def prepare(folder, name, version, shapes, labels, test="test", config=None):
    """Writes a data set as TFDS leaves it after downloading and preparing.

    The image of the i-th label is of the shade 10 * label + i.
    """

    def examples(count):
        for number in range(count):
            label = number % len(labels)
            shape = shapes[number % len(shapes)]
            image = np.full(shape, 10 * label + number // len(labels), np.uint8)
            yield number, {"image": image, "label": label}

    same = len(set(shapes)) == 1
    features = {
        "image": tfds.features.Image(shape=shapes[0] if same else (None, None, 3)),
        "label": tfds.features.ClassLabel(names=labels),
    }
    tfds.disable_progress_bar()
    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version=version,
        config=config,
        features=tfds.features.FeaturesDict(features),
        split_datasets={
            "train": examples(5 * len(labels)),
            test: examples(2 * len(labels)),
        },
        data_dir=folder,
    )


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A folder with three prepared data sets."""
    folder = tmp_path_factory.mktemp("tfds")
    names = ["airplane", "automobile", "bird", "cat"]
    prepare(folder, "cifar10", "3.0.2", [(32, 32, 3)], names)
    sizes = [(140, 160, 3), (200, 130, 3)]
    prepare(
        folder, "imagenette", "1.0.0", sizes, [*IMAGENETTE], "validation", "320px-v2"
    )
    return str(folder)


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", refuse)


def test_prepared_folder_is_used_quietly_without_network(
    data_dir, load, no_network, capfd
):
    data = load("cifar10", data_dir=data_dir)
    assert capfd.readouterr() == ("", "")
    assert data.class_names == ("airplane", "automobile", "bird", "cat")
    assert data.image_shape == (32, 32, 3)
    assert data.train.offsets.tolist() == [0, 5, 10, 15, 20]
    assert sorted(data.train.class_images(2)[:, 3, 3, 0]) == [20, 21, 22, 23, 24]
    assert sorted(data.test.class_images(3)[:, 3, 3, 0]) == [30, 31]


def test_max_classes_and_image_size(data_dir, load):
    data = load("cifar10", data_dir=data_dir, max_classes=2, image_size=16)
    assert data.train.images.shape == (10, 16, 16, 3)
    assert data.class_names == ("airplane", "automobile")
    with pytest.raises(UserError, match="max_classes is 5, but cifar10 has 4"):
        load("cifar10", data_dir=data_dir, max_classes=5)


def test_imagenette_is_128x128_with_names_in_words(data_dir, load):
    data = load("imagenette", data_dir=data_dir)
    assert data.image_shape == (128, 128, 3)
    assert data.class_names == tuple(IMAGENETTE.values())
    assert len(data.test.images) == 20  # its split is named validation
    assert sorted(data.train.class_images(9)[:, 60, 60, 0]) == [90, 91, 92, 93, 94]


def test_cache(data_dir, load, tmp_path):
    memory = load("cifar10", data_dir=data_dir)
    for _ in range(2):
        data = load("cifar10", data_dir=data_dir, cache="disk")
        assert isinstance(data.train.images, np.memmap)
        np.testing.assert_array_equal(data.train.images, memory.train.images)


@pytest.mark.parametrize("max_classes", [None, 3])
def test_it_can_be_read_from_any_image_on(data_dir, max_classes, monkeypatch):
    monkeypatch.setattr("dam_tf.data.sources.tfds.CHUNK", 4)
    config = DatasetConfig("cifar10", data_dir=data_dir, max_classes=max_classes)
    split = open_source(config).look().train

    def read(first):
        chunks = list(split.chunks(first))
        return [np.concatenate(parts) for parts in zip(*chunks, strict=True)]

    images, labels = read(0)
    assert len(images) == 5 * (max_classes or 4)
    for first in (1, 8, 14):
        rest = read(first)
        np.testing.assert_array_equal(rest[0], images[first:])
        np.testing.assert_array_equal(rest[1], labels[first:])


def test_without_network_it_says_which_file_to_put_where(tmp_path, load, no_network):
    with pytest.raises(UserError) as caught:
        load("cifar100", data_dir=str(tmp_path))
    message = str(caught.value)
    assert "Name or service not known" in message
    assert f"cifar-100-binary.tar.gz into {tmp_path}/downloads/manual (" in message
    assert f"prepared elsewhere at {tmp_path}/cifar100/" in message
    assert "\n" not in message


@pytest.mark.parametrize("name", [name for name, e in CATALOG.items() if e.tfds])
def test_all_of_tfds_say_so(tmp_path, load, no_network, name):
    with pytest.raises(UserError) as caught:
        load(name, data_dir=str(tmp_path))
    assert all(archive in str(caught.value) for archive in CATALOG[name].downloads)
    assert f"{tmp_path}/downloads/manual" in str(caught.value)


@pytest.mark.parametrize("place", [".", "cifar10"])
def test_archive_that_is_not_the_right_one(tmp_path, load, no_network, place):
    manual = tmp_path / "downloads" / "manual" / place
    manual.mkdir(parents=True)
    (manual / "cifar-10-binary.tar.gz").write_bytes(b"not what TFDS knows")
    with pytest.raises(
        UserError, match=r"cannot be downloaded and prepared .*has wrong"
    ):
        load("cifar10", data_dir=str(tmp_path))


def test_damaged_records(tmp_path, load):
    prepare(tmp_path, "cifar10", "3.0.2", [(32, 32, 3)], ["a", "b"])
    (record,) = tmp_path.glob("cifar10/3.0.2/*train.tfrecord*")
    record.write_bytes(record.read_bytes()[:-50])
    with pytest.raises(
        UserError, match=r"cannot read .*cifar10/3\.0\.2: .*remove that"
    ):
        load("cifar10", data_dir=str(tmp_path))


def test_prepared_folder_without_test_images(tmp_path, load):
    prepare(tmp_path, "cifar10", "3.0.2", [(32, 32, 3)], ["a", "b"], test="extra")
    with pytest.raises(UserError, match=r"cifar10/3\.0\.2 has no test or validation"):
        load("cifar10", data_dir=str(tmp_path))


def test_any_image_data_set_of_tfds(tmp_path, load):
    names = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]  # TFDS'
    prepare(tmp_path, "kmnist", "3.0.1", [(28, 28, 1)], names, test="extra")
    data = load("kmnist", data_dir=str(tmp_path), max_classes=2)
    assert data.class_names == ("o", "ki") and data.image_shape == (28, 28, 1)
    assert data.test is None and data.train.offsets.tolist() == [0, 5, 10]


def test_images_of_several_sizes_need_one_for_all(tmp_path, load):
    sizes, names = [(20, 30, 3), (30, 20, 3)], [*"abcde"]
    prepare(tmp_path, "tf_flowers", "3.0.1", sizes, names)
    with pytest.raises(UserError, match="images of tf_flowers have several sizes"):
        load("tf_flowers", data_dir=str(tmp_path))
    data = load("tf_flowers", data_dir=str(tmp_path), image_size=16)
    assert data.image_shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("imdb_reviews", "imdb_reviews of TFDS has text, label; it needs"),
        ("eurosat/nothing", "TFDS cannot make 'eurosat/nothing'"),
        ("kmnistt", r"unknown data set 'kmnistt' \(did you mean 'kmnist'\?\)"),
    ],
)
def test_what_tfds_has_not_or_is_no_set_of_images(tmp_path, load, name, pattern):
    with pytest.raises(UserError, match=pattern) as caught:
        load(name, data_dir=str(tmp_path))
    assert "\n" not in str(caught.value) and not [*tmp_path.iterdir()]
