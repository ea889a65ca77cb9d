"""Exact sums over all training images, in chunks: what preprocessing is fitted on.

Pixels less 128 are whole numbers of at most 128 in size, so a float32 product of at
most 1024 rows of them is exact, and so are float64 sums of such products: the result
does not depend on the chunks or on the number of threads.
"""

import numpy as np

from dam_tf.base.messages import progress_bar

_EXACT_ROWS = 1024  # 1024 * 128 * 128 = 2**24: float32 holds all whole numbers to it
_SHIFT = 128


def channel_moments(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and standard deviation of each channel, in units of 0..1.

    Args:
        images: uint8 [n, height, width, channels].

    Returns:
        Two arrays, float64 [channels].
    """
    channels = images.shape[-1]
    histogram = np.zeros([channels, 256], np.int64)
    for start in range(0, len(images), _EXACT_ROWS):
        chunk = images[start : start + _EXACT_ROWS].reshape(-1, channels)
        for channel in range(channels):
            histogram[channel] += np.bincount(chunk[:, channel], minlength=256)
    values = np.arange(256) / 255
    share = histogram / histogram.sum(axis=1, keepdims=True)
    mean = share @ values
    variance = np.sum(share * (values - mean[:, np.newaxis]) ** 2, axis=1)
    return mean, np.sqrt(variance)


def covariance(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and unbiased covariance of flattened images, in units of 0..1.

    Args:
        images: uint8 [n, height, width, channels], n at least 2.

    Returns:
        Arrays, float64 [d] and [d, d], with d = height * width * channels.
    """
    count, dimensions = len(images), int(np.prod(images.shape[1:]))
    total = np.zeros([dimensions])
    products = np.zeros([dimensions, dimensions])
    product = np.empty([dimensions, dimensions], np.float32)
    starts = range(0, count, _EXACT_ROWS)
    for start in progress_bar("covariance", "part", starts, delay=2, leave=False):
        rows = images[start : start + _EXACT_ROWS].reshape(-1, dimensions)
        rows = rows.astype(np.float32) - _SHIFT
        total += rows.sum(axis=0, dtype=np.float64)
        products += np.matmul(rows.T, rows, out=product)
    mean = total / count
    products -= np.outer(total, mean)
    products /= (count - 1) * 255.0**2
    return (mean + _SHIFT) / 255, products
