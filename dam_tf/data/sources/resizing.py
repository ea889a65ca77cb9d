"""Images of any size become images of one size, always by the same rule."""

import numpy as np
import PIL.Image


def cover(picture: PIL.Image.Image, height: int, width: int) -> PIL.Image.Image:
    """Scales an image to cover height and width, and cuts off what juts out.

    So the aspect ratio is kept, as the DC/DSA/DM code does for ImageNet (shorter side
    to size, then the centre). Bilinear, antialiased.

    Args:
        picture: Of mode L or RGB.
        height: In pixels.
        width: In pixels.

    Returns:
        The image of that size; the same object if it has it already.

    Example:
        >>> cover(PIL.Image.new("L", (300, 200)), 20, 20).size
        (20, 20)
    """
    if picture.size == (width, height):
        return picture
    size, target = np.array([picture.height, picture.width]), np.array([height, width])
    scale = (size / target).min()
    box = np.clip(np.round(scale * target).astype(int), 1, size)
    top, left = ((size - box) // 2).tolist()
    # Cut first, so that nothing of what is cut off shines in at the border.
    picture = picture.crop((left, top, left + int(box[1]), top + int(box[0])))
    return picture.resize((width, height), PIL.Image.Resampling.BILINEAR)


def resize(images: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Brings images of one size to another (`cover`).

    Args:
        images: uint8 [n, any height, any width, channels], 1 or 3 channels.
        shape: (height, width, channels) of the result.

    Returns:
        uint8 [n, height, width, channels]; `images` if they have that size already.

    Example:
        >>> resize(np.zeros([2, 4, 6, 1], np.uint8), (2, 2, 1)).shape
        (2, 2, 2, 1)
    """
    if images.shape[1:] == shape:
        return images
    resized = np.empty([len(images), *shape], np.uint8)
    for row, image in zip(resized, images, strict=True):
        grey_or_colour = image[..., 0] if shape[2] == 1 else image
        picture = cover(PIL.Image.fromarray(grey_or_colour), *shape[:2])
        row[...] = np.asarray(picture).reshape(shape)
    return resized
