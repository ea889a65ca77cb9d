"""Training networks on a set of images, several at a time, in compiled stretches.

The protocol is the lineage's: SGD with momentum and an L2 penalty, a stepwise
learning rate, DSA with one operation for each batch. Evaluation trains networks
with it, selection the one that chooses, export the one that is shipped.
"""

import concurrent.futures
import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dam_tf import networks
from dam_tf.augmentation import autoaugment, dsa
from dam_tf.base.devices import Workers
from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.config.settings import Config, EvaluationConfig
from dam_tf.data.preprocessing.preprocessing import Preprocessing
from dam_tf.data.real_data import Split
from dam_tf.networks.weights import RandomWeights
from dam_tf.networks.xla_cpu.layers import for_xla_on_cpu, trains_faster_by_xla
from dam_tf.synthetic.distilled_set import DistilledSet

# One network's tensors: weights, velocities, statistics of batch norm.
State = tuple[list[tf.Tensor], list[tf.Tensor], list[tf.Tensor]]

_STRETCHES = 20  # calls that one training is cut into, for the progress bar
_TEST_BATCH = 40  # images that a cache holds the maps of
# Whitening reads a matrix larger than a cache, so it takes more images at once.
_TEST_PIXELS = 10 * _TEST_BATCH * 32 * 32
_FEW_IMAGES = 128  # that leave cores idle, so that networks gain by taking turns
# XLA takes a quarter of a minute for a training step, so it has to earn that back.
_PIXELS_WORTH_COMPILING = 20_000 * 32 * 32
_PIXELS_AT_ONCE = 20 * 32 * 32  # whose maps a cache holds, of a compiled step


