"""Writes what dam_tf computes, for the tests that run beside tensorflow-addons.

    .venv/bin/python tests/addons/record.py build/addons

dam_tf cannot be imported there. So this writes, in dam_tf's own environment, inputs
and results of its operations, a set with its preprocessing, and a SavedModel.
"""

import pathlib
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from dam_tf.commands import program

program.import_tensorflow()

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from dam_tf.augmentation import dsa  # noqa: E402
from dam_tf.config.settings import read_config  # noqa: E402
from dam_tf.coresets import select as selection  # noqa: E402
from dam_tf.data import loading as datasets  # noqa: E402
from dam_tf.exports import formats as exporting  # noqa: E402
from dam_tf.networks.architectures.layers import normalization  # noqa: E402

COUNT, SIZE = 6, 32


def warped(images, cotangent, rows) -> dict[str, np.ndarray]:
    """Our warp of `images`, and the gradient of its product with `cotangent`."""
    parameters = dsa.identity(COUNT)._replace(warp=tf.constant(rows))
    with tf.GradientTape() as tape:
        tape.watch(images)
        result = dsa.compiled_apply(images, parameters)
        product = tf.reduce_sum(result * cotangent)
    return {"": result.numpy(), "_gradient": tape.gradient(product, images).numpy()}


def warp_rows(xx=1.0, xy=0.0, x=0.0, yx=0.0, yy=1.0, y=0.0) -> np.ndarray:
    """Rows of `Parameters.warp`, float32 `[COUNT, 2, 3]`."""
    entries = [np.broadcast_to(v, [COUNT]) for v in (xx, xy, x, yx, yy, y)]
    return np.stack(entries, axis=1).reshape(COUNT, 2, 3).astype(np.float32)


def record_augmentation(rng) -> dict[str, np.ndarray]:
    images = rng.standard_normal([COUNT, SIZE, SIZE, 3]).astype(np.float32)
    cotangent = rng.standard_normal(images.shape).astype(np.float32)
    angles = rng.uniform(-0.5, 0.5, COUNT).astype(np.float32)
    shifts = np.array([[0, 0], [3, -4], [-4, 1], [0.5, 0.25], [-2.7, 3.1], [40, 0]])
    zooms = rng.uniform(1 / 1.2, 1.2, [COUNT, 2]).astype(np.float32)
    sin, cos = np.sin(angles), np.cos(angles)
    warps = {
        "rotated": warp_rows(cos, -sin, 0, sin, cos, 0),
        "shifted": warp_rows(
            x=-2 * shifts[:, 0] / SIZE, y=-2 * shifts[:, 1] / SIZE
        ),  # the source lies on the other side
        "zoomed": warp_rows(xx=zooms[:, 0], yy=zooms[:, 1]),
    }
    found = {
        "images": images,
        "cotangent": cotangent,
        "angles": angles,
        "shifts": shifts.astype(np.float32),
        "zooms": zooms,
    }
    for name, rows in warps.items():
        for suffix, values in warped(tf.constant(images), cotangent, rows).items():
            found[name + suffix] = values
    centres = rng.integers(0, SIZE, [COUNT, 2]).astype(np.int32)
    hole = np.concatenate([centres - 8, np.full([COUNT, 2], 16, np.int32)], axis=1)
    parameters = dsa.identity(COUNT)._replace(hole=tf.constant(hole))
    found["centres"] = centres
    found["cut"] = dsa.apply(tf.constant(images), parameters).numpy()
    return found


def record_normalization(rng) -> dict[str, np.ndarray]:
    images = rng.standard_normal([4, 9, 7, 5]).astype(np.float32)
    gamma, beta = rng.standard_normal([2, 5]).astype(np.float32)
    inputs = keras.Input([9, 7, 5])
    ours = keras.Model(inputs, normalization("instance", inputs, "norm"))
    layers = {
        "normalized_1e-05": ours,
        "normalized_0.001": keras.layers.GroupNormalization(groups=-1, epsilon=1e-3),
    }
    found = {"features": images, "gamma": gamma, "beta": beta}
    for name, layer in layers.items():
        layer(images)
        layer.set_weights([gamma, beta])
        found[name] = layer(images).numpy()
    return found


def record_optimizer(rng) -> dict[str, np.ndarray]:
    start = rng.standard_normal(5).astype(np.float32)
    gradients = rng.standard_normal([6, 5]).astype(np.float32)
    rate, decay = 0.1, 0.02
    weight = keras.Variable(start)
    optimizer = keras.optimizers.SGD(rate, momentum=0.9, weight_decay=decay / rate)
    found = []
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient)], [weight])
        found.append(weight.numpy())
    return {
        "start": start,
        "gradients": gradients,
        "rate_decay": np.array([rate, decay]),
        "weights": np.stack(found),
    }


def record_set(folder: pathlib.Path) -> None:
    """Real digits as a set, whitened; a classifier; and test images."""
    config = read_config(
        overrides={
            "dataset.name": "digits",
            "dataset.preprocessing": "zca",
            "distillation.ipc": 10,
            "network.width": 32,
            "evaluation.epochs": 120,
            "evaluation.learning_rate": 0.05,
        }
    )
    data = datasets.load_dataset(config.dataset)
    chosen = selection.random_real_set(data, config)
    exporting.export(chosen, ["tfrecord", "saved_model"], folder / "export", config)
    np.savez(folder / "test.npz", x_test=data.test.images, y_test=data.test.labels)
    model = tf.saved_model.load(folder / "export" / "saved_model")
    images = tf.constant(data.test.images[:50])
    found = model.signatures["serving_default"](images=images)
    np.savez(
        folder / "expected.npz",
        images=chosen.images,
        model_images=chosen.to_numpy("network")[0],
        probabilities=found["probabilities"],
    )


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    np.savez(
        folder / "parity.npz",
        **record_augmentation(rng),
        **record_normalization(rng),
        **record_optimizer(rng),
    )
    record_set(folder)


if __name__ == "__main__":
    main()
