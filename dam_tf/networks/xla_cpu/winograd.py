"""3x3 convolutions by Winograd's minimal filtering, as XLA compiles them well."""

import numpy as np
import tensorflow as tf

TILE = 4  # outputs of a tile, in each direction
_PATCH = TILE + 2

# F(4x4, 3x3) of Lavin and Gray (CVPR 2016): the kernel's transform, of a line and of
# both directions at once. Those of patches and outputs are written out below, in few
# operations, which are quick to compile.
_LINE_TRANSFORM = (
    np.array(
        [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]],
        np.float32,
    )
    / 24
)
_KERNEL_TRANSFORM = np.kron(_LINE_TRANSFORM, _LINE_TRANSFORM)  # [36, 9]


@tf.custom_gradient
def winograd_convolution(images: tf.Tensor, kernel: tf.Tensor):
    """Returns the 3x3 convolution of padded `images`, as `tf.nn.conv2d` with "SAME".

    F(4x4, 3x3) of Lavin and Gray (CVPR 2016). In float32 it is exact to about 1e-5
    of the largest value.

    Args:
        images: float32 `[n, h, w, c]`, h and w multiples of `TILE`, 4.
        kernel: `[3, 3, c, d]`.

    Returns:
        `[n, h, w, d]`.

    Example:
        >>> winograd_convolution(tf.ones([1, 4, 4, 1]), tf.ones([3, 3, 1, 1])).shape
        TensorShape([1, 4, 4, 1])
    """
    patches, kernels = _patches(images), _kernels(kernel)

    def gradient(upstream):
        tiles = _tiles_adjoint(upstream)
        of_patches = tf.linalg.matmul(tiles, kernels, transpose_b=True)
        of_kernels = tf.linalg.matmul(patches, tiles, transpose_a=True)
        of_kernel = tf.linalg.matmul(
            _KERNEL_TRANSFORM, tf.reshape(of_kernels, [_PATCH**2, -1]), transpose_a=True
        )
        return _patches_adjoint(of_patches, images.shape), tf.reshape(
            of_kernel, kernel.shape
        )

    return _tiles(patches @ kernels, images.shape), gradient


def _patches(images):
    """The transformed patches of images, `[36, patches, channels]`."""
    _, height, width, channels = images.shape
    padded = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]])
    last_row, last_column = height - TILE + 1, width - TILE + 1
    rows = tf.stack(
        _of_patch([padded[:, i : i + last_row : TILE] for i in range(_PATCH)])
    )
    columns = [rows[:, :, :, j : j + last_column : TILE] for j in range(_PATCH)]
    return tf.reshape(tf.stack(_of_patch(columns), axis=1), [_PATCH**2, -1, channels])


def _patches_adjoint(factors, shape):
    """The adjoint of `_patches`: `[36, patches, channels]` to maps of `shape`."""
    count, height, width, channels = shape
    down, across = height // TILE, width // TILE
    factors = tf.reshape(factors, [_PATCH, _PATCH, count, down, across, channels])
    columns = _overlapping(_of_factors(tf.unstack(factors, axis=1)), axis=3)
    columns = tf.stack(columns, axis=4)  # [6, count, down, across, 4, channels]
    rows = _overlapping(_of_factors(tf.unstack(columns)), axis=1)
    return tf.reshape(tf.stack(rows, axis=2), shape)


def _kernels(kernel):
    """The transformed kernel, `[36, channels, filters]`."""
    kernels = _KERNEL_TRANSFORM @ tf.reshape(kernel, [9, -1])
    return tf.reshape(kernels, [_PATCH**2, *kernel.shape[2:]])


def _tiles(products, shape):
    """Maps of the count, height and width of `shape`, from `[36, patches, filters]`."""
    (count, height, width, _), filters = shape, products.shape[-1]
    down, across = height // TILE, width // TILE
    products = tf.reshape(products, [_PATCH, _PATCH, count, down, across, filters])
    rows = tf.stack(_of_output(tf.unstack(products)), axis=3)
    tiles = tf.stack(_of_output(tf.unstack(rows)), axis=4)
    # [count, down, 4, across, 4, filters]
    return tf.reshape(tiles, [count, height, width, filters])


def _tiles_adjoint(maps):
    """The adjoint of `_tiles`: maps to `[36, patches, filters]`."""
    rows = tf.stack(_of_tile([maps[:, i::TILE] for i in range(TILE)]))
    columns = [rows[:, :, :, j::TILE] for j in range(TILE)]
    return tf.reshape(
        tf.stack(_of_tile(columns), axis=1), [_PATCH**2, -1, maps.shape[-1]]
    )


def _of_patch(parts):
    """Six inputs of a line to six factors."""
    p0, p1, p2, p3, p4, p5 = parts
    even, odd = p4 - 4.0 * p2, p3 - 4.0 * p1
    near, far = p4 - p2, 2.0 * (p3 - p1)
    first, last = 4.0 * p0 - 5.0 * p2 + p4, 4.0 * p1 - 5.0 * p3 + p5
    return [first, even + odd, even - odd, near + far, near - far, last]


def _of_factors(factors):
    """The adjoint of `_of_patch`."""
    f0, f1, f2, f3, f4, f5 = factors
    near, near_odd, far, far_odd = f1 + f2, f1 - f2, f3 + f4, f3 - f4
    return [
        4.0 * f0,
        4.0 * (f5 - near_odd) - 2.0 * far_odd,
        -5.0 * f0 - 4.0 * near - far,
        near_odd + 2.0 * far_odd - 5.0 * f5,
        f0 + near + far,
        f5,
    ]


def _overlapping(parts, axis):
    """The four places of each tile, of its six and of what its neighbours reach over.

    Tiles, along `axis`, begin a place after their patches.
    """
    p0, p1, p2, p3, p4, p5 = parts
    return [p1 + _moved(p5, axis, 1), p2, p3, p4 + _moved(p0, axis, -1)]


def _moved(values, axis, by):
    """`values` moved by 1 or -1 along `axis`, 0 where nothing came from."""
    first, last = tf.split(values, [1, -1] if by < 0 else [-1, 1], axis)
    empty = tf.zeros_like(first if by < 0 else last)
    return tf.concat([last, empty] if by < 0 else [empty, first], axis)


def _of_output(products):
    """Six products of a line to four outputs."""
    p0, p1, p2, p3, p4, p5 = products
    sum_1, difference_1, sum_2, difference_2 = p1 + p2, p1 - p2, p3 + p4, p3 - p4
    return [
        p0 + sum_1 + sum_2,
        difference_1 + 2.0 * difference_2,
        sum_1 + 4.0 * sum_2,
        difference_1 + 8.0 * difference_2 + p5,
    ]


def _of_tile(outputs):
    """The adjoint of `_of_output`."""
    o0, o1, o2, o3 = outputs
    even, odd, even_2, odd_2 = o0 + o2, o1 + o3, o0 + 4.0 * o2, 2.0 * o1 + 8.0 * o3
    return [o0, even + odd, even - odd, even_2 + odd_2, even_2 - odd_2, o3]
