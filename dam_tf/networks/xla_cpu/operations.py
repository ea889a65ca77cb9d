"""Operations that XLA compiles best on a CPU, with their gradients.

XLA's loops over channels or positions are slow where a sum cannot be vectorised, so
sums go by halves, which are plain additions of long rows.
"""

import tensorflow as tf

FEW_CHANNELS = 4  # of which 3x3 patches are few numbers beside the maps


@tf.custom_gradient
def convolution(images: tf.Tensor, kernel: tf.Tensor):
    """Returns the 3x3 convolution of padded `images`, as `tf.nn.conv2d` with "SAME".

    It is TensorFlow's, but its gradient in the kernel, and of a few channels that in
    the images, are products of matrices.

    Args:
        images: `[n, h, w, c]`.
        kernel: `[3, 3, c, d]`.

    Returns:
        `[n, h, w, d]`.

    Example:
        >>> convolution(tf.ones([1, 5, 7, 3]), tf.ones([3, 3, 3, 4])).shape
        TensorShape([1, 5, 7, 4])
    """
    channels, filters = kernel.shape[2:]

    def of_images(upstream):
        if channels > FEW_CHANNELS:
            turned = tf.transpose(tf.reverse(kernel, [0, 1]), [0, 1, 3, 2])
            return tf.nn.conv2d(upstream, turned, 1, "SAME")
        products = tf.linalg.matmul(
            tf.reshape(upstream, [-1, filters]),
            tf.reshape(kernel, [9 * channels, filters]),
            transpose_b=True,
        )
        return _neighbours_adjoint(products, images.shape)

    def of_kernel(upstream):
        product = tf.linalg.matmul(
            tf.reshape(_neighbours(images), [-1, 9 * channels]),
            tf.reshape(upstream, [-1, filters]),
            transpose_a=True,
        )
        return tf.reshape(product, kernel.shape)

    def gradient(upstream):
        return of_images(upstream), of_kernel(upstream)

    return tf.nn.conv2d(images, kernel, 1, "SAME"), gradient


def normalized_convolution(
    images: tf.Tensor,
    kernel: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    epsilon: float,
    dtype: str,
) -> tf.Tensor:
    """Returns the instance norm of a 3x3 convolution of padded `images`.

    Where p are the patches of an image less their mean, and C the mean of p p', the map
    of a filter k has the variance k' C k. So filters are scaled before they meet the
    patches; and of the gradient u of the maps the norm needs nothing but the sum of
    p u', which is that of the filters anyway. That pays where patches are small.

    Args:
        images: float32 `[n, h, w, c]`.
        kernel: float32 `[3, 3, c, d]`.
        gamma: The norm's scales, `[d]`.
        beta: The norm's shifts, `[d]`.
        epsilon: What the norm adds to variances.
        dtype: Of the maps; statistics are float32.

    Returns:
        `[n, h, w, d]`.

    Example:
        >>> images, kernel = tf.random.normal([1, 4, 4, 3]), tf.ones([3, 3, 3, 2])
        >>> maps = normalized_convolution(
        ...     images, kernel, tf.ones([2]), tf.ones([2]), 1e-5, "float32"
        ... )
        >>> bool(tf.reduce_all(tf.abs(tf.reduce_mean(maps, [1, 2]) - 1) < 1e-4))
        True
    """
    _, height, width, channels = images.shape
    count, filters = height * width, kernel.shape[3]

    @tf.custom_gradient
    def of(images, kernel, gamma, beta):
        patches = _neighbours(images)
        patches -= tf.reduce_mean(patches, axis=1, keepdims=True)
        flat = tf.reshape(kernel, [9 * channels, filters])
        shared = tf.linalg.matmul(patches, patches, transpose_a=True) @ flat / count
        variance = tf.reduce_sum(shared * flat, axis=1)
        inverse = tf.math.rsqrt(variance + epsilon)
        factors = inverse * gamma
        # Transposed, which is the faster product.
        scaled = tf.cast(tf.transpose(flat) * factors[:, :, None], dtype)
        maps = tf.linalg.matmul(tf.cast(patches, dtype), scaled, transpose_b=True)
        maps = tf.reshape(maps + tf.cast(beta, dtype), [-1, height, width, filters])

        def gradient(upstream):
            upstream = tf.cast(upstream, tf.float32)
            of_beta = tf.reduce_sum(sum_of_positions(upstream), axis=0)
            upstream = tf.reshape(upstream, [-1, count, filters])
            products = tf.linalg.matmul(patches, upstream, transpose_a=True)
            of_factors = tf.reduce_sum(products * flat, axis=1)
            of_variance = -0.5 * of_factors * gamma * inverse**3
            of_kernel = products * factors[:, None]
            of_kernel += 2.0 * of_variance[:, None] * shared
            through_variance = tf.linalg.matmul(
                flat * of_variance[:, None], flat, transpose_b=True
            )
            of_patches = tf.linalg.matmul(
                upstream, flat * factors[:, None], transpose_b=True
            )
            of_patches += patches @ (2.0 / count * through_variance)
            of_patches -= tf.reduce_mean(of_patches, axis=1, keepdims=True)
            return (
                _neighbours_adjoint(of_patches, images.shape),
                tf.reshape(tf.reduce_sum(of_kernel, axis=0), kernel.shape),
                tf.reduce_sum(of_factors * inverse, axis=0),
                of_beta,
            )

        return maps, gradient

    return of(images, kernel, gamma, beta)


