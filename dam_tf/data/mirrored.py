"""Do flips turn one class into another? Found out from mean images, before a run.

An arrow to the left, flipped, is one to the right. A network that sees flipped images
cannot tell such classes apart.
"""

import math
from collections.abc import Sequence

import numpy as np

from dam_tf.base.messages import log
from dam_tf.config.sections import AugmentationConfig
from dam_tf.data.real_data import Split

_OF_A_CLASS, _IN_ALL = 100, 20_000  # images that are looked at
_SIDE = 8  # that they are brought to
_LEAST = 0.7  # share of images that what a flip changes must tell from another class


def mirrored_pairs(split: Split) -> list[tuple[int, int]]:
    """Returns pairs of classes that differ in nothing but what a flip changes.

    An image is the sum of what a flip left to right leaves as it is and of what it
    turns into its opposite. Half of the images that are looked at make a mean of each
    class; the others are told from another class by which mean is nearer. In the pairs,
    the first parts tell next to nothing and the second ones do, by far more than chance
    would have it among so many pairs.

    Args:
        split: Real training images.

    Example:
        >>> from dam_tf.data.real_data import sorted_split
        >>> images = np.zeros([40, 4, 4, 1], np.uint8)
        >>> images[:20, :, 0], images[20:, :, -1] = 255, 255
        >>> mirrored_pairs(sorted_split(images, [20, 20]))
        [(0, 1)]
    """
    small = [_small(split.take(rows)) for rows in _rows(split)]
    turned = [(images - images[:, :, ::-1]) / 2 for images in small]
    left = [images - turn for images, turn in zip(small, turned, strict=True)]
    # What moves up and down from image to image shows in sums of columns only.
    by_turn = np.maximum(_told(turned), _told([x.mean(axis=1) for x in turned]))
    by_rest = np.maximum(_told(left), _told([x.mean(axis=1) for x in left]))
    tested = np.array([len(images) // 2 for images in small])
    both = tested + tested[:, np.newaxis]
    deviations = 3 + math.sqrt(2 * math.log(max(1, math.comb(len(small), 2))))
    least = np.maximum(_LEAST, 0.5 + deviations / (2 * np.sqrt(np.maximum(1, both))))
    alike = by_rest - 0.5 <= (by_turn - 0.5) / 2
    pairs = np.argwhere(np.triu(alike & (by_turn >= least), 1))
    return [(int(a), int(b)) for a, b in pairs]


def warn_of_mirrored(
    split: Split, class_names: Sequence[str], augmentation: AugmentationConfig
) -> None:
    """Warns where the augmentation flips images of classes that flips make alike."""
    if "flip" not in augmentation.operations or not augmentation.flip:
        return
    if pairs := mirrored_pairs(split):
        first = " and ".join(repr(class_names[k]) for k in pairs[0])
        more = f" (and {len(pairs) - 1} more pairs)" if len(pairs) > 1 else ""
        others = ",".join(name for name in augmentation.operations if name != "flip")
        log.warning(
            "flipped left to right, images of class %s look like each other's%s, and "
            "the augmentation flips; where a flip changes what an image is, give "
            "--set=augmentation.operations=%s",
            first,
            more,
            others,
        )


def _small(images: np.ndarray) -> np.ndarray:
    """Returns images as means of blocks, float32 [n, h, w, c], sides below 2 _SIDE."""
    height, width = (max(1, side // _SIDE) for side in images.shape[1:3])
    rows, columns = images.shape[1] // height, images.shape[2] // width
    top = (images.shape[1] - rows * height) // 2
    left = (images.shape[2] - columns * width) // 2
    cut = images[:, top : top + rows * height, left : left + columns * width]
    blocks = cut.reshape(len(images), rows, height, columns, width, -1)
    return blocks.mean(axis=(2, 4), dtype=np.float32)


def _rows(split: Split) -> list[np.ndarray]:
    most = max(2, min(_OF_A_CLASS, _IN_ALL // len(split.counts)))
    return [
        first + np.unique(np.linspace(0, count - 1, min(most, count)).astype(int))
        for first, count in zip(split.offsets[:-1], split.counts, strict=True)
    ]


def _told(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Returns which share of the images of two classes is told apart, [k, k]."""
    flat = [part.reshape(len(part), -1) for part in parts]
    means = np.stack([part[::2].mean(axis=0) for part in flat])
    squares = (means**2).sum(axis=1)
    told = np.full([len(parts), len(parts)], 0.5)
    for label, part in enumerate(flat):
        if len(part) > 1:
            distances = squares - 2 * part[1::2] @ means.T
            own = distances[:, [label]]
            told[label] = (own < distances).mean(axis=0) + (own == distances).mean(
                0
            ) / 2
    return (told + told.T) / 2
