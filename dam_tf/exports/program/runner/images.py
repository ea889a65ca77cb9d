"""Real images, from an npz file or a folder of pictures, as a program wants them.

They become what dam_tf makes of them, so that their checksums are those of the
manifest.
"""

import concurrent.futures
import os
import pathlib
import unicodedata
import zlib

import numpy as np

from .files import Bar, Program, Refused, read_npz, reason, say

ARRAYS = (
    (("x_train", "y_train"), ("x_test", "y_test")),
    (("train_images", "train_labels"), ("test_images", "test_labels")),
)
FOLDERS = (("train",), ("test", "val", "validation"))
# What Pillow cannot draw, and folders of thumbnails or of what was deleted.
NO_PICTURES = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "PDF", "WMF"}
NO_FOLDERS = {"__macosx", "@eadir", "#recycle", "#snapshot", "$recycle.bin", "recycler"}


def read_data(path: pathlib.Path, program: Program, tested: bool, any_data: bool):
    """Reads an npz file or a folder of pictures, and compares it with the manifest.

    Args:
        path: The file or the folder.
        program: Says what it must hold.
        tested: Whether test images are read, too.
        any_data: Whether other images will do, if they are as many.

    Returns:
        uint8 `[n, h, w, c]` sorted by class, and int64 `[n]`, of each split.
    """
    try:
        read = read_folder if path.is_dir() else read_arrays
        splits = read(path, program, tested)
    except OSError as error:
        raise Refused(f"cannot read {error.filename}: {reason(error)}") from None
    data, found = program.data, []
    for kind, (images, labels) in zip(("train", "test"), splits, strict=False):
        order = np.argsort(labels, kind="stable")
        images, labels = np.ascontiguousarray(images[order]), labels[order]
        counts = np.bincount(labels, minlength=len(program.classes)).tolist()
        checks = [(f"the shape of {kind} images", images.shape[1:], program.shape)]
        if kind == "train":
            pairs = zip(program.classes, counts, data["train_counts"], strict=True)
            checks += [(f"training images of {name!r}", n, m) for name, n, m in pairs]
        else:
            checks += [("the number of test images", len(labels), data["test_count"])]
        for what, here, wanted in checks:
            if here != wanted:
                raise Refused(
                    f"{path}: {what}: {here}, and the program is for {wanted}"
                )
        if zlib.crc32(images) != data[f"{kind}_crc32"] and not any_data:
            raise Refused(
                f"{path}: the {kind} images are not those of {data['name']} that the "
                "program was compiled for; give these, or take others with --any_data"
            )
        found.append((images, labels))
    return found


def read_arrays(path: pathlib.Path, program: Program, tested: bool):
    """Returns the images and labels of an npz file, as `read_data`, not yet sorted."""
    arrays = read_npz(path, {name for s in ARRAYS for pair in s for name in pair})
    names = next((some for some in ARRAYS if some[0][0] in arrays), ARRAYS[0])
    splits, classes = [], program.classes
    for name, of in names[: 1 + tested]:
        if name not in arrays or of not in arrays:
            raise Refused(f"{path} lacks {name} or {of}; --help says what it must hold")
        images, labels = to_pixels(arrays[name], f"{name} of {path}"), arrays[of]
        if labels.ndim == 2 and labels.shape[1] > 1:
            labels = labels.argmax(axis=1)  # one-hot
        if labels.shape not in ((len(images),), (len(images), 1)):
            raise Refused(f"{path}: {name} and {of} must be equally many")
        labels = labels.ravel().tolist()
        if not splits and not set(classes) <= set(labels):  # by number, not by name
            classes = sorted(set(labels))
        place = {one: k for k, one in enumerate(classes[: len(program.classes)])}
        strange = sorted(set(labels) - place.keys())
        if strange and "dataset.max_classes" not in program.settings:
            raise Refused(
                f"{of} of {path}: {strange[0]!r} is none of the program's "
                f"{len(place)} classes"
            )
        kept = [row for row, label in enumerate(labels) if label in place]
        numbers = [place[labels[row]] for row in kept]
        splits.append((images[kept], np.array(numbers, np.int64)))
    return splits


