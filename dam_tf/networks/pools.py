"""Networks to draw from in place of random ones: stored weights by a seed.

`training/pretraining.py` makes the files; a method matches through them.
"""

import functools
import hashlib
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.base.files import atomic_file
from dam_tf.base.npz import Array, read_npz

_VERSION = 1  # of the files
_WHAT = "a trained network of dam_tf, classifier included"


class StoredNetwork(NamedTuple):
    """A whole network at one moment, by the names that `FunctionalNetwork` gives.

    Attributes:
        weights: Of each weight its values, in order.
        statistics: Of each statistic of batch norm, in order.
    """

    weights: dict[str, np.ndarray]
    statistics: dict[str, np.ndarray]


def save_network(path: os.PathLike | str, network: StoredNetwork) -> None:
    """Writes a network, atomically, for `read_network` to give it back."""
    arrays = {"version": np.int64(_VERSION)}
    for kind, values in network._asdict().items():
        arrays[kind] = np.array(list(values), np.str_)
        arrays |= {f"{kind}/{name}": value for name, value in values.items()}
    with atomic_file(pathlib.Path(path)) as temporary:
        np.savez(temporary, **arrays)


def read_network(path: os.PathLike | str) -> StoredNetwork:
    """Returns the network that `save_network` wrote.

    Raises:
        UserError: the file cannot be read, is of another version, or holds weights
            without the classifier, as those of earlier versions do.

    Example:
        >>> import tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "network.npz"
        >>> save_network(path, StoredNetwork({"logits/bias": np.zeros(3)}, {}))
        >>> read_network(path).weights["logits/bias"].shape
        (3,)
    """
    names = Array([None], np.str_)
    head = {"version": Array([], np.integer), "weights": names, "statistics": names}
    found = read_npz(path, head, _WHAT)
    if found["version"] != _VERSION:
        raise UserError(
            f"{path} is a network of version {found['version']}, and this dam_tf reads "
            f"version {_VERSION}; train it again"
        )
    kinds = [
        {name: f"{kind}/{name}" for name in found[kind].tolist()}
        for kind in StoredNetwork._fields
    ]
    wanted = {key: Array() for keys in kinds for key in keys.values()}
    values = read_npz(path, wanted, _WHAT)
    return StoredNetwork(
        *({name: values[key] for name, key in keys.items()} for keys in kinds)
    )


class NetworkPool:
    """Draws one of several stored networks, each as likely as the others.

    The distribution of theta in Algorithm 1 becomes the uniform one over the pool.
    Networks in files stay there: each is read when it is drawn, so a pool may be
    larger than memory.

    Args:
        networks: Of each network the file that `save_network` wrote, or its weights
            in the order of `FunctionalNetwork.weight_names`.

    Raises:
        UserError: a file cannot be read, there is no network, or two differ in the
            shapes of their weights.

    Attributes:
        shapes: The shapes of one network's weights.
        fingerprint: 64 hexadecimal digits that tell the weights of all networks, in
            their order; the same for files and for arrays.

    Example:
        >>> pool = NetworkPool([[np.zeros([2, 2])], [np.ones([2, 2])]])
        >>> (kernel,) = pool.draw_network(tf.constant([0, 1]))
        >>> len(pool), kernel.shape
        (2, TensorShape([2, 2]))
    """

    def __init__(self, networks: Sequence[os.PathLike | str | Sequence[np.ndarray]]):
        self._networks = list(networks)
        digest, shapes = hashlib.sha256(), set()
        for one in self._networks:
            weights = _weights(one)
            shapes.add(tuple(weight.shape for weight in weights))
            for weight in weights:
                digest.update(repr(weight.shape).encode())
                digest.update(weight.astype("<f4", copy=False).tobytes())
        if len(shapes) != 1:
            raise UserError(
                "a pool needs networks of the same weights, not of "
                f"{len(shapes)} kinds of shapes"
            )
        (self.shapes,) = map(list, shapes)
        self._resident: list[tf.Variable] | None = None
        self.fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        """The number of networks."""
        return len(self._networks)

    def check(self, network: keras.Model) -> None:
        """Raises a `UserError` where these are not weights of `network`."""
        expected = [tuple(variable.shape) for variable in network.trainable_variables]
        if self.shapes != expected:
            raise UserError(
                f"the networks of the pool have {len(self.shapes)} weights of shapes "
                f"{_some(self.shapes)}, and the run's {network.name} has "
                f"{len(expected)} of {_some(expected)}; give the pool's settings of "
                "section network, or another pool"
            )

    def make_resident(self) -> list[tf.Variable]:
        """Puts all networks into variables, for functions that read no files.

        Returns:
            Of each weight a variable `[len(pool), ...]`, in the order of `shapes`.
        """
        weights = zip(*map(_weights, self._networks), strict=True)
        self._resident = [tf.Variable(np.stack(w), trainable=False) for w in weights]
        return self._resident

    def draw_network(self, seed: tf.Tensor) -> list[tf.Tensor]:
        """Returns one network's weights, in the order of `shapes`.

        To be called outside of functions that XLA compiles, since it may read a file;
        after `make_resident` everywhere.

        Args:
            seed: `[2]`, as of a stateless op.
        """
        row = tf.random.stateless_uniform([], seed, 0, len(self), tf.int32)
        if self._resident is not None:
            return [tf.gather(weight, row) for weight in self._resident]
        # TensorFlow keeps the function, and what it names, for as long as the graph.
        networks = self._networks
        read = functools.partial(_weights_of_row, networks)
        kinds = [tf.float32] * len(self.shapes)
        weights = tf.numpy_function(read, [row], kinds, stateful=False)
        weights = tf.nest.flatten(weights)  # run eagerly, one alone is no list
        return [
            tf.ensure_shape(weight, shape)
            for weight, shape in zip(weights, self.shapes, strict=True)
        ]


def _weights_of_row(networks, row):
    return _weights(networks[row])


def _weights(network) -> list[np.ndarray]:
    if isinstance(network, (str, os.PathLike)):
        network = read_network(network).weights.values()
    return [np.asarray(weight, np.float32) for weight in network]


def _some(shapes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join(map(str, shapes[:2])) + (", ..." if len(shapes) > 2 else "")
