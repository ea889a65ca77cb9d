"""Trains on a distilled set that `tools/serve.py` serves; needs only TensorFlow.

    python examples/serve_client.py --service=grpc://localhost:5050 --epochs=5

Any number of these may run at a time, on any machine that reaches the server.
With `ShardingPolicy.OFF` each gets the whole set. Clients that give one and the same
`job_name` share every pass instead: each batch goes to one of them.
"""

import argparse

import keras
import tensorflow as tf


def read_batches(address: str, job_name: str | None = None) -> tf.data.Dataset:
    """Returns the served batches: float32 images [batch, h, w, c], int64 labels."""
    service = tf.data.experimental.service
    return service.from_dataset_id(
        service.ShardingPolicy.OFF, address, "distilled", job_name=job_name
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--service", required=True, help="grpc://host:port")
    parser.add_argument("--job_name", help="share each pass with clients of this name")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()

    batches = read_batches(options.service, options.job_name)
    image_spec, _ = batches.element_spec
    print(f"Batches of {image_spec.shape}, {image_spec.dtype.name}")
    model = keras.Sequential(
        [
            keras.Input(image_spec.shape[1:]),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(options.classes),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.SGD(0.01, momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    # Each epoch asks the server for a pass of its own, in a new order.
    history = model.fit(batches, epochs=options.epochs, verbose=0)
    print(f"Loss after {options.epochs} epochs: {history.history['loss'][-1]:.3f}")


if __name__ == "__main__":
    main()
