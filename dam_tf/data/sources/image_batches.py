"""Image files in, uint8 batches out: headers first, then one parallel decoding pass."""

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.data.source import CHUNK, progress
from dam_tf.data.sources.resizing import resize

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_PALETTE = (0, 0, 0)  # "shape" of an 8-bit BMP: TensorFlow takes its palette for grey

# A message that quotes the bytes of a file may not be UTF-8.
_FAILURES = (tf.errors.OpError, UnicodeDecodeError)


def read_shapes(files: Sequence[str]) -> np.ndarray:
    """Returns height, width and channels (1 or 3) of each file, int32 [n, 3].

    JPEG and PNG, which nearly all image files are, are not decoded for that.

    Raises:
        UserError: a file is unreadable, or no image.
    """
    parts = []
    with progress(len(files), "looking at images") as bar:
        for part in _run(files, _shape_of):
            parts.append(part)
            bar.update(len(part))
    shapes = np.concatenate(parts)
    unfit = np.flatnonzero((shapes == _PALETTE).all(axis=1))
    if len(unfit):
        raise UserError(
            f"image {files[unfit[0]]} is an 8-bit BMP, which is not supported; convert "
            "it to PNG"
        )
    shapes[:, 2] = np.where(shapes[:, 2] <= 2, 1, 3)
    return shapes


def read_images(
    files: Sequence[str], shape: tuple[int, int, int]
) -> Iterator[np.ndarray]:
    """Yields all images in order, uint8 [at most CHUNK, height, width, channels].

    Images of another size are resized (`resize`). With 3 channels, grey images
    become colour; with 1, all images must be grey.

    Raises:
        UserError: a file is truncated, unreadable, or no image.
    """

    def image_of(file: tf.Tensor) -> tf.Tensor:
        data = tf.io.read_file(file)
        channels = 3 if shape[2] == 3 else 0
        image = tf.io.decode_image(data, channels=channels, expand_animations=False)
        image = image[:, :, : shape[2]]
        image.set_shape([None, None, shape[2]])
        return resize(image, shape)

    return _run(files, image_of)


def _run(files: Sequence[str], function) -> Iterator[np.ndarray]:
    """Maps `function` over files in parallel; a failure names the file."""
    data = tf.data.Dataset.from_tensor_slices(tf.constant(list(files), tf.string))
    data = data.map(function, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    batches = data.batch(CHUNK).prefetch(2).as_numpy_iterator()
    done = 0
    while done < len(files):
        try:
            batch = next(batches)
        except _FAILURES:
            _name_the_culprit(files[done : done + CHUNK], function)
            raise
        done += len(batch)
        yield batch


def _name_the_culprit(files: Sequence[str], function) -> None:
    for file in files:
        try:
            function(tf.constant(file))
        except _FAILURES as error:
            message = getattr(error, "message", "truncated or damaged")
            reason = message.split("} ")[-1].split(" [Op:")[0].split("\n")[0]
            reason = reason.rstrip(".")
            raise UserError(
                f"cannot read image {file}: {reason}; replace or remove it "
                "(a truncated download, or no image?)"
            ) from None


def _shape_of(file: tf.Tensor) -> tf.Tensor:
    data = tf.io.read_file(file)

    def jpeg() -> tf.Tensor:
        return tf.io.extract_jpeg_shape(data)

    def png() -> tf.Tensor:
        sizes = tf.cast(
            tf.io.decode_raw(tf.strings.substr(data, 16, 8), "uint8"), "int32"
        )
        bytes_of = tf.constant([[1 << 24], [1 << 16], [1 << 8], [1]])
        width, height = tf.unstack(
            tf.reshape(tf.reshape(sizes, [2, 4]) @ bytes_of, [2])
        )
        is_grey = tf.reduce_any(tf.strings.substr(data, 25, 1) == [b"\x00", b"\x04"])
        return tf.stack([height, width, tf.where(is_grey, 1, 3)])

    def other() -> tf.Tensor:
        is_bmp = tf.strings.substr(data, 0, 2) == b"BM"
        bits = tf.cond(is_bmp, lambda: tf.strings.substr(data, 28, 1), lambda: b"")
        return tf.cond(
            bits == b"\x08",
            lambda: tf.constant(_PALETTE),
            lambda: tf.shape(tf.io.decode_image(data, expand_animations=False)),
        )

    def starts_with(prefix: bytes) -> tf.Tensor:
        length = tf.minimum(len(prefix), tf.strings.length(data))
        return tf.strings.substr(data, 0, length) == prefix

    branches = [(starts_with(_JPEG), jpeg), (starts_with(_PNG), png)]
    return tf.ensure_shape(tf.case(branches, default=other), [3])
