"""The pixels of one image file: turned, opaque, of 8 bits, and of the size wanted."""

import numpy as np
import PIL.Image

from dam_tf.data.sources.image_files import Shape, Unreadable, opened
from dam_tf.data.sources.resizing import cover

_BITS, _WHITE_AND_BLACK = 258, 262  # tags of a TIFF

DECODING = 2  # counts up whenever other pixels are made of the same file


def check(file: str) -> None:
    """Decodes an image file, within `reading`, and raises as `decode` does."""
    with opened(file):
        pass


def decode(file: str, shape: Shape) -> tuple[np.ndarray, bool]:
    """Decodes the first image of a file, within `reading`.

    It is turned as EXIF asks. Of 16 bits, 65535 becomes 255. What is transparent lies
    on white. An image of another size is resized (`resizing.cover`), and grey becomes
    colour where 3 channels are wanted.

    Args:
        file: Its path.
        shape: Height, width and channels that are wanted.

    Returns:
        uint8 [height, width, channels], and whether white shows through.

    Raises:
        Unreadable: it is no image, too large, or damaged.
    """
    with opened(file) as (picture, stored, turn):
        if stored[2] > shape[2]:
            raise Unreadable("changed while the data set was read")
        picture, transparent = _opaque(_eight_bits(picture))
        if turn is not None:
            picture = picture.transpose(turn)
        picture = cover(picture, *shape[:2])
        if shape[2] > stored[2]:
            picture = picture.convert("RGB")
        return np.asarray(picture).reshape(shape), transparent


def _eight_bits(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Returns an image of 16 bits as one of 8, and any other as it is."""
    if not picture.mode.startswith("I"):
        return picture
    values = np.asarray(picture).astype(np.uint32)
    key = picture.info.get("transparency")
    tags = getattr(picture, "tag_v2", {})  # of a TIFF
    white = 2 ** tags.get(_BITS, (16,))[0] - 1
    if tags.get(_WHITE_AND_BLACK) == 0:  # 0 is white, which Pillow minds for 8 bits
        values = white - values
    eight = (values * 255 + white // 2) // white
    image = PIL.Image.fromarray(eight.astype(np.uint8))
    if key is not None:
        alpha = np.where(values == key, 0, 255).astype(np.uint8)
        image.putalpha(PIL.Image.fromarray(alpha))
    return image


def _opaque(picture: PIL.Image.Image) -> tuple[PIL.Image.Image, bool]:
    """Returns the image in grey or RGB, on white, and whether white shows through."""
    plain = "L" if PIL.Image.getmodebase(picture.mode) == "L" else "RGB"
    if not picture.has_transparency_data:
        return picture if picture.mode == plain else picture.convert(plain), False
    picture = picture.convert(f"{plain}A")
    alpha = picture.getchannel("A")
    if alpha.getextrema()[0] == 255:
        return picture.convert(plain), False
    white = PIL.Image.new(plain, picture.size, "white")
    white.paste(picture.convert(plain), mask=alpha)
    return white, True
