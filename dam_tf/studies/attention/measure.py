"""What the two losses of DataDAM, and their gradients, are through given networks.

The maps, the losses and the way images pass are the method's own
(`methods/datadam.py`, `methods/group_gradient.py`); here they are only kept apart: SAM
of several p and of each block, and MMD. `study.py` decides what is measured.
"""

import functools
from collections.abc import Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from dam_tf.augmentation import dsa
from dam_tf.config.settings import replace
from dam_tf.methods.datadam import DataDAM
from dam_tf.methods.group_gradient import Features, GroupGradient
from dam_tf.methods.method import Task
from dam_tf.networks.memory import sketch
from dam_tf.networks.registry import tap_names
from dam_tf.synthetic.synthetic_set import SyntheticSet

# Of each group of classes what `GroupGradient` needs of its real images.
Vectors = list[list[tf.Tensor]]


class Terms:
    """The losses of DataDAM for several p, apart: a `Matching`.

    Args:
        task: What a run would know; its method says which blocks are matched.
        powers: The values of p.

    Attributes:
        blocks: How many the network has.
        matched: The blocks whose attention the method matches, from 1.

    Raises:
        UserError: the method refuses the task.
    """

    learns_drawn = False

    def __init__(self, task: Task, powers: Sequence[float]):
        method = DataDAM()
        method.check(task)
        self.matched, self._powers = method.layers, powers
        self.means_suffice = method.means_suffice
        classes = len(task.class_names)
        network = sketch(task.image_shape, classes, task.config.network)
        self.blocks = len(tap_names(network))
        everywhere = list(range(1, self.blocks + 1))
        self._methods = []
        for power in powers:
            settings = replace(
                task.config, method__power=power, method__layers=everywhere
            ).method
            self._methods.append(DataDAM(settings))
            self._methods[-1].match_blocks(self.blocks)

    def drawn(self, iteration: tf.Tensor) -> list:
        del iteration
        return []

    def vectors(self, features: Features) -> list[tf.Tensor]:
        """Returns the attention of each p and block, then the embedding."""
        found = [method.vectors(features) for method in self._methods]
        return [
            *(one for vectors in found for one in vectors[:-1]),
            features["embedding"],
        ]

    def losses(
        self, real: Sequence[tf.Tensor], synthetic: Sequence[tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Returns the losses of some classes, without the factors of equation 4.

        Args:
            real: Of each of `vectors`, `[classes, n, d]`.
            synthetic: The same, `[classes, m, d]`.

        Returns:
            `"sam"`, `[powers, blocks]`, and `"mmd"`, `[]`.
        """
        pairs = list(zip(real, synthetic, strict=True))
        last = pairs[-1]
        sam = []
        for number, method in enumerate(self._methods):
            own = pairs[number * self.blocks : (number + 1) * self.blocks]
            # A method is asked for one block at a time.
            each = [method.losses(*zip(pair, last, strict=True)) for pair in own]
            sam.append(tf.stack([one["sam"] for one in each]))
        mmd = self._methods[0].losses(last[:1], last[1:])["mmd"]
        return {"sam": tf.stack(sam), "mmd": mmd}


class Measurement(GroupGradient):
    """Measures batches and sets through networks of one norm.

    Args:
        task: What a run would know. Its `batch_real` is that of the largest batch.
        powers: The values of p.
        per_class: Images of each class of the largest set.
        preprocessing: A layer, pixels in 0..1 to model space.
    """

    def __init__(
        self,
        task: Task,
        powers: Sequence[float],
        per_class: int,
        preprocessing: keras.layers.Layer,
    ):
        self.terms = Terms(task, powers)
        self._classes, self._task = len(task.class_names), task
        shape = [self._classes, per_class, *task.image_shape]
        super().__init__(
            self.terms,
            task,
            SyntheticSet(np.zeros(shape, np.float32)),
            self._classes,
            preprocessing,
        )
        compiled = functools.partial(
            tf.function, jit_compile=task.config.distillation.jit == "xla"
        )
        self._of_real = compiled(self._real_vectors)
        self._of_set = compiled(self._losses_and_gradients)

    def draw(self, seed: tf.Tensor) -> tuple[list[tf.Tensor], dsa.Parameters]:
        """Returns the weights of a network, and what is done to each class's images.

        Args:
            seed: `[2]`, as of a stateless op.
        """
        of_weights, of_images = tf.unstack(
            tf.random.experimental.stateless_split(seed, 2)
        )
        size, settings = self._task.image_shape[:2], self._task.config.augmentation
        parameters = dsa.draw(of_images, self._classes, size, settings)
        return self.network.init(of_weights), parameters

    def real_vectors(
        self, real: np.ndarray, parameters: dsa.Parameters, theta: Sequence[tf.Tensor]
    ) -> Vectors:
        """Returns what is matched of a batch of real images, by groups of classes.

        Args:
            real: uint8 `[classes, n, h, w, c]`, pixels.
            parameters: Of `draw`.
            theta: Of `draw`.
        """
        return [
            self._of_real(tf.constant(real[rows]), dsa.take(parameters, rows), theta)
            for rows in self._groups()
        ]

    def between(self, one: Vectors, other: Vectors) -> dict[str, np.ndarray]:
        """Returns the losses of two batches of real images against each other.

        Args:
            one: Of `real_vectors`.
            other: Of `real_vectors`.

        Returns:
            `"sam"`, `[powers, blocks]`, and `"mmd"`, `[]`: float64, sums over classes.
        """
        return _sum(self.terms.losses(*pair) for pair in zip(one, other, strict=True))

    def of_set(
        self,
        target: Vectors,
        images: np.ndarray,
        parameters: dsa.Parameters,
        theta: Sequence[tf.Tensor],
    ) -> dict[str, np.ndarray]:
        """Returns the losses of a set of images, and the size of their gradients.

        The losses are without the factors of equation 4, and so are the gradients.
        SAM here is summed over the blocks that the method matches.

        Args:
            target: What `real_vectors` gives for a batch.
            images: float32 `[classes, ipc, h, w, c]`, in model space.
            parameters: Of `draw`.
            theta: Of `draw`.

        Returns:
            `"sam"` and `"mmd"`, as of `between`; of the gradient in an image the root
            of the mean square, over all images, of its Euclidean norm:
            `"sam_gradient"`, `[powers]`, and `"mmd_gradient"`, `[]`; and `"cosine"`,
            `[powers]`, between both gradients, each as one vector of all images.
        """

        def one(rows: np.ndarray, vectors: list[tf.Tensor]) -> dict[str, tf.Tensor]:
            own = tf.constant(images[rows])
            return self._of_set(vectors, own, dsa.take(parameters, rows), theta)

        pairs = zip(self._groups(), target, strict=True)
        found = _sum(one(rows, vectors) for rows, vectors in pairs)
        *sam, mmd = np.sqrt(found.pop("squares"))
        norms = np.maximum(np.array(sam) * mmd, 1e-300)
        count = np.sqrt(images.shape[0] * images.shape[1])
        return {
            **found,
            "sam_gradient": np.array(sam) / count,
            "mmd_gradient": mmd / count,
            "cosine": found.pop("products") / norms,
        }

    def _groups(self) -> Iterator[np.ndarray]:
        size = self.classes_per_group
        for first in range(0, self._classes, size):
            yield np.arange(first, first + size)

    def _losses_and_gradients(self, target, images, parameters, theta):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(images)
            counts, vectors = self._synthetic_vectors(images, parameters, theta)
            losses = self._losses(target, vectors, counts)
            matched = tf.constant(self.terms.matched) - 1
            each = tf.unstack(
                tf.reduce_sum(tf.gather(losses["sam"], matched, axis=1), axis=1)
            )
        *sam, mmd = [tape.gradient(one, images) for one in (*each, losses["mmd"])]
        squares = [tf.reduce_sum(tf.square(one)) for one in (*sam, mmd)]
        products = [tf.reduce_sum(one * mmd) for one in sam]
        return {**losses, "squares": tf.stack(squares), "products": tf.stack(products)}


def _sum(parts: Iterator[dict[str, tf.Tensor]]) -> dict[str, np.ndarray]:
    """Adds up, in float64, what groups of classes give."""
    total: dict[str, np.ndarray] = {}
    for part in parts:
        for name, value in part.items():
            total[name] = total.get(name, 0.0) + np.asarray(value, np.float64)
    return total
