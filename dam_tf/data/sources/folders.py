"""Data sets of image files: any folder that holds one folder for each class.

A `Tree` says which files belong to which class; no file is opened to list it.
`tree.tree_source` reads it, and `known_folders` lists other layouts.
"""

import dataclasses
import logging
import pathlib
from collections.abc import Collection, Mapping

from dam_tf.base.errors import UserError, listed
from dam_tf.config.sections import DatasetConfig
from dam_tf.data.catalog import Entry
from dam_tf.data.hints import file_hint, layout_hint, wordnet_hint
from dam_tf.data.source import Notes, kept_classes
from dam_tf.data.sources.listing import Files, Listing, held

TEST = ("test", "val", "validation")  # what a folder of test images may be called

# Of one split: the folders of its classes, or their files.
Split = Mapping[str, pathlib.Path] | Mapping[str, Files]

_LAYOUT = "train/<class>/* and, to test on, test/<class>/* (or val/, validation/)"


@dataclasses.dataclass(frozen=True)
class Tree:
    """Which image files belong to which class.

    Attributes:
        class_names: In the order of the labels.
        train: Paths of each class.
        test: Paths of each class; None where there are no test images.
        notes: What is to be said of it, as of a `Source`.
    """

    class_names: tuple[str, ...]
    train: tuple[Files, ...]
    test: tuple[Files, ...] | None = None
    notes: Notes = ()


def folder_tree(entry: Entry, config: DatasetConfig) -> Tree:
    """Lists `train/<class>/**` and `test|val|validation/<class>/**`, classes sorted.

    A folder without test images is read too: it can be distilled.

    Raises:
        UserError: `train/` is missing, a class has no image, or the splits have
            different classes.
    """
    root = pathlib.Path(entry.path).expanduser()
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        hint = file_hint(entry.path) or f"give a folder that holds {_LAYOUT}"
        raise UserError(f"{entry.name}: {root} {what}; {hint}")
    try:
        return _folder_tree(root, entry.name, config)
    except UserError as error:
        if hint := layout_hint(root):
            raise UserError(f"{error}; {hint}") from None
        raise


def _folder_tree(root: pathlib.Path, name: str, config: DatasetConfig) -> Tree:
    listing = Listing()
    train_folder = split_folder(root, ("train",))
    train, test = listing.class_folders(train_folder), None
    tests = [split for split in TEST if (root / split).is_dir()]
    if tests:
        test = listing.class_folders(root / tests[0])
        check_same_classes(train_folder, train, root / tests[0], test)
    tree = read_tree(name, config, listing, tuple(train), train, test)
    lines = []
    if more := tests[1:]:
        lines.append(f"{tests[0]}/ is tested on; {', '.join(more)}/ is not read")
    if hint := wordnet_hint(root, train):
        lines.append(f"classes are called by their WordNet ids; {hint}")
    notes = ((logging.INFO, f"{name}: {line}") for line in lines)
    return dataclasses.replace(tree, notes=(*tree.notes, *notes))


def read_tree(
    name: str,
    config: DatasetConfig,
    listing: Listing,
    class_names: tuple[str, ...],
    train: Split,
    test: Split | None,
) -> Tree:
    """Returns the files of the classes that `config` keeps.

    Args:
        name: Of the data set.
        config: Says how many classes are kept.
        listing: Lists folders, and knows what was left out.
        class_names: The classes, in the order of `train`.
        train: The folders of its classes, or their files.
        test: The same of the classes in `train`; None where there is no such split.

    Raises:
        UserError: a class has no image, or too many classes are wanted.
    """
    kept = kept_classes(config.max_classes, len(train), name)

    def files_of(split: Split) -> tuple[Files, ...]:
        of_classes = [split[key] for key in list(train)[:kept]]
        return tuple(
            listing.images(one) if isinstance(one, pathlib.Path) else one
            for one in of_classes
        )

    images = files_of(train)
    tested = None if test is None else files_of(test)
    return Tree(class_names[:kept], images, tested, tuple(listing.notes(name)))


def split_folder(root: pathlib.Path, names: tuple[str, ...]) -> pathlib.Path:
    """Returns the first folder of `names` that `root` has.

    Raises:
        UserError: it has none.
    """
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise UserError(
        f"{root} has no folder {' or '.join(f'{name}/' for name in names)} "
        f"(it holds: {held(root)}); expected {_LAYOUT}"
    )


def check_same_classes(
    train: pathlib.Path,
    train_classes: Collection[str],
    test: pathlib.Path,
    test_classes: Collection[str],
) -> None:
    """Raises a `UserError` unless both folders have the same classes."""
    for here, there, missing in (
        (train, test, set(train_classes) - set(test_classes)),
        (test, train, set(test_classes) - set(train_classes)),
    ):
        if missing:
            raise UserError(
                f"classes of {here} that {there} lacks: {listed(sorted(missing))}; "
                "both need the same class folders"
            )
