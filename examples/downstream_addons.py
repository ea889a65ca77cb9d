"""Trains a Keras 2 classifier on a distilled set, with tensorflow-addons.

    python examples/downstream_addons.py --distilled=runs/digits --test=digits.npz

Runs where tensorflow-addons does (requirements-addons.txt: TensorFlow 2.15), and
uses its augmentations, its instance normalisation and its SGDW. The set and its
preprocessing, and with --model an exported classifier, come from TensorFlow 2.21.
Both are SavedModels, that is programs: open only those of people whom you trust.
"""

import argparse
import json
import pathlib

import numpy as np
import tensorflow as tf
import tensorflow_addons as tfa


def read_distilled(run):
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


def load_signature(folder):
    """Returns the function that a SavedModel serves."""
    loaded = tf.saved_model.load(str(folder))
    # Through `loaded`, without which the variables go.
    return lambda images: loaded.signatures["serving_default"](images=images)


def augment(images, labels):
    """Rotates, shifts and cuts a hole, differently for each image."""
    count, side = tf.shape(images)[0], images.shape[1]
    angles = tf.random.uniform([count], -15, 15) * np.pi / 180
    images = tfa.image.rotate(images, angles, interpolation="bilinear")
    shifts = tf.random.uniform([count, 2], -side // 8, side // 8 + 1, tf.int32)
    images = tfa.image.translate(images, tf.cast(shifts, tf.float32))
    return tfa.image.random_cutout(images, 2 * (side // 4)), labels


def convnet(shape, classes):
    """Returns three blocks of convolution, instance norm, ReLU and pooling."""
    inputs = x = tf.keras.Input(shape)
    for _ in range(3):
        x = tf.keras.layers.Conv2D(128, 3, padding="same")(x)
        x = tfa.layers.InstanceNormalization(epsilon=1e-5)(x)
        x = tf.keras.layers.ReLU()(x)
        x = tf.keras.layers.AveragePooling2D(2)(x)
    x = tf.keras.layers.Flatten()(x)
    return tf.keras.Model(inputs, tf.keras.layers.Dense(classes)(x))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--distilled", required=True, type=pathlib.Path)
    parser.add_argument("--test", required=True, type=pathlib.Path)
    parser.add_argument("--model", type=pathlib.Path, help="an exported classifier")
    parser.add_argument("--epochs", type=int, default=300)
    options = parser.parse_args()
    tf.keras.utils.set_random_seed(0)

    pairs, names = read_distilled(options.distilled)
    shape = pairs.element_spec[0].shape
    preprocess = load_signature(options.distilled / "preprocessing" / "saved_model")
    images, labels = next(iter(pairs.batch(100_000)))
    images = preprocess(images)["images"]
    batches = tf.data.Dataset.from_tensor_slices((images, labels))
    batches = batches.shuffle(len(images)).batch(32).map(augment)

    model = convnet(shape, len(names))
    model.compile(
        optimizer=tfa.optimizers.SGDW(
            weight_decay=5e-6, learning_rate=0.01, momentum=0.9
        ),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(batches, epochs=options.epochs, verbose=0)
    with np.load(options.test, allow_pickle=False) as arrays:
        test_images, test_labels = arrays["x_test"], arrays["y_test"]
    test_images = test_images.reshape(-1, *shape)
    seen = preprocess(tf.constant(test_images / 255, tf.float32))["images"]
    _, accuracy = model.evaluate(seen, test_labels, verbose=0)
    print(f"Test accuracy: {100 * accuracy:.1f} %, trained on {len(images)} images")

    if options.model:
        classify = load_signature(options.model)
        found = classify(tf.constant(test_images))["probabilities"].numpy().argmax(1)
        accuracy = np.mean(found == test_labels)
        print(f"Test accuracy of {options.model}: {100 * accuracy:.1f} %")


if __name__ == "__main__":
    main()
