"""One image file, by Pillow: whether it is one, its shape as shown, and its pixels.

What is made of the pixels stands in `decoding.py`. TensorFlow is not imported here:
data sets are listed without it.
"""

import contextlib
import functools
import logging
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple

import PIL.Image
import PIL.ImageFile

from dam_tf.base.threads import Budget

LARGEST = 250_000_000  # pixels of an image; cameras and telephones take up to 200

Shape = tuple[int, int, int]
Turn = PIL.Image.Transpose | None

# Kinds that Pillow cannot draw, or only by calling another program; videos.
_NO_PICTURES = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "PDF", "WMF"}

_ORIENTATION = 0x0112  # the number of EXIF, and what its values ask for
_TURNS = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}
# How the chunks of a PNG begin that may hold an orientation.
_TURNING = (b"eXIf", b"tEXtRaw profile", b"zTXtRaw profile", b"iTXtXML:com.adobe.xmp")

# What often lies under the name of an image, by how it begins.
_NO_IMAGES = {
    rb"\s*<(!doctype )?html": "a web page",
    rb"\s*<(svg|\?xml)": "an SVG drawing, or another text",
    rb"%pdf": "a PDF",
    rb"....ftyp(hei|hev|mif1|msf1)": "an HEIC photograph, to be saved as JPEG",
    rb"version https://git-lfs": "a Git LFS pointer, which 'git lfs pull' replaces",
}

_decoded = Budget(LARGEST)  # pixels that all threads hold at a time


class Unreadable(Exception):
    """Why an image file cannot be read."""


class Header(NamedTuple):
    """What a file says of its image.

    Attributes:
        shape: Height, width and channels (1 or 3) of the image as it is shown, which
            is after the turn that EXIF asks for.
        more: Whether other images follow in the file: frames or pages.
        deep: Whether it is grey of 16 bits.
    """

    shape: Shape
    more: bool
    deep: bool


@functools.cache
def readable_extensions() -> frozenset[str]:
    """Returns what names of image files that can be read here end with.

    Example:
        >>> {".jpg", ".jfif", ".tif", ".ppm"} <= readable_extensions()
        True
        >>> ".pdf" in readable_extensions() or ".mpg" in readable_extensions()
        False
    """
    kinds = set(_kinds())
    known = PIL.Image.registered_extensions().items()
    # .mpo is a JPEG with further images behind the first.
    return frozenset(
        [".jfif", ".mpo", *(suffix.lower() for suffix, kind in known if kind in kinds)]
    )


