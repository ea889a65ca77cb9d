"""A program of a few operations, in the format of a compiled run: it compiles at once.

Its set moves towards the class means of random real images, and its networks are linear.
So what is tested with it is the runner, not a method.
"""

import hashlib
import json
import pathlib
import shutil
import zlib

import numpy as np
import tensorflow as tf

from dam_tf.exports.program import lowering

SHAPE, COUNTS, TEST, IPC, MOST = (8, 8, 1), [12, 9], 10, 2, 7
ITERATIONS, EPOCHS, NETWORKS = 40, 6, 3
PROGRAM = pathlib.Path(lowering.__file__).parent


class Toy(tf.Module):
    """The state, and the four functions."""

    def __init__(self):
        count = len(COUNTS) * IPC
        self.images = tf.Variable(tf.zeros([count, *SHAPE]))
        self.momentum = tf.Variable(tf.zeros([count, *SHAPE]))
        self.iteration = tf.Variable(0, dtype=tf.int64)
        self.seed = tf.Variable(0)
        self.mean = tf.Variable([0.25], name="mean")
        self.set_images = tf.Variable(tf.zeros([count, *SHAPE]))
        self.set_labels = tf.Variable(tf.zeros([count], tf.int32))

    def pick(self, real, many, number):
        """Random images of each class, in model space `[classes * many, h, w, c]`."""
        starts = np.cumsum(COUNTS) - COUNTS
        seed = tf.stack([self.seed, tf.cast(number, tf.int32)])
        shares = tf.random.stateless_uniform([len(COUNTS), many], seed)
        rows = starts[:, None] + tf.cast(shares * np.float32(COUNTS)[:, None], tf.int32)
        images = tf.gather(real, tf.reshape(rows, [-1]))
        return tf.cast(images, tf.float32) / 255 - self.mean

    @tf.function(jit_compile=True)
    def init(self, real):
        first = self.pick(real, IPC, -1)
        return first, tf.zeros_like(first), tf.constant(0, tf.int64)

    @tf.function(jit_compile=True)
    def distill(self, real, count):
        kept, done = tf.zeros([MOST, 2]), 0
        while done < count:
            batch = tf.reshape(self.pick(real, 4, self.iteration), [len(COUNTS), 4, -1])
            goal = tf.repeat(tf.reduce_mean(batch, 1), IPC, axis=0)
            goal = tf.reshape(goal, self.images.shape)
            gradient = self.images - goal
            self.momentum.assign(0.5 * self.momentum + gradient)
            self.images.assign_sub(0.1 * self.momentum)
            self.iteration.assign_add(1)
            loss = tf.reduce_sum(gradient**2)
            row = [loss, loss / tf.cast(tf.size(gradient), tf.float32)]
            kept = tf.tensor_scatter_nd_update(kept, [[done]], [tf.stack(row)])
            done += 1
        return (kept,)

    @tf.function(jit_compile=True)
    def pixels(self):
        images = tf.identity(self.images)
        labels = tf.constant(np.repeat(np.arange(len(COUNTS), dtype=np.int32), IPC))
        return images, labels, images + self.mean

    @tf.function(jit_compile=True)
    def evaluate(self, test, first, last, weights):
        inputs = tf.reshape(self.set_images, [len(self.set_images), -1])
        right = tf.one_hot(self.set_labels, len(COUNTS))
        seed = tf.stack([self.seed, 5])
        fresh = tf.random.stateless_normal(weights.shape, seed, stddev=0.1)
        weights = tf.where(first == 0, fresh, weights)
        while first < last:
            off = tf.nn.softmax(tf.einsum("nf,mfc->mnc", inputs, weights)) - right
            weights -= 0.1 * tf.einsum("nf,mnc->mfc", inputs, off)
            first += 1
        seen = tf.reshape(tf.cast(test, tf.float32) / 255 - self.mean, [TEST, -1])
        answers = tf.einsum("nf,mfc->mnc", seen, weights)
        return weights, tf.argmax(answers, -1, tf.int32)