def _neighbours(images):
    """The 3x3 patch around each place, `[n, h * w, 9 * channels]`."""
    _, height, width, channels = images.shape
    padded = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]])
    shifted = [
        padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)
    ]
    return tf.reshape(tf.concat(shifted, axis=3), [-1, height * width, 9 * channels])


def _neighbours_adjoint(patches, shape):
    """The adjoint of `_neighbours`: patches to images of `shape`."""
    _, height, width, channels = shape
    patches = tf.reshape(patches, [-1, height, width, 9, channels])
    padded = tf.pad(patches, [[0, 0], [1, 1], [1, 1], [0, 0], [0, 0]])
    return tf.add_n(
        [
            padded[:, 2 - i : 2 - i + height, 2 - j : 2 - j + width, 3 * i + j]
            for i in range(3)
            for j in range(3)
        ]
    )


@tf.custom_gradient
def add_bias(maps: tf.Tensor, bias: tf.Tensor):
    """Returns `maps + bias`, whose gradient in the bias is summed by halves.

    Args:
        maps: `[n, h, w, c]`.
        bias: `[c]`.

    Example:
        >>> add_bias(tf.zeros([1, 1, 1, 2]), tf.constant([1.0, 2.0])).numpy()
        array([[[[1., 2.]]]], dtype=float32)
    """

    def gradient(upstream):
        return upstream, tf.reduce_sum(sum_of_positions(upstream), axis=0)

    return maps + bias, gradient


@tf.custom_gradient
def scale_and_shift(maps: tf.Tensor, factors: tf.Tensor, shifts: tf.Tensor):
    """Returns the channels of each image times its `factors` plus its `shifts`.

    Args:
        maps: `[n, h, w, c]`.
        factors: `[n, c]`.
        shifts: `[n, c]`.

    Example:
        >>> maps = tf.ones([1, 1, 1, 2])
        >>> two = tf.constant([[2.0, 3.0]])
        >>> scale_and_shift(maps, two, two).numpy()
        array([[[[4., 6.]]]], dtype=float32)
    """

    def gradient(upstream):
        of_factors = sum_of_positions(upstream * maps)
        return upstream * factors[:, None, None], of_factors, sum_of_positions(upstream)

    return maps * factors[:, None, None] + shifts[:, None, None], gradient


@tf.custom_gradient
def sum_of_channels(values: tf.Tensor):
    """Returns the sum over the last axis, by halves.

    Args:
        values: `[..., c]`.

    Example:
        >>> sum_of_channels(tf.ones([2, 64])).numpy()
        array([64., 64.], dtype=float32)
    """
    shape = tf.shape(values)

    def gradient(upstream):
        return tf.broadcast_to(upstream[..., None], shape)

    while values.shape[-1] % 2 == 0 and values.shape[-1] > 16:
        half = values.shape[-1] // 2
        values = values[..., :half] + values[..., half:]
    return tf.reduce_sum(values, axis=-1), gradient


@tf.custom_gradient
def sum_of_positions(values: tf.Tensor):
    """Returns the sum over height and width, by halves.

    Args:
        values: `[n, h, w, c]`.

    Example:
        >>> sum_of_positions(tf.ones([1, 4, 6, 1])).numpy()
        array([[24.]], dtype=float32)
    """
    shape = values.shape

    def gradient(upstream):
        return tf.broadcast_to(upstream[:, None, None], shape)

    while values.shape[1] % 2 == 0:
        half = values.shape[1] // 2
        values = values[:, :half] + values[:, half:]
    values = tf.reduce_sum(values, axis=1) if values.shape[1] > 1 else values[:, 0]
    while values.shape[1] % 2 == 0:
        half = values.shape[1] // 2
        values = values[:, :half] + values[:, half:]
    return tf.reduce_sum(values, axis=1), gradient


@tf.custom_gradient
def average_of_pairs(values: tf.Tensor):
    """Returns the average of each 2x2 places, as 2x2 pooling with stride 2.

    Args:
        values: `[n, h, w, c]`, h and w even.

    Returns:
        `[n, h / 2, w / 2, c]`.

    Example:
        >>> average_of_pairs(tf.constant([[[[1.0], [2.0]], [[3.0], [6.0]]]])).numpy()
        array([[[[3.]]]], dtype=float32)
    """
    count, height, width, channels = values.shape

    def gradient(upstream):
        spread = tf.broadcast_to(
            upstream[:, :, None, :, None] / 4,
            [count, height // 2, 2, width // 2, 2, channels],
        )
        return tf.reshape(spread, [count, height, width, channels])

    rows = values[:, 0::2] + values[:, 1::2]
    return (rows[:, :, 0::2] + rows[:, :, 1::2]) / 4, gradient
