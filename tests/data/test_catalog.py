import pathlib
import subprocess
import sys

import pytest
import tensorflow_datasets as tfds

from dam_tf.base.errors import UserError
from dam_tf.config.sections import OPERATIONS
from dam_tf.config.settings import read_config
from dam_tf.data.catalog import CATALOG, IMAGENETTE, lookup

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


def labels_of_tfds(name):
    file = f"image_classification/{name}_labels.txt"
    return tfds.core.tfds_path(file).read_text().split()


def test_every_name_is_found_under_itself():
    for name in CATALOG:
        assert lookup(name).name == name


def test_unknown_name_is_told_the_nearest():
    with pytest.raises(UserError, match=r"'cifar1O' \(did you mean 'cifar10'\?\)"):
        lookup("cifar1O")


@pytest.mark.parametrize("name", ["folder:", "npz:"])
def test_path_is_needed(name):
    with pytest.raises(UserError, match=f"'{name}' lacks a path; write {name}PATH"):
        lookup(name)


@pytest.mark.parametrize("name", ["file:there", "cifar10:there", "", ":"])
def test_other_prefixes_are_unknown(name):
    with pytest.raises(UserError, match="unknown data set"):
        lookup(name)


def test_path_may_hold_a_colon():
    assert lookup("npz:C:/there.npz").path == "C:/there.npz"


def test_imagenet_subsets_are_ten_classes_of_imagenet():
    imagenet = set(labels_of_tfds("imagenet_resized"))
    for name in ("imagenette", "imagewoof", "imagesquawk"):
        wordnet = CATALOG[name].wordnet
        assert len(set(wordnet.values())) == len(wordnet) == CATALOG[name].classes == 10
        assert set(wordnet) <= imagenet


def test_imagenette_is_that_of_tfds():
    assert list(IMAGENETTE) == labels_of_tfds("imagenette")


@pytest.mark.parametrize("name", [name for name, e in CATALOG.items() if e.tfds])
def test_archives_are_those_that_tfds_asks_for(name):
    entry = CATALOG[name]
    url_infos = tfds.builder_cls(entry.tfds.split("/")[0]).url_infos
    known = {info.filename for info in url_infos.values()}
    assert entry.downloads and set(entry.downloads) <= known


def test_every_data_set_has_a_configuration_that_fits():
    assert {file.stem for file in CONFIGS.glob("*.toml")} == set(CATALOG)
    for name, entry in CATALOG.items():
        config = read_config(CONFIGS / f"{name}.toml")
        assert config.dataset.name == name
        kept = [op for op in OPERATIONS if op != "flip" or entry.flips]
        assert list(config.augmentation.operations) == kept
        whitened = name in ("cifar10", "cifar100")
        assert config.dataset.preprocessing == ("zca" if whitened else "standardize")


def test_data_sets_can_be_named_without_tensorflow():
    code = (
        "import sys, dam_tf.data.catalog, dam_tf.data.loading;"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
