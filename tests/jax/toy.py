"""A program of a few operations, which compiles at once, to test what runs programs.

Its set moves towards the class means of random real images; its networks are linear.
"""

import pathlib
import zlib

import numpy as np
import tensorflow as tf

from dam_tf.exports.program import folder as program
from dam_tf.exports.program.functions import Function
from dam_tf.exports.program.self_test import SEED, record

SHAPE, COUNTS, TEST, IPC, MOST = (8, 8, 1), np.array([12, 9], np.int32), 10, 2, 7
EPOCHS, NETWORKS = 6, 3
RUN, RUN_SEED = 40, 3  # iterations and seed of a run as it was compiled
LABELS = np.repeat(np.arange(2, dtype=np.int32), IPC)


class Toy:
    """What `Functions` is to a method: functions, variables and constants by name."""

    state = ("images", "images/momentum", "iteration")
    losses = ("loss", "mean")

    def __init__(self):
        self.images = tf.Variable(tf.zeros([len(LABELS), *SHAPE]))
        self.momentum = tf.Variable(tf.zeros([len(LABELS), *SHAPE]))
        self.iteration, self.seed = tf.Variable(0, dtype=tf.int64), tf.Variable(0)
        self.set_images = tf.Variable(tf.zeros([len(LABELS), *SHAPE]))
        self.set_labels = tf.Variable(LABELS)
        self.mean = tf.Variable([0.25])
        self.deviation = tf.Variable([0.5])
        self.constants = {"mean": self.mean, "deviation": self.deviation}
        state = (self.images, self.momentum, self.iteration)
        self.variables = {
            **dict(zip(self.state, state, strict=True)),
            "seed": self.seed,
            "set/images": self.set_images,
            "set/labels": self.set_labels,
        }
        number = tf.TensorSpec([], tf.int32)
        real = tf.TensorSpec([sum(COUNTS), *SHAPE], tf.uint8)
        test = tf.TensorSpec([TEST, *SHAPE], tf.uint8)
        weights = tf.TensorSpec([NETWORKS, int(np.prod(SHAPE)), 2])
        given = {"test": test, "first": number, "last": number}
        given["network/weights"] = weights
        names = ("set/images", "set/labels", "pixels")
        functions = {
            "init": (self._init, {"real": real}, self.state),
            "distill": (self._distill, {"real": real, "count": number}, ("losses",)),
            "pixels": (self._pixels, {}, names),
            "evaluate": (self._evaluate, given, ("network/weights", "predictions")),
        }
        self.by_name = {
            name: Function(tf.function(call, jit_compile=True), given, gives)
            for name, (call, given, gives) in functions.items()
        }

    def _pick(self, real, many, number):
        """Random images of each class, in model space `[classes * many, h, w, c]`."""
        seed = tf.stack([self.seed, tf.cast(number, tf.int32)])
        shares = tf.random.stateless_uniform([2, many], seed)
        rows = tf.cast(shares * np.float32(COUNTS)[:, None], tf.int32)
        rows += (np.cumsum(COUNTS) - COUNTS).astype(np.int32)[:, None]
        return self._seen(tf.gather(real, tf.reshape(rows, [-1])))

    def _seen(self, images):
        return (tf.cast(images, tf.float32) / 255 - self.mean) / self.deviation

    def _init(self, real):
        first = self._pick(real, IPC, -1)
        return first, tf.zeros_like(first), tf.constant(0, tf.int64)

    def _distill(self, real, count):
        kept, done = tf.zeros([MOST, 2]), 0
        while done < count:
            batch = tf.reshape(self._pick(real, 4, self.iteration), [2, 4, *SHAPE])
            goal = tf.repeat(tf.reduce_mean(batch, 1), IPC, axis=0)
            gradient = self.images - goal
            self.momentum.assign(0.5 * self.momentum + gradient)
            self.images.assign_sub(0.1 * self.momentum)
            self.iteration.assign_add(1)
            loss = tf.reduce_sum(gradient**2)
            row = tf.stack([loss, tf.reduce_mean(gradient)])
            kept = tf.tensor_scatter_nd_update(kept, [[done]], [row])
            done += 1
        return (kept,)

    def _pixels(self):
        images = tf.identity(self.images)
        return images, tf.constant(LABELS), images * self.deviation + self.mean

    def _evaluate(self, test, first, last, weights):
        inputs = tf.reshape(self.set_images, [len(LABELS), -1])
        seed = tf.stack([self.seed, 5])
        fresh = tf.random.stateless_normal(weights.shape, seed, stddev=0.1)
        weights = tf.where(first == 0, fresh, weights)
        while first < last:
            off = tf.nn.softmax(tf.einsum("nf,mfc->mnc", inputs, weights))
            off -= tf.one_hot(self.set_labels, 2)
            weights -= 0.01 * tf.einsum("nf,mnc->mfc", inputs, off)
            first += 1
        seen = tf.reshape(self._seen(test), [TEST, -1])
        answers = tf.einsum("nf,mfc->mnc", seen, weights)
        return weights, tf.argmax(answers, -1, tf.int32)


