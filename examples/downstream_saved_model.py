"""Classifies images with the SavedModel that `tools/export.py` writes.

    python examples/downstream_saved_model.py --model=export/saved_model cat.png 7.jpg
    python examples/downstream_saved_model.py --model=export/saved_model digits.npz

Needs TensorFlow 2.16 or later and no other package. A SavedModel is a program: open
only those of people whom you trust. Of an .npz file the arrays x_test
(uint8 [n, height, width, channels]) and, for the accuracy, y_test are read.
"""

import argparse
import pathlib

import keras
import numpy as np
import tensorflow as tf


def read_image(path: pathlib.Path, shape) -> np.ndarray:
    """Returns an image file as uint8 [height, width, channels] of `shape`."""
    image = tf.io.decode_image(path.read_bytes(), shape[2], expand_animations=False)
    image = tf.image.resize(image, shape[:2], antialias=True)
    return tf.cast(tf.round(image), tf.uint8).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, type=pathlib.Path)
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    options = parser.parse_args()

    loaded = tf.saved_model.load(options.model)
    classify = loaded.signatures["serving_default"]
    names = loaded.signatures["class_names"]()["class_names"].numpy()
    names = [name.decode() for name in names]
    shape = classify.structured_input_signature[1]["images"].shape[1:]

    # In a Keras model the same endpoint is a layer.
    layer = keras.layers.TFSMLayer(options.model, call_endpoint="serving_default")
    inputs = keras.Input(shape, dtype="uint8")
    model = keras.Model(inputs, layer(inputs)["probabilities"])

    for path in options.files:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                images = arrays["x_test"].reshape(-1, *shape)
                labels = arrays.get("y_test")
            found = model.predict(images, verbose=0).argmax(axis=1)
            counts = np.bincount(found, minlength=len(names))
            print(f"{path}: " + ", ".join(map("{} {}".format, counts, names)))
            if labels is not None:
                print(f"Accuracy: {100 * np.mean(found == labels.ravel()):.1f} %")
        else:
            image = read_image(path, shape)
            (probabilities,) = classify(images=image[None])["probabilities"].numpy()
            best = probabilities.argmax()
            print(f"{path}: {names[best]} ({100 * probabilities[best]:.0f} %)")


if __name__ == "__main__":
    main()
