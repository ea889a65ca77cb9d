"""Which files of a class's folder are images, and what lies there beside them.

No file is opened for it, except to tell what one without an extension is.
"""

import collections
import logging
import os
import pathlib
from collections.abc import Collection, Iterator

from dam_tf.base.errors import UserError, listed
from dam_tf.data.real_data import check_class_names, composed
from dam_tf.data.sources.image_files import is_image, readable_extensions

Files = tuple[str, ...]

# What file managers, archives and notebooks leave behind, beside what begins with a
# dot; in lower case.
_RUBBISH_FOLDERS = {
    "__macosx",
    "@eadir",
    "$recycle.bin",
    "recycler",
    "#recycle",
    "#snapshot",
    "system volume information",
    "lost+found",
    "__pycache__",
}
_RUBBISH_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}

_OUTSIDE, _BROKEN = "outside of class folders", "broken link"
_AGAIN, _SPECIAL = "folder linked again", "special file"
_LOST = {_OUTSIDE, _BROKEN, _AGAIN, _SPECIAL}  # what may well be somebody's images
_MOST = 6  # kinds that a line names


class Listing:
    """Lists the classes and images of one data set, and counts what it leaves out.

    Args:
        expected: Endings of files that belong to the data set and are no images.

    Example:
        >>> import tempfile
        >>> cats = pathlib.Path(tempfile.mkdtemp()) / "cat"
        >>> (cats / "young").mkdir(parents=True)
        >>> for name in ("1.jpg", "young/2.jpg", "notes.txt"):
        ...     (cats / name).touch()
        >>> listing = Listing()
        >>> [os.path.relpath(file, cats) for file in listing.images(cats)]
        ['1.jpg', 'young/2.jpg']
        >>> listing.notes("folder:pets")[0][1].partition("; ")[2]
        '1 file is left out: 1 .txt'
    """

    def __init__(self, expected: tuple[str, ...] = ()):
        self._expected = expected
        self._left_out: collections.Counter[str] = collections.Counter()
        self._passed_over: collections.Counter[str] = collections.Counter()
        self._inner: collections.Counter[str] = collections.Counter()
        self._renamed: dict[str, None] = {}

    def class_folders(self, split: pathlib.Path) -> dict[str, pathlib.Path]:
        """Returns the folders of a split by the names of their classes, sorted.

        Names are in Unicode's composed form (NFC), without spaces around them: so
        macOS and Linux agree on what a class is called.

        Raises:
            UserError: the folder cannot be read, holds no folders, or one has a name
                that a class cannot have.
        """
        found: dict[str, pathlib.Path] = {}
        for item in sorted(_items(split), key=lambda item: item.name):
            if not _is_folder(item):
                self._leave_out(item, self._left_out, _OUTSIDE)
            elif _is_rubbish(item.name):
                self._passed_over[item.name] += 1
            else:
                name = self._class_name(split, item.name)
                if name in found:
                    raise UserError(
                        f"{split} has two folders of the class {name!r}: "
                        f"{found[name].name!a} and {item.name!a}; put their "
                        "files into one"
                    )
                found[name] = split / item.name
        if not found:
            raise UserError(
                f"{split} has no class folders (it holds: {held(split)}); make one "
                f"folder a class, as in {split / 'cat' / '1.jpg'}"
            )
        return dict(sorted(found.items()))

    def images(self, folder: pathlib.Path) -> Files:
        """Returns the image files in a class's folder and in folders of it, sorted.

        Links are followed. A folder that several links lead to is read once, and one
        that the class itself lies in, never.

        Raises:
            UserError: there are none, or a folder cannot be read.
        """
        if not folder.is_dir():
            raise UserError(
                f"class {folder.name!r} has no folder {folder}; add its images"
            )
        found: list[str] = []
        left_out: collections.Counter[str] = collections.Counter()
        for place, items in self._walk(folder, left_out):
            images = [item for item in items if not self._leave_out(item, left_out)]
            found += [os.path.join(place, item.name) for item in images]
            if images and place != str(folder):
                first = pathlib.Path(place).relative_to(folder).parts[0]
                self._inner[first] += len(images)
        self._left_out += left_out
        if not found:
            holds = _counted(left_out) or "nothing"
            raise UserError(
                f"class {folder.name!r} has no image in {folder} (it holds: {holds}); "
                "add images, such as JPEG or PNG files, or remove the folder from "
                "every split"
            )
        return tuple(sorted(found))

    def check_all(
        self, folder: pathlib.Path, known: Collection[str], where: str
    ) -> None:
        """Counts the images in `folder` that are not among the files `known`.

        Args:
            folder: Is listed.
            known: Paths.
            where: The name of the file that lists them.
        """
        if spare := len(set(self.images(folder)) - set(known)):
            self._left_out[f"not in {where}"] += spare

    def notes(self, name: str) -> list[tuple[int, str]]:
        """Returns what is to be said of the data set `name`: levels and lines."""
        parts = []
        if self._inner.keys() - {"images"}:  # which Tiny ImageNet has in every class
            parts.append(
                "images in folders within the classes count too: "
                f"{self._inner.total():,} in {listed(sorted(self._inner))}"
            )
        if files := self._left_out.total():
            are = "file is" if files == 1 else "files are"
            parts.append(f"{files:,} {are} left out: {_counted(self._left_out)}")
        if folders := self._passed_over:
            parts.append(f"folders that are passed over: {listed(sorted(folders))}")
        said = []
        if parts:
            is_lost = _LOST & self._left_out.keys()
            level = logging.WARNING if is_lost else logging.INFO
            said.append((level, f"{name}: {'; '.join(parts)}"))
        if self._renamed:
            names = ", ".join(map(repr, self._renamed))
            line = f"{name}: spaces around the names of classes are left out: {names}"
            said.append((logging.INFO, line))
        return said

    def _class_name(self, split: pathlib.Path, folder: str) -> str:
        try:
            folder.encode()
        except UnicodeEncodeError:
            written = os.fsencode(folder)
            raise UserError(
                f"the class folder {written!r} in {split} is not named in UTF-8; "
                f"rename it, for example to {written.decode('latin-1')!r}"
            ) from None
        name = composed(folder).strip()
        if name != composed(folder):
            self._renamed[folder] = None
        try:
            check_class_names([name])
        except UserError as error:
            raise UserError(f"class folder {folder!r} in {split}: {error}") from None
        return name

    def _walk(
        self, folder: pathlib.Path, left_out: collections.Counter[str]
    ) -> Iterator[tuple[str, list[os.DirEntry]]]:
        """Yields each folder of a class, and what it holds beside folders."""
        real = os.path.realpath(folder)
        read = _parents(real) | _parents(os.path.abspath(folder))
        waiting = [(str(folder), real)]
        while waiting:
            place, real = waiting.pop()
            if real in read:
                left_out[_AGAIN] += 1
                continue
            read.add(real)
            files, inner = [], []
            for item in _items(place):
                if not _is_folder(item):
                    files.append(item)
                elif _is_rubbish(item.name):
                    self._passed_over[item.name] += 1
                else:
                    inner.append(item)
            yield place, files
            # Real folders come first, so that links add only what is not there.
            inner.sort(key=lambda item: (item.is_symlink(), item.name), reverse=True)
            for item in inner:
                path, inside = (os.path.join(at, item.name) for at in (place, real))
                is_link = item.is_symlink()
                waiting.append((path, os.path.realpath(path) if is_link else inside))

    def _leave_out(
        self, item: os.DirEntry, count: collections.Counter[str], images: str = ""
    ) -> bool:
        """Counts a file unless it is an image; or also one, where `images` says how."""
        kind = _kind(item) or images
        if kind and not (self._expected and item.name.endswith(self._expected)):
            count[kind] += 1
        return bool(kind)