def is_image(path: str | os.PathLike[str]) -> bool:
    """Tells by the contents of a file, whatever its name, whether it is an image.

    One that is damaged behind its first bytes, or cannot be read, still counts.
    """
    marked = [kind for kind in _kinds() if PIL.Image.OPEN[kind][1]]
    try:
        with reading(), _open(path, marked):
            return True
    except PIL.UnidentifiedImageError:
        return False
    except Exception:  # Pillow raises errors of many types for a damaged file
        return True


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Sets Pillow for a pass over files: our limit on pixels, and no grumbling.

    These are switches of the whole process, so they are set once around all threads
    of a pass, not by each of them.
    """
    image, files = PIL.Image, PIL.ImageFile
    before = image.MAX_IMAGE_PIXELS, files.LOAD_TRUNCATED_IMAGES
    logger = logging.getLogger("PIL.TiffImagePlugin")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        logger.addFilter(_nothing)
        image.MAX_IMAGE_PIXELS = LARGEST // 2  # Pillow refuses more than twice that
        files.LOAD_TRUNCATED_IMAGES = False
        try:
            yield
        finally:
            image.MAX_IMAGE_PIXELS, files.LOAD_TRUNCATED_IMAGES = before
            logger.removeFilter(_nothing)


def read_header(file: str) -> Header:
    """Reads the header of a file, within `reading`; no pixels are decoded.

    Raises:
        Unreadable: it is no image, too large, or its header is damaged.
    """
    with _failures(file), _open(file) as picture:
        shape, _ = _shape_and_turn(picture)
        return Header(shape, _holds_more(picture), picture.mode.startswith("I"))


@contextlib.contextmanager
def opened(file: str) -> Iterator[tuple[PIL.Image.Image, Shape, Turn]]:
    """Decodes the first image of a file, within `reading`.

    Yields:
        The image as it is stored, its shape as in `Header`, and how it is
        turned to be shown.

    Raises:
        Unreadable: it is no image, too large, or damaged.
    """
    with contextlib.ExitStack() as held:
        with _failures(file):
            picture = held.enter_context(_open(file))
            shape, turn = _shape_and_turn(picture)
            held.enter_context(_decoded.share(picture.width * picture.height))
            picture.load()
            if picture.mode in ("P", "PA") and picture.palette is None:
                raise ValueError("its palette is missing")
        yield picture, shape, turn


@contextlib.contextmanager
def _open(
    file: str | os.PathLike[str], kinds: Sequence[str] | None = None
) -> Iterator[PIL.Image.Image]:
    # Of a path, Pillow would map the file into memory, and turn some TIFFs wrongly.
    with (
        open(file, "rb") as stream,
        PIL.Image.open(stream, formats=kinds or _kinds()) as picture,
    ):
        yield picture


@functools.cache
def _kinds() -> tuple[str, ...]:
    """Returns Pillow's names of the kinds of files that are read, likely ones first.

    Those that have no mark at the beginning of the file come last.
    """
    PIL.Image.init()
    named = set(PIL.Image.registered_extensions().values()) - _NO_PICTURES
    return tuple(
        sorted(
            (kind for kind in PIL.Image.ID if kind in named),
            key=lambda kind: (
                kind not in ("JPEG", "PNG"),
                PIL.Image.OPEN[kind][1] is None,
            ),
        )
    )


def _nothing(_: logging.LogRecord) -> bool:
    return False


def _shape_and_turn(picture: PIL.Image.Image) -> tuple[Shape, Turn]:
    mode, kind = picture.mode, picture.format
    if mode == "F" or (mode == "I" and kind not in ("PNG", "PPM")):
        raise Unreadable(
            f"pixels of Pillow's mode {mode}, whose black and white are not known; 8 "
            "and 16 bits are read"
        )
    width, height = picture.size
    orientation = _orientation(picture)
    # Pillow turns a TIFF itself, and gives its size turned where a tag says so.
    by_tag = _ORIENTATION in getattr(picture, "tag_v2", ())
    if orientation >= 5 and not by_tag:
        width, height = height, width
    channels = 1 if PIL.Image.getmodebase(mode) == "L" else 3
    turn = None if kind == "TIFF" else _TURNS.get(orientation)
    return (height, width, channels), turn


def _orientation(picture: PIL.Image.Image) -> int:
    """Returns what EXIF or XMP says, 1 to 8; 1 where they are missing or damaged."""
    try:
        if picture.format == "PNG" and not _may_be_turned(picture.fp):
            return 1  # a PNG is decoded to look for more of it
        orientation = picture.getexif().get(_ORIENTATION)
    except Exception:  # of many types, for damaged EXIF
        return 1
    return orientation if orientation in _TURNS else 1


def _may_be_turned(png: IO[bytes]) -> bool:
    """Whether a PNG has a chunk, before or behind its pixels, that may turn it."""
    place, most = png.tell(), max(map(len, _TURNING)) - 4
    try:
        png.seek(8)
        while len(head := png.read(8)) == 8 and head[4:] != b"IEND":
            length = int.from_bytes(head[:4], "big")
            start = png.read(min(length, most))
            if (head[4:] + start).startswith(_TURNING):
                return True
            png.seek(length - len(start) + 4, os.SEEK_CUR)
    finally:
        png.seek(place)
    return False


def _holds_more(picture: PIL.Image.Image) -> bool:
    if picture.format in ("MPO", "PSD"):  # previews, and layers
        return False
    try:
        return getattr(picture, "is_animated", False)
    except Exception:  # a GIF that is damaged behind its first frame
        return True


@contextlib.contextmanager
def _failures(file: str | os.PathLike[str]) -> Iterator[None]:
    """Says of any error of Pillow why the file cannot be read."""
    try:
        yield
    except Unreadable:
        raise
    except Exception as error:  # of many types, for damaged files
        raise Unreadable(_reason(file, error)) from None


def _reason(file: str | os.PathLike[str], error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, PIL.Image.DecompressionBombError):
        pixels = int(re.findall(r"\d+", str(error))[0])
        return f"{pixels:,} pixels, of which at most {LARGEST:,} are read"
    with open(file, "rb") as stream:
        start = stream.read(64)
    if not start:
        return "an empty file"
    for beginning, what in _NO_IMAGES.items():
        if re.match(beginning, start, re.IGNORECASE | re.DOTALL):
            return what
    if not isinstance(error, PIL.UnidentifiedImageError):
        text = str(error).split("\n")[0].rstrip(".") or type(error).__name__
        return f"damaged or cut off ({text})"
    marks = {kind: PIL.Image.OPEN[kind][1] for kind in _kinds()}
    start = start.ljust(64, b"\0")  # which they expect
    kind = next((kind for kind, mark in marks.items() if mark and mark(start)), None)
    return f"a damaged {kind}" if kind else "no image that Pillow knows"