def real_images() -> tuple[np.ndarray, np.ndarray]:
    """Images that two classes of different brightness have, uint8, by class."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], COUNTS)
    low, high = np.array([0, 90])[labels], np.array([160, 256])[labels]
    images = rng.integers(0, 256, [len(labels), *SHAPE])
    scaled = low[:, None, None, None] + images * (high - low)[:, None, None, None] // 256
    return scaled.astype(np.uint8), labels


def write_toy(folder: pathlib.Path) -> None:
    """Writes the program, its data as `toy.npz`, and what TensorFlow makes of them.

    Args:
        folder: Gets `toy/` and `toy.npz`.
    """
    (folder / "toy").mkdir()
    images, labels = real_images()
    rng = np.random.default_rng(1)
    places = np.sort(rng.permutation(len(labels))[:TEST])
    test, test_labels = images[places], labels[places]
    order = rng.permutation(len(labels))  # as in a file of mixed classes
    np.savez(
        folder / "toy.npz",
        x_train=images[(mixed := np.argsort(order))],
        y_train=labels[mixed],
        x_test=test,
        y_test=test_labels,
    )
    # The order within a class is that of the file.
    by_class = mixed[np.argsort(labels[mixed], kind="stable")]
    images = images[by_class]
    functions, results = lowered(images, test)
    constants = {"mean": np.float32([0.25])}
    write_program(folder / "toy", functions, results, constants, images, test)


def lowered(images, test):
    """Returns the functions in StableHLO, and arguments and results of each."""
    toy, results = Toy(), {}
    variables = {
        "images": toy.images,
        "images/momentum": toy.momentum,
        "iteration": toy.iteration,
        "seed": toy.seed,
        "mean": toy.mean,
        "set/images": toy.set_images,
        "set/labels": toy.set_labels,
    }
    weights = tf.zeros([NETWORKS, int(np.prod(SHAPE)), len(COUNTS)])
    count = tf.constant(3)
    calls = {
        "init": ({"real": images}, ["images", "images/momentum", "iteration"]),
        "distill": ({"real": images, "count": count}, ["losses"]),
        "pixels": ({}, ["set/images", "set/labels", "pixels"]),
        "evaluate": (
            {
                "test": test,
                "first": tf.constant(0),
                "last": tf.constant(EPOCHS),
                "network/weights": weights,
            },
            ["network/weights", "predictions"],
        ),
    }
    functions, kept = {}, {}
    for name, (given, gives) in calls.items():
        given = {key: tf.constant(value) for key, value in given.items()}
        call = getattr(toy, name)
        functions[name] = found = lowering.lower(call, given, gives, variables)
        held = {key: one.numpy() for key, one in variables.items()} | given
        start = f"{name}/argument/"
        kept |= {start + v.name: np.asarray(held[v.name]) for v in found.arguments}
        own = dict(zip(gives, call(*given.values()), strict=True))
        results = {key: one for key, one in variables.items()} | own
        start = f"{name}/result/"
        kept |= {start + v.name: np.asarray(results[v.name]) for v in found.results}
        for key in own.keys() & variables.keys():
            variables[key].assign(own[key])
    return functions, kept


def write_program(folder, functions, results, constants, images, test) -> None:
    files = {}
    for name, function in functions.items():
        files[f"{name}.stablehlo"] = function.artifact
    for name, artifact in files.items():
        (folder / name).write_bytes(artifact)
    left_out = {"mean"}
    np.savez(folder / "constants.npz", **constants)
    kept = {k: v for k, v in results.items() if k.rsplit("/", 1)[1] not in left_out}
    np.savez(folder / "self_test.npz", **kept)
    sums = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}
    describe = lambda some: [  # noqa: E731
        {"name": v.name, "shape": list(v.shape), "dtype": v.dtype} for v in some
    ]
    manifest = {
        "format": "dam_tf program",
        "version": 1,
        "made_with": {"tensorflow": tf.__version__},
        "target": "cpu",
        "precision": "float32",
        "tf32": False,
        "method": "toy",
        "settings": {"distillation.seed": 3, "distillation.checkpoint_every": 10},
        "losses": ["loss", "mean"],
        "data": {
            "name": "toy",
            "class_names": ["0", "1"],
            "image_shape": list(SHAPE),
            "train_counts": COUNTS,
            "test_count": TEST,
            "train_crc32": zlib.crc32(images),
            "test_crc32": zlib.crc32(np.ascontiguousarray(test)),
        },
        "ipc": IPC,
        "iterations": ITERATIONS,
        "iterations_per_call": MOST,
        "epochs": EPOCHS,
        "networks": NETWORKS,
        "labels": [0, 0, 1, 1],
        "formation": "raw",
        "self_test_tolerance": 1e-4,
        "files": {name: {"sha256": one} for name, one in sums.items()},
        "functions": {
            name: {
                "file": f"{name}.stablehlo",
                "arguments": describe(one.arguments),
                "results": describe(one.results),
            }
            for name, one in functions.items()
        },
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    shutil.copy(PROGRAM / "run_program.py", folder)
    runner = pathlib.Path(__file__).parents[2] / "dam_tf" / "exports" / "program" / "runner"
    shutil.copytree(runner, folder / "runner", ignore=shutil.ignore_patterns("__*__"))
