"""A distilled set served to many trainers over TensorFlow's own tf.data service.

A dispatcher and a worker run in this process. Trainers on any machine read from
them with `tf.data.experimental.service.from_dataset_id`, and need TensorFlow only.
TensorFlow's servers ask nobody who he is, listen on every network of the machine
whatever `host` says, and run any graph that they are sent, which can read and write
files as this user: whoever reaches the port can run code as you. TensorFlow 2.21 has
no setting for the address at which they listen, and no credentials for its protocol.
Serve only in a network that you trust, such as one machine behind a firewall. `web.py`
serves a set to be read and nothing else.
"""

import os
import socket

import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.base.messages import log
from dam_tf.exports.web import check_port
from dam_tf.synthetic.distilled_set import DistilledSet, Space, check_space
from dam_tf.synthetic.records import record_files, record_specification

DATASET_ID = "distilled"

_SHUFFLED = 10_000  # images that wait to be drawn from, for each trainer


class Server:
    """Serves batches of (images, labels) until it is closed.

    Each trainer that reads with `ShardingPolicy.OFF` gets the whole set, in an
    order of its own; trainers that read with one `job_name` share a pass.

    Args:
        folder: The folder of a run, or its `distilled/`. Files that are replaced
            there are read anew with each pass.
        space: "pixels", or "network" for what the preprocessing makes of them.
        batch_size: Images in a batch; the last one of a pass may be smaller.
        shuffle: Draw a new order in each pass.
        repeat: Serve passes without end, instead of one at a time.
        host: Under what name trainers reach this machine. It does not restrict who
            reaches it.
        port: Where the dispatcher listens; 0 for any free port.

    Attributes:
        address: What trainers call `service`, `grpc://host:port`.
        element_spec: Of a batch: float32 `[batch, height, width, channels]` and
            int64 `[batch]`.

    Raises:
        UserError: the set cannot be read, or the port cannot be used.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> folder, pixels = tempfile.mkdtemp(), np.zeros([2, 8, 8, 1], np.float32)
        >>> DistilledSet(pixels, np.array([0, 1]), ("cat", "dog")).save(folder)
        >>> service = tf.data.experimental.service
        >>> with Server(folder, shuffle=False) as server:
        ...     served = service.from_dataset_id(
        ...         service.ShardingPolicy.OFF, server.address, DATASET_ID
        ...     )
        ...     [labels.numpy().tolist() for images, labels in served]
        [[0, 1]]
    """

    def __init__(
        self,
        folder: os.PathLike | str,
        space: Space = "pixels",
        batch_size: int = 256,
        shuffle: bool = True,
        repeat: bool = False,
        host: str = "localhost",
        port: int = 0,
    ):
        if batch_size < 1:
            raise UserError(f"batch_size must be at least 1, not {batch_size}")
        dataset = batches(folder, space, batch_size, shuffle, repeat)
        self.element_spec = dataset.element_spec
        _check_free(port)
        service = tf.data.experimental.service
        self._dispatcher = service.DispatchServer(
            service.DispatcherConfig(port=port, protocol="grpc")
        )
        port = int(self._dispatcher.target.rpartition(":")[2])
        self.address = f"grpc://{host}:{port}"
        log.warning(
            "TensorFlow's servers listen on every network of this machine, at port %d "
            "and at one of the worker's, and run any graph that they are sent: whoever "
            "reaches them can run code as you. Serve behind a firewall, or with "
            "--protocol=http.",
            port,
        )
        self._worker = service.WorkerServer(
            service.WorkerConfig(
                dispatcher_address=f"localhost:{port}", worker_address=f"{host}:%port%"
            )
        )
        service.register_dataset(
            self._dispatcher.target, dataset, dataset_id=DATASET_ID
        )

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops serving; trainers that still read wait for it to come back."""
        # TensorFlow stops a server when its object goes, and has no public way else.
        self._worker = None
        self._dispatcher = None


def batches(
    folder: os.PathLike | str,
    space: Space,
    batch_size: int,
    shuffle: bool = True,
    repeat: bool = False,
) -> tf.data.Dataset:
    """Returns the batches of a set, read from its files, as they are served.

    It holds no variable, so it can be sent to another process; and no images, so
    it is small. The arguments are those of `Server`.

    Raises:
        UserError: the set cannot be read.
    """
    distilled = DistilledSet.load(folder)
    check_space(space)
    if distilled.soft_labels is not None:
        log.info("Labels are served as the most probable classes, not as learned.")
    specification = record_specification(distilled.image_shape)

    def parse(records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        parsed = tf.io.parse_example(records, specification)
        return parsed["image"], parsed["label"]

    dataset = tf.data.TFRecordDataset(record_files(folder))
    if shuffle:
        dataset = dataset.shuffle(min(len(distilled.images), _SHUFFLED))
    if repeat:
        dataset = dataset.repeat()
    dataset = dataset.batch(batch_size).map(parse, tf.data.AUTOTUNE)
    preprocessing = distilled.preprocessing
    if space == "network" and preprocessing is not None:
        weights = [tf.constant(weight) for weight in preprocessing.get_weights()]

        def to_network(images: tf.Tensor, labels: tf.Tensor):
            return preprocessing.stateless_call([], weights, images)[0], labels

        dataset = dataset.map(to_network, tf.data.AUTOTUNE)
    return dataset.prefetch(1)


def _check_free(port: int) -> None:
    check_port(port)
    # The dispatcher would share a port with another one, and say nothing.
    try:
        socket.create_server(("", port)).close()
    except OSError as error:
        raise UserError(
            f"port {port} cannot be used ({os.strerror(error.errno)}); choose another "
            "with --port, or 0 for any free one"
        ) from None
