"""What to write for a path that was given in the wrong way: words for error messages.

Paths are only looked at here, nothing is read.
"""

import os
import pathlib
import re
import shlex
from collections.abc import Collection

from dam_tf.base.errors import UserError
from dam_tf.data.sources.image_files import readable_extensions

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar")
_FILES = {".npz", *_ARCHIVES}
_WORDNET = re.compile(r"n\d{8}")
_SPLITS = {"train", "test", "val", "validation"}
_MOST = 1000  # entries of a folder that are looked at


def path_hint(path: str) -> str:
    """Returns how to name data that lie at `path`; "" where nothing lies there.

    Example:
        >>> import tempfile
        >>> path_hint("nowhere")
        ''
        >>> folder = tempfile.mkdtemp()
        >>> path_hint(folder) == f"it is a folder; write --dataset=folder:{folder}"
        True
    """
    place = pathlib.Path(path).expanduser()
    if not place.is_dir():
        return file_hint(path)
    if _is_tiny_imagenet(place):
        return f"it is a folder of Tiny ImageNet; write {_tiny_imagenet(path)}"
    return f"it is a folder; write {_flag(f'folder:{path}')}"


def file_hint(path: str) -> str:
    """Returns what to do with a file that was given as a data set; "" if it is none."""
    if not path or not os.path.isfile(os.path.expanduser(path)):
        return ""
    if path.lower().endswith(".npz"):
        return f"it is an npz file; write {_flag(f'npz:{path}')}"
    if path.lower().endswith(_ARCHIVES):
        return "it is an archive; unpack it and give its folder, as folder:PATH"
    return "give a folder of images as folder:PATH, or arrays in a file as npz:PATH"


def check_no_folder(path: str) -> None:
    """Raises a `UserError` if the file of `npz:PATH` is a folder or an archive."""
    place = os.path.expanduser(path)
    if os.path.isdir(place):
        raise UserError(f"npz:{path}: no such file: {path_hint(path)}")
    if os.path.isfile(place) and path.lower().endswith(_ARCHIVES):
        raise UserError(f"npz:{path} is no npz file: {file_hint(path)}")


def layout_hint(root: pathlib.Path) -> str:
    """Returns what a folder may be that is not laid out as `folder:` wants it.

    Args:
        root: The folder.

    Returns:
        What to do; "" where nothing can be said.
    """
    if _is_tiny_imagenet(root):
        return f"it looks like Tiny ImageNet: write {_tiny_imagenet(str(root))}"
    train = root / "train"
    if hint := wordnet_hint(root, _folders(train)):
        return hint
    if not train.is_dir():
        inner = _folders(root)
        for name in inner:
            if (root / name / "train").is_dir():
                return f"did you mean {_flag(f'folder:{root / name}')}?"
        for file in sorted(root.glob("*"))[:_MOST]:
            if hint := file_hint(str(file)) if file.suffix in _FILES else "":
                return f"{file.name} lies there: {hint}"
        classes = [one for one in inner if _holds_images(root / one)]
        if classes and not _SPLITS & set(classes):
            return (
                f"it looks as if {', '.join(classes[:3])} were classes: move their "
                f"folders into {train}, and some images of each into "
                f"{root / 'test'} to test on"
            )
    elif (train / "train").is_dir():
        return f"did you mean {_flag(f'folder:{train}')}?"
    return ""


def wordnet_hint(root: pathlib.Path, classes: Collection[str]) -> str:
    """Returns how to read classes that are called by WordNet ids; "" if they are not.

    Example:
        >>> wordnet_hint(pathlib.Path("pets"), ["cat", "dog"])
        ''
    """
    if not classes or not all(map(_WORDNET.fullmatch, classes)):
        return ""
    if _is_tiny_imagenet(root):
        return f"it looks like Tiny ImageNet: write {_tiny_imagenet(str(root))}"
    return (
        "it looks like ImageNet: for its subsets write --dataset=imagenette, imagewoof "
        f"or imagesquawk and {shlex.quote(f'--data_dir={root}')}, with val/<wnid>/*"
    )


def _is_tiny_imagenet(root: pathlib.Path) -> bool:
    return (root / "train").is_dir() and (
        (root / "val" / "val_annotations.txt").is_file()
        or (root / "wnids.txt").is_file()
    )


def _tiny_imagenet(path: str) -> str:
    return f"--dataset=tiny_imagenet {shlex.quote(f'--data_dir={path}')}"


def _flag(dataset: str) -> str:
    return shlex.quote(f"--dataset={dataset}")


def _folders(place: pathlib.Path) -> list[str]:
    """Returns the names of some folders in `place`, sorted; none if it is none."""
    try:
        with os.scandir(place) as items:
            some = [item for item, _ in zip(items, range(_MOST), strict=False)]
    except OSError:
        return []
    return sorted(
        item.name for item in some if item.is_dir() and not item.name.startswith(".")
    )


def _holds_images(folder: pathlib.Path) -> bool:
    try:
        with os.scandir(folder) as items:
            return any(
                os.path.splitext(item.name)[1].lower() in readable_extensions()
                for item, _ in zip(items, range(_MOST), strict=False)
            )
    except OSError:
        return False