class Trainer:
    """Trains networks on a set from scratch, each a function of (seed, index).

    Args:
        images: `[n, h, w, c]`: float32 in model space; or pixels, uint8 0..255
            (memory-mapped if you like) or, with `pixels`, float32 0..1.
        labels: Their classes, `[n]`.
        classes: Number of classes.
        config: Its network, augmentation and evaluation sections are used, and
            the run's seed.
        preprocessing: A layer, pixels in 0..1 to model space; the identity if left
            out.
        pixels: Whether float32 `images` are pixels, too.

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
        images: np.ndarray,
        labels: np.ndarray,
        classes: int,
        config: Config,
        preprocessing: keras.layers.Layer | None = None,
        pixels: bool = False,
    ):
        self._count, self._shape = len(images), tuple(images.shape[1:])
        self._pixels = pixels or images.dtype == np.uint8
        # A set that may be larger than memory stays where it is.
        whole = images.dtype == np.uint8
        self._images = images if whole else tf.constant(images)
        self._labels = tf.constant(labels, tf.int32)
        self._settings = config.evaluation
        self._augmentation = config.augmentation
        self._preprocessing = preprocessing or keras.layers.Identity()
        self._seed = config.distillation.seed
        self.network = networks.create(
            config.network.name, self._shape, classes, config.network
        )
        height, width, _ = self._shape
        seen = self._count * self._settings.epochs * self._settings.models
        compiled = (
            seen * height * width >= _PIXELS_WORTH_COMPILING
            and not tf.config.list_logical_devices("GPU")
            and trains_faster_by_xla(self.network)
        )
        fast = for_xla_on_cpu(self.network) if compiled else self.network
        self._logits = tf.function(_logits(fast), jit_compile=compiled, autograph=False)
        at_once = max(1, _PIXELS_AT_ONCE // (height * width)) if compiled else None
        self._descend = tf.function(
            _descent(fast, self._settings, at_once),
            jit_compile=compiled,
            autograph=False,
        )
        self._draw = RandomWeights(self.network, config.network.initializer)
        self._embedding = keras.Model(
            self.network.inputs[0], self.network.get_layer("embedding").output
        )

    def __len__(self) -> int:
        """The number of training images."""
        return self._count

    def initial_state(self, index: int | tf.Tensor) -> State:
        """Returns network number `index`, untrained."""
        weights = self._draw(tensor_seed(self._seed, Purpose.EVALUATION_NETWORK, index))
        velocities = [tf.zeros_like(weight) for weight in weights]
        statistics = [
            tf.convert_to_tensor(v) for v in self.network.non_trainable_variables
        ]
        return weights, velocities, statistics

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
        states = list(states)
        for epoch in tf.range(first, last):
            states, _ = self._epoch(states, indices, epoch)
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
        states = [state]
        for batch in tf.range(first, last):
            rows = [tf.slice(order, [batch * size], [size])]
            states, _ = self._steps(states, rows, [index], epoch, batch)
        return states[0]

    def predict(self, state: State, images: np.ndarray) -> np.ndarray:
        """Returns the logits `[m, classes]` of `images`, uint8 or 0..1 pixels."""
        return _in_batches(self._answer, state, images)

    def embed(self, state: State, images: np.ndarray) -> np.ndarray:
        """Returns the embeddings `[m, d]` of `images`, uint8 or 0..1 pixels."""
        return _in_batches(self._embeddings, state, images)

    def model(self, state: State) -> keras.Model:
        """Returns the network with the weights of `state`, model space to logits."""
        weights, _, statistics = state
        for variable, value in zip(
            [*self.network.trainable_variables, *self.network.non_trainable_variables],
            [*weights, *statistics],
            strict=True,
        ):
            variable.assign(value)
        return self.network

    @tf.function
    def _one_epoch(self, states, indices, epoch):
        return self._epoch(states, indices, epoch)

    @tf.function
    def _answer(self, state, images):
        weights, _, statistics = state
        return self._by_parts(
            lambda some: self._logits(weights, statistics, some), images
        )

    @tf.function
    def _embeddings(self, state, images):
        # The classifier's weights, which come last, are not the embedding's.
        weights, _, statistics = state
        weights = weights[: len(self._embedding.trainable_variables)]

        def embed(some):
            return self._embedding.stateless_call(
                weights, statistics, some, training=False
            )[0]

        return self._by_parts(embed, images)

    def _by_parts(self, function, images):
        images = self._model_space(images)
        parts = tf.reshape(images, [-1, _TEST_BATCH, *self._shape])
        found = tf.map_fn(
            function, parts, fn_output_signature=tf.float32, parallel_iterations=2
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
        places = [tf.argsort(order) for order in orders]
        return states, tf.gather(right, tf.stack(places), batch_dims=1)

    def _order(self, index, epoch):
        seed = tensor_seed(self._seed, Purpose.EVALUATION_ORDER, index, epoch)
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
        labels = tf.gather(self._labels, rows)
        purpose = Purpose.EVALUATION_AUGMENTATION
        seed = tensor_seed(self._seed, purpose, index, epoch, batch)
        images = self._augment(self._fetch(rows), seed)
        rate = learning_rate(self._settings, epoch)
        return self._descend(state, images, labels, rate)

    def _fetch(self, rows):
        if isinstance(self._images, tf.Tensor):
            return tf.gather(self._images, rows)
        stored = self._images  # TensorFlow keeps the function, which must not keep us
        images = tf.numpy_function(
            lambda places: stored[places], [rows], tf.uint8, stateful=False
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


def train_and_test(
    trainer: Trainer,
    test: Split,
    settings: EvaluationConfig,
    on_progress: Callable[[int, Sequence[np.ndarray]], Any] = lambda *_: None,
    strategy: tf.distribute.Strategy | None = None,
) -> list[np.ndarray]:
    """Trains networks and returns what each takes the test images for.

    That is after the last epoch; never the best one.

    Args:
        trainer: Holds the training set.
        test: Real images, uint8 pixels.
        settings: How many networks, and for how long.
        on_progress: Called with (epochs done in all, predictions so far); with
            several workers, all are taken to be as far as this one.
        strategy: Devices and workers, each of which trains some of the networks.

    Returns:
        An int64 `[len(test.labels)]` for each of `settings.models` networks, on
        every worker.
    """
    workers, models = Workers(strategy), settings.models
    together = networks_together(settings, len(trainer))
    together = min(together, -(-models // workers.strategy.num_replicas_in_sync))
    starts = range(0, models, together)
    batches = [range(start, min(start + together, models)) for start in starts]
    lock, epochs, done = threading.Lock(), dict.fromkeys(batches, 0), {}
    stopped = threading.Event()

    def work(numbers: range) -> None:
        def tell(number: int) -> None:
            if stopped.is_set():
                raise concurrent.futures.CancelledError
            with lock:
                epochs[numbers] = number * len(numbers)
                total = sum(epochs.values()) * workers.count
                total = min(total, models * settings.epochs)
                on_progress(total, list(done.values()))

        states = _train(trainer, numbers, settings.epochs, tell)
        answers = [
            trainer.predict(state, test.checked_images()).argmax(axis=1)
            for state in states
        ]
        with lock:
            done.update(zip(numbers, answers, strict=True))
        tell(settings.epochs)

    try:
        workers.spread(work, batches)
    except BaseException:  # Ctrl-C, too, which only the main thread hears of
        stopped.set()
        raise
    found = np.zeros([models, len(test.labels)], np.int64)
    for number, answers in done.items():
        found[number] = answers
    return list(workers.sum(found))


def networks_together(settings: EvaluationConfig, images: int) -> int:
    """Returns how many networks train at the same time.

    Args:
        settings: Of the evaluation; its `together` decides if given.
        images: How many the set has; a few leave cores idle.

    Example:
        >>> networks_together(EvaluationConfig(), 10)
        2
    """
    return settings.together or (2 if images <= _FEW_IMAGES else 1)


def train_network(
    distilled: DistilledSet,
    config: Config,
    on_progress: Callable[[int], Any] = lambda _: None,
) -> keras.Model:
    """Returns the first network of an evaluation of `distilled`, trained.

    Args:
        distilled: The training set.
        config: As of `Trainer`.
        on_progress: Called with the epochs done.

    Returns:
        A Keras model, images in model space to logits.
    """
    trainer = trainer_of(distilled, config)
    (state,) = _train(trainer, [0], config.evaluation.epochs, on_progress)
    return trainer.model(state)


def trainer_of(distilled: DistilledSet, config: Config) -> Trainer:
    """Returns the trainer that trains networks on `distilled`."""
    pixels = config.evaluation.augmentation in autoaugment.POLICIES
    images, labels = distilled.to_numpy("pixels" if pixels else "network")
    preprocessing = distilled.preprocessing or Preprocessing("none")
    return Trainer(images, labels, distilled.num_classes, config, preprocessing, pixels)


def learning_rate(settings: EvaluationConfig, epoch: tf.Tensor) -> tf.Tensor:
    """Returns the learning rate of `epoch`, counted from 0.

    Example:
        >>> settings = EvaluationConfig(learning_rate=1.0, schedule="paper")
        >>> [float(learning_rate(settings, epoch)) for epoch in (14, 15, 30)]
        [1.0, 0.5, 0.25]
    """
    if settings.schedule == "constant":
        return tf.constant(settings.learning_rate)
    if settings.schedule == "paper":
        return settings.learning_rate * 0.5 ** tf.cast(epoch // 15, tf.float32)
    dropped = epoch > settings.epochs // 2
    return settings.learning_rate * tf.where(dropped, 0.1, 1.0)


def _logits(network):
    """Returns a function from weights, statistics and images to logits."""

    def logits(weights, statistics, images):
        return network.stateless_call(weights, statistics, images, training=False)[0]

    return logits


def _descent(network, settings: EvaluationConfig, at_once: int | None):
    """Returns a function that updates a state by one batch.

    It also returns which of the batch were classified rightly before the update.
    Images pass `at_once` at a time, which batch statistics do not allow, or all.
    """

    def gradients_of(weights, statistics, images, labels, shares):
        """Gradients of the sum of `shares` of each image's loss, and so on."""
        with tf.GradientTape() as tape:
            tape.watch(weights)
            logits, statistics = network.stateless_call(
                weights, statistics, images, training=True
            )
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_sum(losses * shares)
        right = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), labels)
        return tape.gradient(loss, weights), statistics, right

    def in_parts(weights, statistics, images, labels):
        count = images.shape[0]
        parts = -(-count // (at_once or count))
        if parts == 1:
            return gradients_of(weights, statistics, images, labels, 1 / count)
        size = -(-count // parts)

        def add(part, sums, right):
            rows = part * size + tf.range(size)
            shares = tf.cast(rows < count, tf.float32) / count
            rows = tf.minimum(rows, count - 1)
            some = tf.gather(images, rows), tf.gather(labels, rows)
            found, _, flags = gradients_of(weights, statistics, *some, shares)
            sums = [total + one for total, one in zip(sums, found, strict=True)]
            return part + 1, sums, right.write(part, flags)

        start = [tf.zeros_like(weight) for weight in weights]
        right = tf.TensorArray(tf.bool, parts, element_shape=[size])
        _, gradients, right = tf.while_loop(
            lambda part, *_: part < parts, add, (0, start, right)
        )
        return gradients, statistics, tf.reshape(right.stack(), [-1])[:count]

    def descend(state, images, labels, rate):
        weights, velocities, statistics = state
        gradients, statistics, right = in_parts(weights, statistics, images, labels)
        # PyTorch's SGD: the penalty joins the gradient before momentum, and the
        # velocity is free of the learning rate. Neither is so in Keras.
        velocities = [
            settings.momentum * v + g + settings.weight_decay * w
            for w, v, g in zip(weights, velocities, gradients, strict=True)
        ]
        weights = [w - rate * v for w, v in zip(weights, velocities, strict=True)]
        return (weights, velocities, statistics), right

    return descend


def _train(trainer, indices, epochs, on_progress):
    """Trains networks from scratch, saying now and then how many epochs are done."""
    states = [trainer.initial_state(tf.constant(index)) for index in indices]
    numbers = [tf.constant(index) for index in indices]
    edges = np.linspace(0, epochs, _STRETCHES + 1).astype(int)
    for first, last in itertools.pairwise(edges):
        states = trainer.train(states, numbers, tf.constant(first), tf.constant(last))
        on_progress(int(last))
    return states


def _in_batches(function, state, images):
    _, height, width, _ = images.shape
    many = max(1, _TEST_PIXELS // (_TEST_BATCH * height * width)) * _TEST_BATCH
    found = []
    for start in range(0, len(images), many):
        some = images[start : start + many]
        padding = [(0, -len(some) % _TEST_BATCH)] + [(0, 0)] * 3
        found.append(function(state, np.pad(some, padding)).numpy()[: len(some)])
    return np.concatenate(found)


def _unit(images):
    """Pixels as float32: whole numbers 0..255 become 0..1."""
    if images.dtype == tf.uint8:
        return tf.cast(images, tf.float32) / 255
    return images
