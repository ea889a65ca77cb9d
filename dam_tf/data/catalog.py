"""The one table of data sets: where each comes from, its size and its classes.

Nothing here imports TensorFlow, so a tool can name a data set before it loads one.
"""

import dataclasses
import functools
import os

from dam_tf.base.errors import UserError, check_text, did_you_mean
from dam_tf.data.hints import path_hint

# Table 9 of the DataDAM paper: WordNet id -> name, in the order of the table.
IMAGENETTE = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}
IMAGEWOOF = {
    "n02096294": "Australian terrier",
    "n02093754": "Border terrier",
    "n02111889": "Samoyed",
    "n02088364": "beagle",
    "n02086240": "Shih-Tzu",
    "n02089973": "English foxhound",
    "n02087394": "Rhodesian ridgeback",
    "n02115641": "dingo",
    "n02099601": "golden retriever",
    "n02105641": "Old English sheepdog",
}
IMAGESQUAWK = {
    "n01806143": "peacock",
    "n02007558": "flamingo",
    "n01818515": "macaw",
    "n02051845": "pelican",
    "n02056570": "king penguin",
    "n01614925": "bald eagle",
    "n01843383": "toucan",
    "n01518878": "ostrich",
    "n01860187": "black swan",
    "n01819313": "cockatoo",
}

ARRAYS = "arrays"  # what the names of data sets that were given as arrays begin with

_IDX_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


@dataclasses.dataclass(frozen=True)
class Entry:
    """One data set.

    Attributes:
        name: What the user calls it.
        kind: How it is read: "tfds", "imagenet" (classes of an ImageNet tree),
            "tiny_imagenet", "digits", "folder" or "npz".
        image_size: Height and width of its images; None: that of the files.
        classes: How many; None: as many as the files hold.
        channels: 1 or 3; None: as in the files.
        flips: Whether an image flipped left to right keeps its meaning.
        tfds: The TFDS name, with its configuration, of kind "tfds", and what an
            "imagenet" entry falls back on where no local tree is given.
        downloads: The archives that TFDS wants, for a machine without network.
        wordnet: WordNet id -> class name, for kind "imagenet".
        path: The folder or file of kinds "folder" and "npz".
    """

    name: str
    kind: str
    image_size: int | None = None
    classes: int | None = None
    channels: int | None = None
    flips: bool = True
    tfds: str | None = None
    downloads: tuple[str, ...] = ()
    wordnet: dict[str, str] = dataclasses.field(default_factory=dict)
    path: str = ""


_ENTRIES = (
    Entry("digits", "digits", 8, 10, 1, flips=False),
    Entry("mnist", "tfds", 28, 10, 1, flips=False, tfds="mnist", downloads=_IDX_FILES),
    Entry(
        "fashion_mnist", "tfds", 28, 10, 1, tfds="fashion_mnist", downloads=_IDX_FILES
    ),
    Entry(
        "svhn_cropped",
        "tfds",
        32,
        10,
        3,
        flips=False,
        tfds="svhn_cropped",
        downloads=("train_32x32.mat", "test_32x32.mat", "extra_32x32.mat"),
    ),
    Entry(
        "cifar10",
        "tfds",
        32,
        10,
        3,
        tfds="cifar10",
        downloads=("cifar-10-binary.tar.gz",),
    ),
    Entry(
        "cifar100",
        "tfds",
        32,
        100,
        3,
        tfds="cifar100",
        downloads=("cifar-100-binary.tar.gz",),
    ),
    Entry("tiny_imagenet", "tiny_imagenet", None, 200, 3),
    Entry(
        "imagenet64",
        "tfds",
        64,
        1000,
        3,
        tfds="imagenet_resized/64x64",
        downloads=(
            "Imagenet64_train_part1_npz.zip",
            "Imagenet64_train_part2_npz.zip",
            "Imagenet64_val_npz.zip",
        ),
    ),
    Entry(
        "imagenette",
        "imagenet",
        128,
        10,
        3,
        tfds="imagenette/320px-v2",
        downloads=("imagenette2-320.tgz",),
        wordnet=IMAGENETTE,
    ),
    Entry("imagewoof", "imagenet", 128, 10, 3, wordnet=IMAGEWOOF),
    Entry("imagesquawk", "imagenet", 128, 10, 3, wordnet=IMAGESQUAWK),
)

CATALOG: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}


def lookup(name: str) -> Entry:
    """Returns the entry of a catalog name, `folder:PATH`, `npz:PATH` or a TFDS name.

    A TFDS name may have a configuration, as in `eurosat/rgb`.

    Raises:
        UserError: there is no such data set; the nearest name is suggested.

    Example:
        >>> lookup("cifar10").image_size
        32
        >>> lookup("folder:pictures").path
        'pictures'
    """
    if name in CATALOG:
        return CATALOG[name]
    kind, colon, path = name.partition(":")
    if colon and kind in ("folder", "npz"):
        if not path:
            raise UserError(
                f"dataset.name {name!r} lacks a path; write {kind}:PATH, "
                f"as in {kind}:{'pictures' if kind == 'folder' else 'data.npz'}"
            )
        check_text(f"dataset.name {name!r}", path)
        return Entry(name, kind, path=path)
    if kind == ARRAYS:
        raise UserError(
            f"the data set {name!r} was given to dam_tf.distill as arrays, which only "
            "the program has that gave them; give the images again, for a test as "
            "dam_tf.evaluate(..., x_test, y_test)"
        )
    known = _tfds_names()
    if name.partition("/")[0] in known:
        return Entry(name, "tfds", tfds=name)
    if hint := path_hint(path if colon and os.path.exists(path) else name):
        raise UserError(f"unknown data set {name!r}: {hint}")
    raise UserError(
        f"unknown data set {name!r}{did_you_mean(name, (*CATALOG, *known))}; choose "
        f"one of: {', '.join(CATALOG)}, folder:PATH, npz:PATH, or another of TFDS"
    )


@functools.cache
def _tfds_names() -> tuple[str, ...]:
    """Returns the names that TensorFlow Datasets knows, its own and registered ones."""
    import tensorflow_datasets as tfds  # a second, without TensorFlow

    return tuple(tfds.list_builders(with_community_datasets=False))
