"""The gradient of the synthetic images of some classes: Algorithm 1, lines 5 to 9.

It stands between the mathematics (networks, augmentation, what a method matches) and
`feature_matching.py`, which draws networks and works through an iteration's classes.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from dam_tf.augmentation import dsa
from dam_tf.config.settings import Config
from dam_tf.methods.chunked_pass import ChunkedPass
from dam_tf.methods.chunks import (
    chunk_rows,
    chunks_of,
    images_at_once,
    sum_of_chunks,
    times_here,
)
from dam_tf.methods.method import Task
from dam_tf.networks.functional import FunctionalNetwork
from dam_tf.synthetic.synthetic_set import SyntheticSet

Features = Mapping[str, Any]

# Pixels of synthetic images on the tape, few enough for memory to stay flat.
_SYNTHETIC_PIXELS = 32 * 32 * 32


class Matching(Protocol):
    """What a method compares; `FeatureMatching` says more of each."""

    means_suffice: bool
    learns_drawn: bool

    def drawn(self, iteration: tf.Tensor) -> list[tf.Tensor]: ...

    def vectors(self, features: Features) -> list[tf.Tensor]: ...

    def losses(
        self, real: Sequence[tf.Tensor], synthetic: Sequence[tf.Tensor]
    ) -> Mapping[str, tf.Tensor]: ...


class GroupGradient:
    """Computes losses, and their gradient in the synthetic images, class by class.

    Classes come in groups of `classes_per_group`; real images of a group pass in
    chunks, need no gradient and leave only what the method needs of them, so
    memory grows neither with the classes nor with their real images.

    Args:
        matching: What is matched, and how: a method.
        task: What is known of the run.
        synthetic: Whose images the gradient is of.
        classes: Classes of an iteration.
        preprocessing: A layer, pixels in 0..1 to model space.

    Attributes:
        classes_per_group: Classes that a call takes; divides `classes`.
        network: The random network that the images pass through.

    Example:
        >>> from dam_tf import make_config
        >>> from dam_tf.config.settings import resolve
        >>> from dam_tf.methods.datadam import DataDAM
        >>> config = make_config(overrides={"distillation.batch_real": 4})
        >>> task = Task(resolve(config, (8, 8, 1)), (8, 8, 1), ("cat", "dog"))
        >>> method, layer = DataDAM(), keras.layers.Identity()
        >>> method.check(task)
        >>> synthetic = SyntheticSet(tf.zeros([2, 1, 8, 8, 1]).numpy())
        >>> gradient = GroupGradient(method, task, synthetic, 2, layer)
        >>> found, losses = gradient(
        ...     tf.fill([2, 4, 8, 8, 1], tf.constant(255, tf.uint8)),
        ...     tf.zeros([2, 1, 8, 8, 1]),
        ...     dsa.identity(2),
        ...     gradient.network.init(tf.constant([0, 1])),
        ... )
        >>> found.shape, sorted(losses)
        (TensorShape([2, 1, 8, 8, 1]), ['loss', 'mmd', 'sam'])
    """

    def __init__(
        self,
        matching: Matching,
        task: Task,
        synthetic: SyntheticSet,
        classes: int,
        preprocessing: keras.layers.Layer,
    ):
        settings = task.config.distillation
        self._compute = tf.function(self._gradient, jit_compile=settings.jit == "xla")
        network = functools.partial(
            FunctionalNetwork,
            task.image_shape,
            len(task.class_names),
            task.config.network,
            compiled=settings.jit == "xla",
        )
        self.network = self._real_network = network()
        if settings.precision != "float32":
            # For images that need no gradient.
            self._real_network = network(precision=settings.precision)
        self._matching, self._decode = matching, synthetic.decode
        self._preprocessing = preprocessing
        self._counts, most = synthetic.counts, int(np.bincount(synthetic.owners).max())
        self.classes_per_group, self._chunk = turns(
            task.config, task.image_shape, classes, most, synthetic.uneven
        )
        self._widths = self._vector_widths(task.image_shape)

    def __call__(
        self,
        real: tf.Tensor,
        synthetic: tf.Tensor,
        parameters: dsa.Parameters,
        theta: Sequence[tf.Tensor],
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Returns the gradient and the losses, summed over a group of classes.

        Args:
            real: uint8 `[classes_per_group, batch_real, h, w, c]`, pixels.
            synthetic: float32 `[classes_per_group, count, h, w, c]`, in model space;
                or `[n, h, w, c]`, those of all classes, one after the other.
            parameters: A row of augmentation for each class.
            theta: Weights of the network, then what `Matching.drawn` gives.
        """
        return self._compute(real, synthetic, parameters, theta)

    def _gradient(self, real, synthetic, parameters, theta):
        target = self._real_vectors(real, parameters, theta)
        learned = self._split(theta)[1] if self._matching.learns_drawn else []
        with tf.GradientTape() as tape:
            tape.watch([synthetic, *learned])
            counts, vectors = self._synthetic_vectors(synthetic, parameters, theta)
            losses = self._losses(target, vectors, counts, learned)
        gradient, *slope = tape.gradient(losses["loss"], [synthetic, *learned])
        if slope:
            losses = {**losses, "slope": slope[0]}
        return gradient, losses

    def _synthetic_vectors(self, images, parameters, theta):
        """How many images each class has, and the vectors `[n, d_i]` of all."""
        counts = images_of_each(images.shape, self._counts)
        flat = self._decode(tf.reshape(images, [-1, *images.shape[-3:]]))
        counts = counts * (flat.shape[0] // counts.sum())
        owners = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        images = _augmented(flat, owners, parameters)
        return counts, self._vectors_of_batch(images, theta)

    def _losses(self, real, synthetic, counts, learned=()):
        """The losses, added up over classes of as many images each.

        Args:
            real: As of `_real_vectors`.
            synthetic: Of all images, `[n, d_i]`.
            counts: Images of each class.
            learned: What was drawn, if the method learns it.
        """

        def of_some(real, synthetic, classes):
            synthetic = _of_each(synthetic, classes)
            return self._matching.losses([*real, *learned], [*synthetic, *learned])

        numbers, first = np.unique(counts), np.cumsum(counts) - counts
        if len(numbers) == 1:
            return of_some(real, synthetic, len(counts))
        found = []
        for number in numbers:
            classes = np.flatnonzero(counts == number)
            rows = (first[classes][:, None] + np.arange(number)).ravel()
            some = [tf.gather(values, classes) for values in real]
            own = [tf.gather(values, rows) for values in synthetic]
            found.append(of_some(some, own, len(classes)))
        return {name: tf.add_n([one[name] for one in found]) for name in found[0]}

    def _real_vectors(self, real, parameters, theta):
        """What the method needs of real images.

        Args:
            real: uint8 `[classes, batch, h, w, c]`.

        Returns:
            A list of `[classes, 1, d_i]`, means over the batch, or of
            `[classes, batch, d_i]` where the means do not suffice.
        """
        classes, batch = real.shape[:2]
        flat = tf.reshape(real, [classes * batch, *real.shape[2:]])

        def shown(rows):
            pixels = tf.cast(tf.gather(flat, rows), tf.float32) / 255
            images = self._preprocessing(pixels)
            return _augmented(images, rows // batch, parameters)

        weights, drawn = self._split(theta)
        through = ChunkedPass(self._real_network, classes * batch, self._chunk)
        outputs_of = through.begin(weights, shown)

        def of_rows(rows):
            images, outputs = outputs_of(rows)
            return self._vectors(images, outputs, drawn)

        if self._matching.means_suffice:
            return self._class_means(of_rows, classes, batch)
        return self._all_vectors(of_rows, classes, batch)

    def _class_means(self, of_rows, classes, batch):
        """The mean vectors of each class, added up chunk by chunk."""

        def added(rows, valid):
            owners = tf.one_hot(rows // batch, classes) * valid[:, None] / batch
            return [
                tf.linalg.matmul(owners, vector, transpose_a=True)
                for vector in of_rows(rows)
            ]

        zeros = [tf.zeros([classes, width]) for width in self._widths]
        means = sum_of_chunks(added, zeros, classes * batch, self._chunk)
        return [mean[:, None] for mean in means]

    def _all_vectors(self, of_rows, classes, batch):
        """The vectors of every image, put together from the chunks."""
        chunks = chunks_of(classes * batch, self._chunk)
        kept = [tf.TensorArray(tf.float32, chunks) for _ in self._widths]
        for chunk in tf.range(chunks):
            rows, _ = chunk_rows(chunk, classes * batch, self._chunk)
            kept = [k.write(chunk, v) for k, v in zip(kept, of_rows(rows), strict=True)]
        vectors = []
        for one, width in zip(kept, self._widths, strict=True):
            flat = tf.reshape(one.stack(), [chunks * self._chunk, width])
            # The last chunk may repeat the last image.
            flat = flat[: classes * batch]
            vectors.append(tf.reshape(flat, [classes, batch, width]))
        return vectors

    def _vector_widths(self, image_shape):
        theta = [
            *self.network.init(tf.constant([0, 0])),
            *self._matching.drawn(tf.constant(0)),
        ]
        vectors = self._vectors_of_batch(tf.zeros([1, *image_shape]), theta)
        return [vector.shape[-1] for vector in vectors]

    def _vectors_of_batch(self, images, theta):
        """Vectors of images that are a batch, so that its statistics are theirs."""
        weights, drawn = self._split(theta)
        network = self.network
        outputs, _ = network.apply(weights, network.statistics, images, training=True)
        return self._vectors(images, outputs, drawn)

    @tf.autograph.experimental.do_not_convert  # no tensor decides; it takes seconds
    def _vectors(self, images, outputs, drawn):
        features = {**outputs._asdict(), "images": images, "drawn": drawn}
        return self._matching.vectors(features)

    def _split(self, theta):
        """Weights of the network, and what `Matching.drawn` gave."""
        count = len(self.network.weight_names)
        return theta[:count], theta[count:]


def turns(
    config: Config,
    image_shape: Sequence[int],
    classes: int,
    of_a_class: int,
    uneven: bool = False,
) -> tuple[int, int]:
    """Returns how many classes, and how many real images of them, pass at once.

    Args:
        config: The settings of the run.
        image_shape: Height, width and channels.
        classes: Classes of an iteration.
        of_a_class: Synthetic images of each, the most of one.
        uneven: Whether classes have different numbers of them. Then they pass one by
            one, by code for each number; or all together under batch norm.

    Example:
        >>> turns(Config(), (32, 32, 3), 10, 1), turns(Config(), (128, 128, 3), 10, 1)
        ((10, 16), (2, 1))
    """
    batch = config.distillation.batch_real
    pixels = image_shape[0] * image_shape[1]
    most = times_here() * _SYNTHETIC_PIXELS // (of_a_class * pixels)
    # Batch statistics are those of all classes together; every other norm treats each
    # image alone, so classes can take turns.
    of_all = config.network.norm == "batch"
    group = 1 if uneven else _largest_divisor(classes, most)
    group = classes if of_all else group
    return group, images_at_once(image_shape, group * batch)


@tf.autograph.experimental.do_not_convert  # as of `_vectors`
def _augmented(images, owners, parameters):
    """Model-space images whose rows of `parameters` are `owners`."""
    return dsa.apply(images, dsa.take(parameters, owners))


def images_of_each(shape: Sequence[int], counts: Sequence[int]) -> np.ndarray:
    """Returns how many stored images of a group each of its classes has.

    Args:
        shape: Of the images of a group, `[classes, count, h, w, c]` or `[n, h, w, c]`.
        counts: Stored images of each class, which the latter are.

    Example:
        >>> images_of_each((2, 3, 8, 8, 1), (3, 3, 3, 3)).tolist()
        [3, 3]
        >>> images_of_each((6, 8, 8, 1), (5, 1)).tolist()
        [5, 1]
    """
    return np.array(counts) if len(shape) == 4 else np.full(shape[0], shape[1])


def _of_each(values: Sequence[tf.Tensor], classes: int) -> list[tf.Tensor]:
    """Vectors `[n, d_i]` of as many images of each class as `[classes, m, d_i]`."""
    return [tf.reshape(v, [classes, -1, v.shape[-1]]) for v in values]


def _largest_divisor(number: int, limit: int) -> int:
    return max(d for d in range(1, max(1, limit) + 1) if number % d == 0)
