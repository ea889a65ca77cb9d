"""Trains on a distilled set that `tools/serve.py` serves; needs only TensorFlow.

    python examples/serve_client.py --service=http://localhost:5050 --epochs=5

Any number of these may run at a time, on any machine that reaches the server. With
`grpc://host:port` it reads the batches of `serve --protocol=tf_data`: each client gets
the whole set, and clients of one and the same `--job_name` share every pass.

Whoever does not answer within --timeout seconds ends this program with one line. Of
itself, tf.data's service waits for ever for a server that is not there, and Ctrl-C does
not reach it: so it is waited for in a thread.
"""

import argparse
import io
import queue
import socket
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

Batches = Iterator[tuple[np.ndarray, np.ndarray]]  # images [b, h, w, c], labels [b]


def within(seconds: float, work: Callable[[], Any]) -> Any:
    """Returns what `work` returns, or raises TimeoutError when it takes too long."""
    answers: queue.Queue = queue.Queue()

    def do() -> None:
        try:
            answers.put((work(), None))
        except BaseException as error:
            answers.put((None, error))

    threading.Thread(target=do, daemon=True).start()
    try:
        answer, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:g} seconds") from None
    if error is not None:
        raise error
    return answer


def read_set(address: str, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns all images and labels of a set that is served over HTTP."""

    def read() -> io.BytesIO:
        file = urllib.parse.urljoin(address, "/distilled.npz")
        with urllib.request.urlopen(file) as answer:  # `within` ends the wait
            return io.BytesIO(answer.read())

    with np.load(within(seconds, read), allow_pickle=False) as arrays:
        return arrays["images"], arrays["labels"]


def in_batches(images: np.ndarray, labels: np.ndarray, size: int = 256) -> Batches:
    """Returns a pass over a set that was read, in a new order."""
    dataset = tf.data.Dataset.from_tensor_slices((images, labels))
    return dataset.shuffle(len(images)).batch(size).as_numpy_iterator()


def read_batches(address: str, seconds: float, job_name: str | None) -> Batches:
    """Returns a pass over what the tf.data service serves, in a new order."""
    parts = urllib.parse.urlsplit(address)
    # Whether anybody is there at all is known at once.
    socket.create_connection((parts.hostname, parts.port), seconds).close()
    service = tf.data.experimental.service
    batches = within(
        seconds,
        lambda: service.from_dataset_id(
            service.ShardingPolicy.OFF, address, "distilled", job_name=job_name
        ).as_numpy_iterator(),
    )
    while (batch := within(seconds, lambda: next(batches, None))) is not None:
        yield batch


def train(passes: Callable[[], Batches], classes: int, epochs: int) -> None:
    """Trains a small network, with one pass an epoch."""
    model = None
    for _ in range(epochs):
        losses = []
        for images, labels in passes():
            if model is None:
                print(f"Batches of {images.shape[1:]}, {images.dtype.name}", flush=True)
                model = small_network(images.shape[1:], classes)
            losses.append(model.train_on_batch(images, labels))
        print(f"Loss: {np.mean(losses):.3f}", flush=True)


def small_network(shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Returns an untrained network for images of a shape."""
    model = keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(classes),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.SGD(0.01, momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--service", required=True, help="http:// or grpc://host:port")
    parser.add_argument("--job_name", help="share each pass with clients of this name")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--timeout", type=float, default=60, help="seconds")
    options = parser.parse_args()

    address, seconds = options.service, options.timeout
    try:
        if address.startswith("grpc:"):

            def passes() -> Batches:
                return read_batches(address, seconds, options.job_name)
        else:
            images, labels = read_set(address, seconds)

            def passes() -> Batches:
                return in_batches(images, labels)

        train(passes, options.classes, options.epochs)
    except (OSError, ValueError, tf.errors.OpError) as error:
        reason = str(error).splitlines()[0]
        sys.exit(f"serve_client.py: cannot read from {address}: {reason}")
    except KeyboardInterrupt:
        print("serve_client.py: stopped by Ctrl-C", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
