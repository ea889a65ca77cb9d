"""Synthetic images as pixels that a screen can show."""

import numpy as np


def to_pixels(image: np.ndarray, factor: int = 1) -> np.ndarray:
    """Returns an image as whole numbers 0 to 255, enlarged by a whole factor.

    One within 0..1 is shown as it is stored; one that leaves that range with less
    contrast, as it would be all black and white otherwise: what lies within 2.5
    deviations of its mean stays visible.

    Args:
        image: `[height, width, channels]` with 1 or 3 channels, nominally 0..1.
        factor: Pixels across for each of the image's.

    Returns:
        uint8 `[height * factor, width * factor, channels]`.

    Example:
        >>> to_pixels(np.array([[[0.0], [0.2], [1.0]]]))[..., 0]
        array([[  0,  51, 255]], dtype=uint8)
    """
    pixels = np.round(_within_range(image) * 255).astype(np.uint8)
    return pixels.repeat(factor, 0).repeat(factor, 1)


def _within_range(image: np.ndarray) -> np.ndarray:
    """Maps 0..1, widened to 2.5 deviations around the mean where needed, to 0..1."""
    image = np.nan_to_num(image).astype(np.float64)  # whose squares do not overflow
    mean, reach = image.mean(), 2.5 * image.std()
    low = min(0.0, max(image.min(), mean - reach))
    high = max(1.0, min(image.max(), mean + reach))
    return np.clip((image - low) / (high - low), 0, 1)
