"""Trains a Keras classifier on a distilled set, and tests it on real images.

    python examples/downstream_keras.py --distilled=runs/digits --test=digits.npz

Needs TensorFlow 2.16 or later and no other package: the set is TFRecords, described
by its features.json, and its preprocessing is a SavedModel. A SavedModel is a
program: open only those of people whom you trust. Real images are an .npz file with
x_test (uint8 [n, height, width, channels]) and y_test, or a folder with a folder of
images for each class.
"""

import argparse
import json
import pathlib

import keras
import numpy as np
import tensorflow as tf


def read_distilled(run: pathlib.Path) -> tuple[tf.data.Dataset, list[str]]:
    """Returns (image, label) pairs, float32 pixels, and the class names."""
    folder = run / "distilled"
    features = json.loads((folder / "features.json").read_text())
    features = features["featuresDict"]["features"]
    tensor = features["image"]["tensor"]
    shape = [int(side) for side in tensor["shape"]["dimensions"]]
    specification = {
        "image": tf.io.FixedLenFeature(shape, tensor["dtype"]),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }

    def parse(record):
        example = tf.io.parse_single_example(record, specification)
        return example["image"], example["label"]

    files = sorted(str(path) for path in folder.glob("*.tfrecord*"))
    names = (folder / "label.labels.txt").read_text(encoding="utf-8").splitlines()
    return tf.data.TFRecordDataset(files).map(parse), names


def read_test(path: pathlib.Path, shape, names: list[str]) -> tf.data.Dataset:
    """Returns batches of real images, float32 pixels from 0 to 1, and labels."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            pairs = arrays["x_test"].reshape(-1, *shape), arrays["y_test"]
        batches = tf.data.Dataset.from_tensor_slices(pairs).batch(256)
    else:
        batches = keras.utils.image_dataset_from_directory(
            path,
            class_names=names,
            color_mode="grayscale" if shape[2] == 1 else "rgb",
            image_size=shape[:2],
            shuffle=False,
            verbose=False,
        )
    return batches.map(
        lambda images, labels: (tf.cast(images, tf.float32) / 255, labels)
    )


def convnet(shape, classes: int) -> keras.Model:
    """Returns three blocks of convolution, instance norm, ReLU and pooling."""
    inputs = x = keras.Input(shape)
    for _ in range(3):
        x = keras.layers.Conv2D(128, 3, padding="same")(x)
        x = keras.layers.GroupNormalization(groups=-1, epsilon=1e-5)(x)
        x = keras.layers.ReLU()(x)
        x = keras.layers.AveragePooling2D(2)(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(inputs, keras.layers.Dense(classes)(x))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--distilled", required=True, type=pathlib.Path)
    parser.add_argument("--test", required=True, type=pathlib.Path)
    parser.add_argument("--epochs", type=int, default=300)
    options = parser.parse_args()
    keras.utils.set_random_seed(0)

    pairs, names = read_distilled(options.distilled)
    shape = tuple(pairs.element_spec[0].shape)
    stored = tf.saved_model.load(options.distilled / "preprocessing" / "saved_model")
    preprocess = stored.signatures["serving_default"]

    def to_model(images, labels):
        return preprocess(images=images)["images"], labels

    images, labels = next(iter(pairs.batch(100_000).map(to_model)))
    model = keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.RandomFlip("horizontal"),
            keras.layers.RandomTranslation(0.125, 0.125, fill_mode="constant"),
            convnet(shape, len(names)),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.SGD(0.01, momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(images, labels, epochs=options.epochs, verbose=0)
    test = read_test(options.test, shape, names).map(to_model)
    _, accuracy = model.evaluate(test, verbose=0)
    print(f"Test accuracy: {100 * accuracy:.1f} %, trained on {len(images)} images")


if __name__ == "__main__":
    main()
