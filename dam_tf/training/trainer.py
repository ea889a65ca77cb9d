"""Training networks on a set of images, several at a time, in compiled stretches.

Evaluation trains networks with it, selection the one that chooses, pretraining those
of a pool, export the one that is shipped. The protocol is that of the DC/DSA/DM code:
`descent.py`, and DSA with one operation for each batch.
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from dam_tf.augmentation import autoaugment, dsa
from dam_tf.augmentation.cutmix import cutmix
from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.config.settings import Config
from dam_tf.training.descent import TEST_BATCH, Descent, State, learning_rate
from dam_tf.training.memory import check_training

# Whitening reads a matrix larger than a cache, so it takes more images at once.
_TEST_PIXELS = 10 * TEST_BATCH * 32 * 32


class Trainer:
    """Trains networks on a set from scratch, each a function of (seed, index).

    Args:
        images: `[n, h, w, c]`: float32 in model space; or pixels, uint8 0..255
            (memory-mapped if you like) or, with `pixels`, float32 0..1. A variable,
            where they are not known yet.
        labels: Their classes, int `[n]`, or the probabilities of each class,
            float32 `[n, classes]`.
        classes: Number of classes.
        config: Its network, augmentation and evaluation sections are used, and
            the run's seed.
        preprocessing: A layer, pixels in 0..1 to model space; the identity if left
            out.
        pixels: Whether float32 `images` are pixels, too.
        purpose: What the networks are for. Those of different purposes share neither
            weights nor the order of images nor augmentation.
        seed: In place of the run's.

    Raises:
        ValueError: `labels` are of another shape.
        UserError: the network does not suit the images, or takes too much memory.

    Attributes:
        network: The network, a function of its weights.

    Example:
        >>> images = np.zeros([4, 8, 8, 1], np.float32)
        >>> trainer = Trainer(images, np.array([0, 1, 0, 1]), 2, Config())
        >>> state = trainer.initial_state(0)
        >>> state, right = trainer.train_epoch(state, 0, 0)
        >>> right.shape, trainer.predict(state, np.zeros([9, 8, 8, 1], np.uint8)).shape
        ((4,), (9, 2))
    """

    def __init__(
        self,
        images: np.ndarray | tf.Variable,
        labels: np.ndarray | tf.Variable,
        classes: int,
        config: Config,
        preprocessing: keras.layers.Layer | None = None,
        pixels: bool = False,
        purpose: Purpose = Purpose.EVALUATION_NETWORK,
        seed: tf.Variable | None = None,
    ):
        self._count, *shape = images.shape
        self._shape = tuple(shape)
        if tuple(labels.shape) not in ((self._count,), (self._count, classes)):
            raise ValueError(
                f"labels of shape {labels.shape} are not those of {self._count} "
                f"images and {classes} classes"
            )
        check_training(self._shape, classes, config, self._count)
        self._pixels = pixels or images.dtype == np.uint8
        # A set that may be larger than memory stays where it is.
        self._stays = isinstance(images, np.ndarray) and images.dtype == np.uint8
        self._images, self._targets = images, labels
        if isinstance(images, np.ndarray):
            self._images = images if self._stays else tf.constant(images)
            kind = tf.int32 if labels.ndim == 1 else tf.float32
            self._targets = tf.constant(labels, kind)
        self._settings, self._classes = config.evaluation, classes
        self._augmentation = config.augmentation
        self._preprocessing = preprocessing or keras.layers.Identity()
        self._seed = config.distillation.seed if seed is None else seed
        self._purpose = purpose
        self._descent = Descent(self._shape, classes, config, self._count)
        self.network = self._descent.network

    def __len__(self) -> int:
        """The number of training images."""
        return self._count

    def initial_state(self, index: int | tf.Tensor) -> State:
        """Returns network number `index`, untrained."""
        weights = self.network.init(self._seed_of(Purpose.EVALUATION_NETWORK, index))
        velocities = [tf.zeros_like(weight) for weight in weights]
        return weights, velocities, self.network.statistics

    @tf.function
    def train(
        self,
        states: Sequence[State],
        indices: Sequence[tf.Tensor],
        first: tf.Tensor,
        last: tf.Tensor,
    ) -> list[State]:
        """Trains several networks for epochs `first` to `last` - 1.

        A network becomes the same whichever others are trained beside it.

        Args:
            states: Of the networks.
            indices: Their numbers, each a scalar int32.
            first: Epochs done.
            last: Epochs done afterwards.
        """
        states, epoch = list(states), first
        while epoch < last:
            states, _ = self._epoch(states, indices, epoch)
            epoch += 1
        return states

    def train_epoch(
        self, state: State, index: int, epoch: int
    ) -> tuple[State, np.ndarray]:
        """Trains one network for one epoch.

        Returns:
            Its state, and a bool `[n]` in the order of the images: whether each was
            classified rightly when its batch came up, before the update.
        """
        numbers = tf.constant(index), tf.constant(epoch)  # as such, they do not retrace
        (state,), right = self._one_epoch([state], numbers[:1], numbers[1])
        return state, right[0].numpy()

    @property
    def batches(self) -> int:
        """Whole batches of an epoch."""
        return self._count // min(self._settings.batch_size, self._count)

    @tf.function
    def train_batches(
        self,
        state: State,
        index: tf.Tensor,
        epoch: tf.Tensor,
        first: tf.Tensor,
        last: tf.Tensor,
    ) -> State:
        """Trains one network for some batches of an epoch, for states on the way.

        All batches of an epoch are the epoch, but for a last one that is not whole.

        Args:
            state: Of the network.
            index: Its number, a scalar int32.
            epoch: The epoch, a scalar int32.
            first: Batches of it that are done, a scalar int32.
            last: Batches done afterwards, at most `batches`, a scalar int32.
        """
        size = min(self._settings.batch_size, self._count)
        order = self._order(index, epoch)
        for batch in tf.range(first, last):
            rows = [tf.slice(order, [batch * size], [size])]
            (state,), _ = self._steps([state], rows, [index], epoch, batch)
        return state

    @tf.function
    def train_rest(self, state: State, index: tf.Tensor, epoch: tf.Tensor) -> State:
        """Trains one network for the last batch of an epoch, where it is not whole."""
        rest = self._count % min(self._settings.batch_size, self._count)
        if rest:
            rows = [self._order(index, epoch)[-rest:]]
            (state,), _ = self._steps([state], rows, [index], epoch, self.batches)
        return state

    def predict(self, state: State, images: np.ndarray) -> np.ndarray:
        """Returns the logits `[m, classes]` of `images`, uint8 or 0..1 pixels."""
        return self._in_parts(state, images, "logits")

    def embed(self, state: State, images: np.ndarray) -> np.ndarray:
        """Returns the embeddings `[m, d]` of `images`, uint8 or 0..1 pixels."""
        return self._in_parts(state, images, "embedding")

    def model(self, state: State) -> keras.Model:
        """Returns the network with the weights of `state`, model space to logits."""
        weights, _, statistics = state
        return self.network.to_keras(weights, statistics)

    @tf.function
    def _one_epoch(self, states, indices, epoch):
        return self._epoch(states, indices, epoch)

    def likeliest(self, state: State, images: tf.Tensor) -> tf.Tensor:
        """Returns the likeliest class of each image, int32 `[m]`, in a graph.

        Args:
            state: Of the network.
            images: uint8 `[m, h, w, c]`, all of which lie on the device.
        """
        count, many = images.shape[0], self._at_once
        images = tf.pad(images, [(0, -count % many)] + [(0, 0)] * 3)

        def of_part(part):
            some = tf.slice(images, [part * many, 0, 0, 0], [many, *self._shape])
            logits = self._answers(state, some, "logits")
            return tf.argmax(logits, axis=1, output_type=tf.int32)

        parts = tf.range(len(images) // many)
        return tf.reshape(tf.map_fn(of_part, parts), [-1])[:count]

    @property
    def _at_once(self) -> int:
        height, width, _ = self._shape
        return max(1, _TEST_PIXELS // (TEST_BATCH * height * width)) * TEST_BATCH

    def _in_parts(self, state, images, kind):
        """What `_answers` gives, of images that may be too many for memory at once."""
        many = self._at_once
        found = []
        for start in range(0, len(images), many):
            some = images[start : start + many]
            padding = [(0, -len(some) % TEST_BATCH)] + [(0, 0)] * 3
            answers = self._answers(state, np.pad(some, padding), kind)
            found.append(answers.numpy()[: len(some)])
        return np.concatenate(found)

    @tf.function
    def _answers(self, state, images, kind):
        """The `kind` of outputs, a field of `Outputs`, of a part of the images."""
        images = self._model_space(images)
        found = tf.map_fn(
            lambda some: getattr(self._descent.answer(state, some), kind),
            tf.reshape(images, [-1, TEST_BATCH, *self._shape]),
            fn_output_signature=tf.float32,
            parallel_iterations=2,
        )
        return tf.reshape(found, [-1, found.shape[-1]])

    def _model_space(self, images):
        return self._preprocessing(_unit(images))

    def _epoch(self, states, indices, epoch):
        size = min(self._settings.batch_size, self._count)
        whole, rest = divmod(self._count, size)
        orders = [self._order(index, epoch) for index in indices]
        flags = tf.TensorArray(tf.bool, whole)
        for batch in tf.range(whole):
            rows = [tf.slice(order, [batch * size], [size]) for order in orders]
            states, right = self._steps(states, rows, indices, epoch, batch)
            flags = flags.write(batch, right)
        right = tf.reshape(tf.transpose(flags.stack(), [1, 0, 2]), [len(orders), -1])
        if rest:
            rows = [order[whole * size :] for order in orders]
            states, last = self._steps(states, rows, indices, epoch, whole)
            right = tf.concat([right, last], axis=1)
        ranks = [tf.argsort(order) for order in orders]
        return states, tf.gather(right, tf.stack(ranks), batch_dims=1)

    def _order(self, index, epoch):
        seed = self._seed_of(Purpose.EVALUATION_ORDER, index, epoch)
        return tf.argsort(tf.random.stateless_uniform([self._count], seed))

    def _steps(self, states, rows, indices, epoch, batch):
        """One batch of each network; they do not wait for each other."""
        steps = [
            self._step(state, some, index, epoch, batch)
            for state, some, index in zip(states, rows, indices, strict=True)
        ]
        states, right = zip(*steps, strict=True)
        return list(states), tf.stack(right)

    def _step(self, state, rows, index, epoch, batch):
        targets = tf.gather(self._targets, rows)
        seed = self._seed_of(Purpose.EVALUATION_AUGMENTATION, index, epoch, batch)
        images = self._augment(self._fetch(rows), seed)
        share = self._settings.cutmix
        if share:
            if targets.dtype.is_integer:
                targets = tf.one_hot(targets, self._classes)
            seed = self._seed_of(Purpose.CUTMIX, index, epoch, batch)
            images, targets = cutmix(images, targets, seed, share)
        rate = learning_rate(self._settings, epoch)
        return self._descent.step(state, images, targets, rate)

    def _seed_of(self, stream, *counters):
        """The seed of weights, order or augmentation of a network for its purpose."""
        if self._purpose is not Purpose.EVALUATION_NETWORK:
            stream, counters = self._purpose, (int(stream), *counters)
        return tensor_seed(self._seed, stream, *counters)

    def _fetch(self, rows):
        if not self._stays:
            return tf.gather(self._images, rows)
        # TensorFlow keeps the function, and what it names, for as long as the graph.
        stored = self._images
        images = tf.numpy_function(
            lambda chosen: stored[chosen], [rows], tf.uint8, stateful=False
        )
        return tf.ensure_shape(images, [len(rows), *self._shape])

    def _augment(self, images, seed):
        """Training images as the network sees them."""
        kind = self._settings.augmentation
        if kind in autoaugment.POLICIES:
            return self._preprocessing(autoaugment.apply(kind, _unit(images), seed))
        if self._pixels:
            images = self._model_space(images)
        if kind == "none":
            return images
        parameters = dsa.draw(
            seed,
            images.shape[0],
            tuple(images.shape[1:3]),
            self._augmentation,
            shared_operation=True,
        )
        return dsa.compiled_apply(images, parameters)


def _unit(images):
    """Pixels as float32: whole numbers 0..255 become 0..1."""
    if images.dtype == tf.uint8:
        return tf.cast(images, tf.float32) / 255
    return images
