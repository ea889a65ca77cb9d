"""One image file, by Pillow: which files are images.

TensorFlow is not imported here: data sets are listed without it.
"""

import functools
import os

import PIL.Image

# Kinds that Pillow cannot draw, or only by calling another program; videos.
_NO_PICTURES = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "PDF", "WMF"}


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
        with PIL.Image.open(path, formats=marked):
            return True
    except PIL.UnidentifiedImageError:
        return False
    except Exception:  # Pillow raises errors of many types for a damaged file
        return True


@functools.cache
def _kinds() -> tuple[str, ...]:
    """Returns Pillow's names of the kinds of files that are read, likely ones first.

    Those that have no mark at the beginning of the file come last.
    """
    PIL.Image.init()
    named = set(PIL.Image.registered_extensions().values()) - _NO_PICTURES
    kinds = [kind for kind in PIL.Image.ID if kind in named]
    return tuple(sorted(kinds, key=lambda kind: PIL.Image.OPEN[kind][1] is None))