def to_pixels(images: np.ndarray, what: str) -> np.ndarray:
    """Returns uint8 `[n, h, w, c]` of whole numbers, or of floating point in 0..1.

    Example:
        >>> to_pixels(np.array([[[0.0, 0.5, 1.0]]]), "x").ravel()
        array([  0, 128, 255], dtype=uint8)
    """
    kind = images.dtype.kind
    images = images[..., None] if images.ndim == 3 else images
    if images.ndim != 4 or not images.size or kind not in "biuf":
        shape = f"{images.dtype} of shape {images.shape}"
        raise Refused(f"{what} are {shape}; images are [n, height, width, channels]")
    most, slack = (1, 1 / 510) if kind == "f" else (255, 0)
    if not -slack <= images.min() <= images.max() <= most + slack:
        raise Refused(f"{what} have {images.dtype} values beyond 0 to {most}")
    if kind == "f":
        images = [np.round(np.clip(x.astype("f8") * 255, 0, 255)) for x in images]
    images = np.asarray(images).astype(np.uint8, copy=False)
    return images * np.uint8(255) if kind == "b" else images


def read_folder(root: pathlib.Path, program: Program, tested: bool):
    """Returns the pictures in the folders of the classes, as `read_data`."""
    splits = []
    for names in FOLDERS[: 1 + tested]:
        split = next((root / name for name in names if (root / name).is_dir()), None)
        if split is None:
            raise Refused(f"{root} has no folder {'/ or '.join(names)}/")
        inner = {_composed(item.name): item for item in split.iterdir()}
        files, labels, others = [], [], len(inner.keys() - program.classes)
        for label, name in enumerate(program.classes):
            found, more = _pictures(inner.get(name, split / name))
            if not found:
                raise Refused(f"{split / name} is missing, or has no picture")
            files += found
            labels += [label] * len(found)
            others += more
        if others:
            say(f"{split}: {others:,} files or folders are left out: no pictures of it")
        bar = Bar(f"Reading {split}:", 0, len(files))
        images = np.empty([len(files), *program.shape], np.uint8)
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            decoded = pool.map(_decode, files, [program.shape] * len(files))
            for row, image in enumerate(decoded):
                images[row] = image
                bar.show(row + 1)
        splits.append((images, np.array(labels, np.int64)))
    return splits


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip()


def _pictures(folder: pathlib.Path) -> tuple[list[str], int]:
    """Returns the picture files of a class, sorted, and how many other files it has."""
    import PIL.Image

    PIL.Image.init()
    known = PIL.Image.registered_extensions().items()
    readable = PIL.Image.OPEN.keys() - NO_PICTURES
    endings = {".jfif", ".mpo", *(end for end, kind in known if kind in readable)}
    found, others, read = [], 0, set()
    for place, inner, names in os.walk(folder, followlinks=True):
        if os.path.realpath(place) in read:  # behind another link
            inner.clear()
            continue
        read.add(os.path.realpath(place))
        inner[:] = [x for x in inner if x[0] != "." and x.lower() not in NO_FOLDERS]
        for name in names:
            ending = os.path.splitext(name)[1].lower()
            if name[0] != "." and (ending in endings or not ending):
                found.append(os.path.join(place, name))
            else:
                others += 1
    return sorted(found), others


def _decode(file: str, shape: tuple[int, int, int]) -> np.ndarray:
    """Returns a picture, uint8 of `shape`: turned as EXIF asks, on white, resized."""
    import PIL.Image
    import PIL.ImageOps

    try:
        with PIL.Image.open(file) as stored:
            picture = PIL.ImageOps.exif_transpose(stored)
            picture.load()
    except PIL.UnidentifiedImageError:
        raise Refused(f"cannot read {file}: no picture that Pillow knows") from None
    except Exception as error:  # of many types, for damaged files
        raise Refused(f"cannot read {file}: {reason(error)}") from None
    if picture.mode.startswith("I"):  # 16 bits
        values = np.asarray(picture).astype(np.uint32)
        levels = (values * 255 + 32767) // 65535
        picture = PIL.Image.fromarray(levels.astype(np.uint8))
    plain = "L" if PIL.Image.getmodebase(picture.mode) == "L" else "RGB"
    if plain == "RGB" and shape[2] == 1:
        raise Refused(f"{file} is a colour picture, and the program is for grey ones")
    if picture.has_transparency_data:
        picture = picture.convert(f"{plain}A")
        white = PIL.Image.new(plain, picture.size, "white")
        white.paste(picture.convert(plain), mask=picture.getchannel("A"))
        picture = white
    picture = picture.convert(plain)
    size, target = np.array(picture.size), np.array([shape[1], shape[0]])
    if (size != target).any():  # the largest part of that shape, from the centre
        box = np.round((size / target).min() * target).astype(int)
        box = np.clip(box, 1, size)
        left, top = ((size - box) // 2).tolist()
        picture = picture.crop((left, top, left + int(box[0]), top + int(box[1])))
        picture = picture.resize(target.tolist(), PIL.Image.Resampling.BILINEAR)
    return np.asarray(picture.convert("L" if shape[2] == 1 else "RGB")).reshape(shape)