def _kind(item: os.DirEntry) -> str:
    """Returns what a file counts as that is left out; "" for an image."""
    if item.name.lower() in _RUBBISH_FILES:
        return item.name.strip()
    if item.name.startswith("."):
        return "hidden"
    if not _is_file(item):  # so pipes and devices are never opened
        return _BROKEN if item.is_symlink() and not os.path.exists(item) else _SPECIAL
    extension = os.path.splitext(item.name)[1].lower()
    if extension in readable_extensions() or (not extension and is_image(item.path)):
        return ""
    return extension.encode(errors="replace").decode() or "without an extension"


def held(folder: pathlib.Path) -> str:
    """Returns what a folder holds, for a message: a few names."""
    return listed(sorted(item.name for item in _items(folder)), most=5) or "nothing"


def _items(folder: os.PathLike | str) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as items:
            return list(items)
    except OSError as error:
        raise UserError(
            f"cannot read the folder {folder} ({error.strerror}); make it readable, or "
            "remove it"
        ) from None


def _is_folder(item: os.DirEntry) -> bool:
    try:
        return item.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file(item: os.DirEntry) -> bool:
    try:
        return item.is_file()
    except OSError:
        return False


def _is_rubbish(folder: str) -> bool:
    return folder.startswith(".") or folder.lower() in _RUBBISH_FOLDERS


def _parents(path: str) -> set[str]:
    return {os.path.realpath(parent) for parent in pathlib.Path(path).parents}


def _counted(kinds: collections.Counter[str]) -> str:
    """Returns how many there are of each kind, the most first."""
    some = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    texts = []
    for kind, count in some[:_MOST]:
        plural = "s" if count > 1 and kind in (_BROKEN, _SPECIAL) else ""
        kind = "folders linked again" if count > 1 and kind == _AGAIN else kind
        texts.append(f"{count:,} {kind}{plural}")
    if rest := sum(count for _, count in some[_MOST:]):
        texts.append(f"{rest:,} of other kinds")
    return ", ".join(texts)
