"""Folders of image files in a known layout: Tiny ImageNet, and an ImageNet tree."""

import collections
import os
import pathlib
from collections.abc import Mapping

from dam_tf.base.errors import UserError
from dam_tf.config.sections import DatasetConfig
from dam_tf.data.catalog import Entry
from dam_tf.data.sources.folders import (
    TEST,
    Split,
    Tree,
    check_same_classes,
    read_tree,
    split_folder,
)
from dam_tf.data.sources.listing import Files, Listing

_TINY_LAYOUT = "train/<wnid>/images/*, val/images/* and val/val_annotations.txt"
_TINY_BESIDE = ("_boxes.txt", "val_annotations.txt")  # where its images lie


def tiny_imagenet_tree(entry: Entry, config: DatasetConfig) -> Tree:
    """Lists Tiny ImageNet as it is distributed, or sorted into `val/<wnid>/*`.

    Training images lie in `train/<wnid>/images/*` or directly in `train/<wnid>/*`.
    Classes are named by `words.txt` where that file is there.
    """
    root = _local_root(entry, config, _TINY_LAYOUT, "tiny-imagenet-200")
    listing = Listing(expected=_TINY_BESIDE)
    val, annotations = root / "val", root / "val" / "val_annotations.txt"
    train = listing.class_folders(root / "train")
    wordnet = tuple(train)
    test: Split
    if (val / "images").is_dir():
        test = _annotated(val / "images", annotations, wordnet)
        known = [file for files in test.values() for file in files]
        listing.check_all(val / "images", known, annotations.name)
    else:
        test = listing.class_folders(val)
        check_same_classes(root / "train", train, val, test)
    names = _class_names(wordnet, _words(root / "words.txt"))
    return read_tree(entry.name, config, listing, names, train, test)


def imagenet_tree(entry: Entry, config: DatasetConfig) -> Tree:
    """Lists the classes of `entry.wordnet` in `train/<wnid>/*` and `val/<wnid>/*`."""
    root = _local_root(entry, config, "train/<wnid>/* and val/<wnid>/*", "imagenet")
    train, test = (
        {name: folder / name for name in entry.wordnet}
        for folder in (split_folder(root, ("train",)), split_folder(root, TEST))
    )
    names = tuple(entry.wordnet.values())
    return read_tree(entry.name, config, Listing(), names, train, test)


def holds_imagenet(entry: Entry, config: DatasetConfig) -> bool:
    """Whether `data_dir` holds an ImageNet tree with a class of `entry`."""
    return any(
        (root / "train" / wordnet_id).is_dir()
        for root in _candidates(entry, config, "imagenet")
        for wordnet_id in entry.wordnet
    )


def _candidates(entry: Entry, config: DatasetConfig, folder: str) -> list[pathlib.Path]:
    if not config.data_dir:
        return []
    root = pathlib.Path(config.data_dir).expanduser()
    return [root, root / entry.name, root / folder]


def _local_root(
    entry: Entry, config: DatasetConfig, layout: str, folder: str
) -> pathlib.Path:
    """Returns where the tree lies: `data_dir` or a folder of it named for the set."""
    candidates = _candidates(entry, config, folder)
    if not candidates:
        raise UserError(
            f"{entry.name} is read from local files; set dataset.data_dir (--data_dir) "
            f"to a folder that holds {layout}"
        )
    for root in candidates:
        if (root / "train").is_dir():
            return root
    raise UserError(
        f"{entry.name}: found no train/ in {' or '.join(map(str, candidates))}; "
        f"dataset.data_dir must hold {layout}"
    )


def _words(file: pathlib.Path) -> dict[str, str]:
    """Reads `wnid<TAB>first name, other names` lines; the first name of each id."""
    if not file.is_file():
        return {}
    rows = (line.split("\t") for line in _lines(file))
    return {row[0]: row[1].split(",")[0] for row in rows if len(row) > 1}


def _lines(file: pathlib.Path) -> list[str]:
    return file.read_text(encoding="utf-8", errors="replace").splitlines()


def _class_names(wordnet: tuple[str, ...], words: Mapping[str, str]) -> tuple[str, ...]:
    names = [words.get(wordnet_id, wordnet_id) for wordnet_id in wordnet]
    shared = {name for name, uses in collections.Counter(names).items() if uses > 1}
    return tuple(
        f"{name} ({wordnet_id})" if name in shared else name
        for name, wordnet_id in zip(names, wordnet, strict=True)
    )


def _annotated(
    images: pathlib.Path, annotations: pathlib.Path, wordnet: tuple[str, ...]
) -> dict[str, Files]:
    """Returns the files of each class as `val_annotations.txt` says."""
    if not annotations.is_file():
        raise UserError(
            f"{annotations} is missing; it says which class each image in {images} has"
        )
    found: dict[str, list[str]] = {wordnet_id: [] for wordnet_id in wordnet}
    for number, line in enumerate(_lines(annotations), start=1):
        fields = line.split("\t")
        if len(fields) < 2 or fields[1] not in found:
            raise UserError(
                f"{annotations}, line {number}: expected 'file<TAB>wnid<TAB>...' with "
                f"a wnid that train/ has, not {line!r}"
            )
        file = images / fields[0]
        if not os.path.isfile(file):  # nor can there be one of too long a name
            raise UserError(f"{annotations}, line {number}: no such image: {file}")
        found[fields[1]].append(str(file))
    for wordnet_id, files in found.items():
        if not files:
            raise UserError(f"class {wordnet_id!r} has no image in {annotations}")
    return {wordnet_id: tuple(sorted(files)) for wordnet_id, files in found.items()}