def images_and_labels(count, seed):
    """Images of two classes, of which the second is brighter; mixed."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([0, 1], count))
    noise = rng.integers(0, 200, [len(labels), *SHAPE])
    return (noise + 40 * labels[:, None, None, None]).astype(np.uint8), labels


def whole_run(toy, real, test):
    """What TensorFlow makes of the whole run: images, losses, and answers."""
    call = {name: one.call for name, one in toy.by_name.items()}
    toy.seed.assign(RUN_SEED)
    for name, value in zip(toy.state, call["init"](real), strict=True):
        toy.variables[name].assign(value)
    losses = [call["distill"](real, tf.constant(5))[0][:5] for _ in range(RUN // 5)]
    images, labels, pixels = call["pixels"]()
    toy.set_images.assign(images)
    toy.set_labels.assign(labels)
    weights = tf.zeros([NETWORKS, images[0].shape.num_elements(), 2])
    epochs = tf.constant(0), tf.constant(EPOCHS)
    weights, answers = call["evaluate"](test, *epochs, weights)
    found = {"pixels": pixels, "losses": tf.concat(losses, 0), "answers": answers}
    return {name: one.numpy() for name, one in {**found, "images": images}.items()}


def write_toy(folder: pathlib.Path) -> None:
    """Writes the program `toy/` and its data, `toy.npz`, into `folder`."""
    toy = Toy()
    train, labels = images_and_labels(COUNTS, seed=0)
    test, test_labels = images_and_labels([6, 4], seed=1)
    file = folder / "toy.npz"
    np.savez(file, x_train=train, y_train=labels, x_test=test, y_test=test_labels)
    order, test_order = (np.argsort(x, kind="stable") for x in (labels, test_labels))
    manifest = {
        "format": program.FORMAT,
        "version": program.VERSION,
        "target": "cpu",
        "method": "toy",
        "settings": {
            "distillation.seed": RUN_SEED,
            "distillation.checkpoint_every": 10,
        },
        "losses": toy.losses,
        "data": {
            "name": "toy",
            "class_names": ["0", "1"],
            "image_shape": SHAPE,
            "train_counts": COUNTS.tolist(),
            "test_count": TEST,
            "train_crc32": zlib.crc32(train[order]),
            "test_crc32": zlib.crc32(test[test_order]),
        },
        "ipc": IPC,
        "iterations": RUN,
        "iterations_per_call": MOST,
        "epochs": EPOCHS,
        "networks": NETWORKS,
        "labels": LABELS.tolist(),
        "formation": "raw",
        "state": toy.state,
        "self_test": {"seed": SEED, "tolerance": 1e-4},
    }
    (folder / "toy").mkdir()
    found = record(toy)
    np.savez(folder / "expected.npz", **whole_run(toy, train[order], test[test_order]))
    lowered = program._lowered(toy, tf32=False)
    program._write(folder / "toy", manifest, lowered, toy, found)
