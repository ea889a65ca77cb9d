"""Data sets of image files: any folder by class, Tiny ImageNet, an ImageNet tree.

A `Tree` says which files belong to which class; no file is opened to list it.
`tree_source.tree_source` reads it.
"""

import collections
import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterable, Mapping

from dam_tf.base.errors import UserError
from dam_tf.config.sections import DatasetConfig
from dam_tf.data.catalog import Entry
from dam_tf.data.source import kept_classes

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")

Files = tuple[str, ...]

_TEST = ("test", "val", "validation")
_LAYOUT = "train/<class>/* and, to test on, test/<class>/* (or val/, validation/)"
_TINY_LAYOUT = "train/<wnid>/images/*, val/images/* and val/val_annotations.txt"


@dataclasses.dataclass(frozen=True)
class Tree:
    """Which image files belong to which class.

    Attributes:
        class_names: In the order of the labels.
        train: Paths of each class.
        test: Paths of each class; None where there are no test images.
    """

    class_names: tuple[str, ...]
    train: tuple[Files, ...]
    test: tuple[Files, ...] | None = None


def folder_tree(entry: Entry, config: DatasetConfig) -> Tree:
    """Lists `train/<class>/*` and `test|val|validation/<class>/*`, classes sorted.

    A folder without test images is read too: it can be distilled.

    Raises:
        UserError: `train/` is missing, a class has no image, or the splits have
            different classes.
    """
    root = pathlib.Path(entry.path).expanduser()
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise UserError(
            f"{entry.name}: {root} {what}; give a folder that holds {_LAYOUT}"
        )
    train, test = _split_folder(root, ("train",)), None
    classes = _class_folders(train)
    if any((root / name).is_dir() for name in _TEST):
        test = _split_folder(root, _TEST)
        _check_same_classes(train, classes, test, _class_folders(test))
    return _tree(classes, classes, train, test, config, entry.name)


def tiny_imagenet_tree(entry: Entry, config: DatasetConfig) -> Tree:
    """Lists Tiny ImageNet as it is distributed, or sorted into `val/<wnid>/*`.

    Training images lie in `train/<wnid>/images/*` or directly in `train/<wnid>/*`.
    Classes are named by `words.txt` where that file is there.
    """
    root = _local_root(entry, config, _TINY_LAYOUT, "tiny-imagenet-200")
    train, val = root / "train", root / "val"
    wordnet = _class_folders(train)
    annotations = val / "val_annotations.txt"
    names = _class_names(wordnet, _words(root / "words.txt"))
    if (val / "images").is_dir():
        listed = _annotated(val / "images", annotations, wordnet)
        return _tree(wordnet, names, train, listed, config, entry.name)
    _check_same_classes(train, wordnet, val, _class_folders(val))
    return _tree(wordnet, names, train, val, config, entry.name)


def imagenet_tree(entry: Entry, config: DatasetConfig) -> Tree:
    """Lists the classes of `entry.wordnet` in `train/<wnid>/*` and `val/<wnid>/*`."""
    root = _local_root(entry, config, "train/<wnid>/* and val/<wnid>/*", "imagenet")
    train, test = _split_folder(root, ("train",)), _split_folder(root, _TEST)
    names = tuple(entry.wordnet.values())
    return _tree(tuple(entry.wordnet), names, train, test, config, entry.name)


def holds_imagenet(entry: Entry, config: DatasetConfig) -> bool:
    """Whether `data_dir` holds an ImageNet tree with a class of `entry`."""
    return any(
        (root / "train" / wordnet_id).is_dir()
        for root in _candidates(entry, config, "imagenet")
        for wordnet_id in entry.wordnet
    )


def _tree(
    folders: tuple[str, ...],
    class_names: tuple[str, ...],
    train: pathlib.Path,
    test: pathlib.Path | Mapping[str, Files] | None,
    config: DatasetConfig,
    name: str,
) -> Tree:
    kept = kept_classes(config.max_classes, len(folders), name)

    def files_of(split: pathlib.Path | Mapping[str, Files]) -> tuple[Files, ...]:
        if isinstance(split, pathlib.Path):
            return tuple(_images(split / folder) for folder in folders[:kept])
        return tuple(split[folder] for folder in folders[:kept])

    listed = None if test is None else files_of(test)
    return Tree(class_names[:kept], files_of(train), listed)


def _images(folder: pathlib.Path) -> Files:
    """Returns the image files of one class, sorted, from `folder` or its `images/`."""
    if not folder.is_dir():
        raise UserError(f"class {folder.name!r} has no folder {folder}; add its images")
    for place in (folder, folder / "images"):
        with (
            os.scandir(place) if place.is_dir() else contextlib.nullcontext(()) as items
        ):
            names = sorted(
                item.name
                for item in items
                if item.name.lower().endswith(EXTENSIONS)
                and not item.name.startswith(".")
                and item.is_file()
            )
        if names:
            return tuple(os.path.join(place, name) for name in names)
    raise UserError(
        f"class {folder.name!r} has no image in {folder}; add images "
        f"({', '.join(EXTENSIONS)}) or remove the folder from every split"
    )


def _split_folder(root: pathlib.Path, names: tuple[str, ...]) -> pathlib.Path:
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise UserError(
        f"{root} has no folder {' or '.join(f'{name}/' for name in names)} "
        f"(it holds: {_listing(item.name for item in root.iterdir())}); "
        f"expected {_LAYOUT}"
    )


def _class_folders(split: pathlib.Path) -> tuple[str, ...]:
    names = tuple(
        sorted(
            item.name
            for item in split.iterdir()
            if item.is_dir() and not item.name.startswith(".")
        )
    )
    if not names:
        raise UserError(
            f"{split} has no class folders (it holds: "
            f"{_listing(item.name for item in split.iterdir())}); "
            f"make one folder a class, as in {split / 'cat' / '1.jpg'}"
        )
    return names


def _check_same_classes(
    train: pathlib.Path, train_classes: Files, test: pathlib.Path, test_classes: Files
) -> None:
    for here, there, missing in (
        (train, test, set(train_classes) - set(test_classes)),
        (test, train, set(test_classes) - set(train_classes)),
    ):
        if missing:
            raise UserError(
                f"classes of {here} that {there} lacks: {_listing(missing)}; both need "
                "the same class folders"
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
    rows = (line.split("\t") for line in file.read_text().splitlines())
    return {row[0]: row[1].split(",")[0] for row in rows if len(row) > 1}


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
    for number, line in enumerate(annotations.read_text().splitlines(), start=1):
        fields = line.split("\t")
        if len(fields) < 2 or fields[1] not in found:
            raise UserError(
                f"{annotations}, line {number}: expected 'file<TAB>wnid<TAB>...' with "
                f"a wnid that train/ has, not {line!r}"
            )
        file = images / fields[0]
        if not file.is_file():
            raise UserError(f"{annotations}, line {number}: no such image: {file}")
        found[fields[1]].append(str(file))
    for wordnet_id, files in found.items():
        if not files:
            raise UserError(f"class {wordnet_id!r} has no image in {annotations}")
    return {wordnet_id: tuple(sorted(files)) for wordnet_id, files in found.items()}


def _listing(names: Iterable[str], most: int = 5) -> str:
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "nothing"
