"""Are the objects given to `dam_tf.distill` and `dam_tf.evaluate` what they must be?

Asked before a run is made: a folder that `overwrite` names must outlive a mistake.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.networks.pools import NetworkPool


def callback_list(callbacks: Any) -> list[keras.callbacks.Callback]:
    """Returns Keras callbacks as a list; one alone is taken, as by `model.fit`.

    Raises:
        UserError: one of them is no Keras callback.

    Example:
        >>> len(callback_list(keras.callbacks.TerminateOnNaN()))
        1
    """
    if callbacks is None:
        return []
    several = isinstance(callbacks, Iterable) and not isinstance(callbacks, str)
    found = [*callbacks] if several else [callbacks]
    for one in found:
        if not isinstance(one, keras.callbacks.Callback):
            raise UserError(
                "callbacks must be Keras callbacks, such as "
                f'[keras.callbacks.CSVLogger("log.csv")], not {one!r}'
            )
    return found


def check_strategy(strategy: Any) -> None:
    """Raises a `UserError` unless `strategy` is one of TensorFlow's, or None."""
    if not isinstance(strategy, (tf.distribute.Strategy, type(None))):
        raise UserError(
            "strategy must be one such as tf.distribute.MirroredStrategy(), not "
            f"{strategy!r}"
        )


def check_pool(networks: Any) -> None:
    """Raises a `UserError` unless `networks` is a pool, or None."""
    if not isinstance(networks, (NetworkPool, type(None))):
        raise UserError(
            f"networks must be a pool, such as NetworkPool([...]), not {networks!r}"
        )
