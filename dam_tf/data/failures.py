"""What failed while tf.data loaded something is raised as what it is.

TensorFlow makes errors of its own of those that a pipeline's functions raise.
"""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from dam_tf.base.errors import UserError


class Failures:
    """Keeps a `UserError` of a pipeline until whoever reads the pipeline asks.

    Example:
        >>> failures = Failures()
        >>> def load(row):
        ...     with failures.kept():
        ...         raise UserError(f"image {row} is damaged")
        >>> rows = tf.data.Dataset.range(1)
        >>> rows = rows.map(lambda row: tf.numpy_function(load, [row], tf.int64))
        >>> with failures.named():
        ...     next(iter(rows))
        Traceback (most recent call last):
        dam_tf.base.errors.UserError: image 0 is damaged
    """

    def __init__(self):
        self._failure: UserError | None = None

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Keeps a `UserError` of the block, which loads something."""
        try:
            yield
        except UserError as error:
            self._failure = error
            raise

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """Raises what was kept in place of TensorFlow's words for it.

        Raises:
            UserError: in place of a TensorFlow error that came of it.
        """
        try:
            yield
        except tf.errors.OpError:
            if self._failure is None:
                raise
            raise self._failure from None
