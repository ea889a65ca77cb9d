"""Kernels of infinitely wide networks and ridge regression, written out in NumPy."""

import numpy as np


def numpy_kernel(one, other, *, conv, depth, weights=2.0, biases=0.01):
    """The NTK and the NNGP of two images `[h, w, c]`, position by position."""
    pair = [np.asarray(image, np.float64) for image in (one, other)]
    if not conv:
        pair = [image.reshape(1, 1, -1) for image in pair]
    height, width, channels = pair[0].shape

    def affine(values):
        """What the next layer makes of a mean product at each position."""
        if not conv:
            return weights * values + biases
        found = np.zeros_like(values)
        for row, column in np.ndindex(height, width):
            window = values[
                max(0, row - 1) : row + 2,
                max(0, column - 1) : column + 2,
            ]
            found[row, column] = weights * window.sum() / 9 + biases
        return found

    def product(a, b):
        return affine((a * b).sum(axis=-1) / channels)

    xx, yy = product(pair[0], pair[0]), product(pair[1], pair[1])
    xy = tangent = product(*pair)
    for layer in range(depth):
        cosine = np.clip(xy / np.sqrt(xx * yy), -1, 1)
        angle = np.arccos(cosine)
        both = np.sin(angle) + (np.pi - angle) * cosine
        first = np.sqrt(xx * yy) * both / (2 * np.pi)
        slope = (np.pi - angle) / (2 * np.pi)
        if layer == depth - 1:
            xy = weights * first.mean() + biases
            tangent = xy + weights * (slope * tangent).mean()
        else:
            xy = affine(first)
            tangent = xy + affine(slope * tangent) - biases
            xx, yy = affine(xx / 2), affine(yy / 2)
    return float(tangent), float(xy)


def numpy_kernels(ones, others, kernel="ntk", **network):
    """A kernel of two sets of images, `[m, n]`."""
    which = {"ntk": 0, "nngp": 1}[kernel]
    return np.array(
        [[numpy_kernel(a, b, **network)[which] for b in others] for a in ones]
    )


def numpy_answers(images, targets, real, regularization, **network):
    """What kernel ridge regression on `images` answers for `real`, `[m, classes]`."""
    within = numpy_kernels(images, images, **network)
    ridge = regularization * np.trace(within) / len(images) * np.eye(len(images))
    weights = np.linalg.solve(within + ridge, targets)
    return numpy_kernels(real, images, **network) @ weights


def centred(labels, classes):
    return np.eye(classes)[labels] - 1 / classes
