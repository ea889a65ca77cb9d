"""CAFE: features that real and synthetic images agree on, layer by layer.

Wang et al., CAFE: Learning to Condense Dataset by Aligning Features, CVPR 2022. What is
not in the paper follows the authors' code (distill.py).
"""

import functools
from collections.abc import Iterator, Mapping

import keras
import numpy as np
import tensorflow as tf

from dam_tf.augmentation import dsa
from dam_tf.base.errors import UserError
from dam_tf.base.messages import log
from dam_tf.base.seeds import Purpose, drawn_classes
from dam_tf.config.bilevel import CAFEDSASettings, CAFESettings
from dam_tf.methods.bilevel import Bilevel, State, kept_variable
from dam_tf.methods.chunks import images_at_once, sum_of_chunks
from dam_tf.methods.method import Gradients, Logs, Method, Task
from dam_tf.methods.optimizers import LazySGD
from dam_tf.networks.registry import tap_names
from dam_tf.synthetic.synthetic_set import SyntheticSet


class CAFE(Bilevel):
    """CAFE: layer-wise alignment, a discrimination loss and two data-driven loops.

    loss = sum over layers of weight * |mean real - mean synthetic features|^2, summed
    over classes, channels and positions, + discrimination * sum over all real images
    of the cross-entropy of their embeddings' products with the synthetic class means.

    Layers are the maps after each activation and the embedding. As in the authors'
    code the last map weighs 1, those before 0.1, and the embedding 2, since it is
    compared twice. Its cross-entropy of the network itself on real images is left out:
    no synthetic image changes it.

    An iteration is one step of the images. After it the network's accuracy on `probe`
    real images of each class is noted. A fresh network takes over once the last
    `window` accuracies lie within `lambda_1`; else the network is trained on the
    synthetic set, epoch by epoch, until accuracies after the last `window` epochs
    spread over more than `lambda_2`. With accuracies that do not change the second
    loop would never end, and with ones that do the first, so each has a cap, and a
    run says once that it was reached.

    The authors' code carries a tenth of each accuracy over into the next, as it does
    not set its sums to zero; here each accuracy is its own.

    Attributes:
        weights: Of the taps, in order, and last of the embedding, once checked.

    Example:
        >>> CAFE(most_epochs=20).settings.lambda_1
        0.04
    """

    Settings = CAFESettings
    shares = "nothing"
    drawn_in_graph = Method.drawn_in_graph  # refuses: accuracies are of more images

    def check_network(self, task: Task, network: keras.Model) -> None:
        super().check_network(task, network)
        taps = len(tap_names(network))
        given = self.settings.layer_weights
        if given and len(given) != taps:
            raise UserError(
                f"method.layer_weights gives {len(given)} weights, and the network has "
                f"{taps} blocks; give one for each, or none"
            )
        given = given or (*[0.1] * (taps - 1), 1.0)
        self.weights = (*given, self.settings.embedding_weight)

    def optimizer(self, name: str, task: Task) -> keras.optimizers.Optimizer:
        del name
        settings = task.config.distillation
        edges = [
            round(share * settings.iterations) - 1
            for share in sorted(self.settings.rate_halves_at)
        ]
        rates = [settings.learning_rate / 2**k for k in range(len(edges) + 1)]
        rate = rates[0]
        if edges:
            rate = keras.optimizers.schedules.PiecewiseConstantDecay(edges, rates)
        return LazySGD(rate, settings.momentum, settings.ema_decay)

    def build(
        self,
        task: Task,
        synthetic: SyntheticSet,
        preprocessing: keras.layers.Layer,
    ) -> None:
        super().build(task, synthetic, preprocessing)
        self.keep_network()
        # Steps of the images with the network, and accuracies after the latest.
        self._steps = kept_variable(tf.zeros([], tf.int32))
        self._recent = kept_variable(tf.zeros([self.settings.window]))
        self._decode = synthetic.decode
        self._said: set[str] = set()
        self._centre = self.compiled(self._centred)
        self._align = self.compiled(self._aligned)
        self._pull = self.compiled(self._pulled)
        self._count_right = self.compiled(self._right)

    @property
    def variables(self) -> Mapping[str, tf.Variable]:
        return {**super().variables, "steps": self._steps, "recent": self._recent}

    def gradients(
        self, synthetic: SyntheticSet, batches: Iterator, iteration: tf.Tensor
    ) -> tuple[Gradients, Logs]:
        state = tf.cond(
            tf.equal(self._steps, 0),
            lambda: self.drawn_network(iteration),
            self.read_network,
        )
        state = self.settled(state, iteration)
        self.write_network(state)
        parameters = self.augmentation_of(iteration)
        classes = self._classes_of(iteration)

        def of(place, function, *more):
            """What a function gives for a class's stored images and augmentation."""
            row, label = dsa.take(parameters, place[None]), classes[place]

            def of_count(count):
                stored = synthetic.stored_of(label[None], count)[0]
                return function(stored, row, *more, *state)

            return synthetic.by_count(label, of_count)

        places = tf.range(self._drawn)
        centre = functools.partial(of, function=self._centre)
        centres = tf.map_fn(centre, places, fn_output_signature=tf.float32)

        def of_class(batch, places, images):
            row = dsa.take(parameters, places)
            gradient, losses = self._align(
                batch.images[0], images[0], places[0], row, centres, *state
            )
            return gradient[None], losses

        # Of the centres: each is pulled by all real images.
        sums = {"pull": tf.zeros_like(centres)}
        gradients, logs = self.over_groups(synthetic, batches, of_class, sums)
        pull = logs.pop("pull")

        moved = tf.TensorArray(tf.float32, self._drawn, infer_shape=False)
        for place in places:
            moved = moved.write(place, of(place, self._pull, pull[place]))
        rows, values = gradients["images"].indices, gradients["images"].values
        values, shape = values + moved.concat(), gradients["images"].dense_shape
        return {"images": tf.IndexedSlices(values, rows, shape)}, logs

    def update(
        self, synthetic: SyntheticSet, batches: Iterator, iteration: tf.Tensor
    ) -> None:
        settings, state = self.settings, self.read_network()
        steps = self._steps + 1
        recent = _noted(self._recent, self.probed(state, iteration, 0))
        steady = (steps >= settings.window) & (_spread(recent) < settings.lambda_1)
        leaves = steady | (steps >= settings.most_steps)
        state, capped = tf.cond(
            leaves,
            lambda: (state, tf.constant(False)),
            lambda: self._trained_until_it_varies(state, synthetic, iteration),
        )
        self.write_network(state)
        self._recent.assign(recent)
        self._steps.assign(tf.where(leaves, 0, steps))
        tf.numpy_function(self._say, [leaves & ~steady, capped], [])

    def _trained_until_it_varies(self, state, synthetic, iteration):
        """The network, and whether the cap ended its training."""
        settings = self.settings
        epochs, varies = tf.constant(0), tf.constant(False)
        recent = tf.zeros([settings.window])
        while epochs < settings.most_epochs and not varies:
            state = self.trained(state, synthetic, 1, iteration, epochs)
            epochs += 1
            recent = _noted(recent, self.probed(state, iteration, epochs))
            varies = (epochs >= settings.window) & (_spread(recent) > settings.lambda_2)
        return state, ~varies

    def probed(
        self, state: State, iteration: tf.Tensor, epochs: tf.Tensor | int
    ) -> tf.Tensor:
        """Returns a network's accuracy on random real images of each class.

        In a graph.

        Args:
            state: The network.
            iteration: The iteration.
            epochs: That it was trained in it.
        """
        many = self.settings.probe
        right = tf.zeros([])
        for label in tf.range(self._classes):
            images = self._batches.images_of(
                label, many, Purpose.PROBE_BATCH, iteration, epochs
            )
            right += self._count_right(images, label, *state)
        return right / (self._classes * many)

    def _say(self, steps: np.ndarray, epochs: np.ndarray) -> None:
        """Says, once each, that a loop was ended by its cap."""
        name = self.settings.name
        if steps and "steps" not in self._said:
            self._said.add("steps")
            log.info(
                "%s: a network's accuracy still varied after %d iterations "
                "(method.most_steps); a fresh one takes over, now and whenever that "
                "happens.",
                name,
                self.settings.most_steps,
            )
        if epochs and "epochs" not in self._said:
            self._said.add("epochs")
            log.info(
                "%s: a network's accuracy hardly varied over %d epochs "
                "(method.most_epochs); the images move on, now and whenever that "
                "happens.",
                name,
                self.settings.most_epochs,
            )

    def _classes_of(self, iteration):
        """The labels of an iteration's classes, int32, ascending."""
        if self._drawn == self._classes:
            return tf.range(self._classes)
        labels = tf.numpy_function(
            lambda number: drawn_classes(
                self._seed, int(number), self._classes, self._drawn
            ),
            [iteration],
            tf.int32,
            stateful=False,
        )
        return tf.ensure_shape(labels, [self._drawn])

    def _outputs(self, network, images, parameters, theta, statistics):
        """The taps and, last, the embedding of images of one class."""
        images = self.augmented(images, parameters)
        outputs, _ = network.apply(theta, statistics, images, training=False)
        return [*outputs.taps, outputs.embedding]

    def _centred(self, stored, parameters, theta, statistics):
        """The mean embedding of a class's synthetic images, `[d]`."""
        images = self._decode(stored)
        found = self._outputs(self.network, images, parameters, theta, statistics)
        return tf.reduce_mean(found[-1], axis=0)

    def _aligned(self, real, stored, place, parameters, centres, theta, statistics):
        """A class's gradient of the alignment, its losses, and its pull.

        Args:
            real: uint8 `[batch_real, h, w, c]`, pixels.
            stored: float32 `[n, h, w, c]`, in model space.
            place: Of the class among those of the iteration.
            parameters: Its augmentation, one row.
            centres: Mean embeddings of all classes' synthetic images, `[classes, d]`.
            theta: Weights of the network.
            statistics: Of its batch norm.
        """
        *means, pull, cross_entropy = self._real(
            real, place, parameters, centres, theta, statistics
        )
        with tf.GradientTape() as tape:
            tape.watch(stored)
            images = self._decode(stored)
            found = self._outputs(self.network, images, parameters, theta, statistics)
            gaps = [
                mean - tf.reduce_mean(values, 0)
                for mean, values in zip(means, found, strict=True)
            ]
            weighted = zip(self.weights, gaps, strict=True)
            alignment = tf.add_n([w * tf.reduce_sum(gap**2) for w, gap in weighted])
        losses = {
            "loss": alignment + self.settings.discrimination * cross_entropy,
            "alignment": alignment,
            "discrimination": cross_entropy,
            "pull": self.settings.discrimination * pull,
        }
        return tape.gradient(alignment, stored), losses

    def _real(self, real, place, parameters, centres, theta, statistics):
        """What is needed of a class's real images, which pass in chunks: mean features
        by layer, the gradient of the summed cross-entropy in the centres, and that.
        """
        count = real.shape[0]

        def of_rows(rows, valid):
            images = self.in_model_space(tf.gather(real, rows))
            given = images, parameters, theta, statistics
            found = self._outputs(self._real_network, *given)
            means = [tf.tensordot(valid / count, values, 1) for values in found]
            logits = tf.matmul(found[-1], centres, transpose_b=True)
            labels = tf.one_hot(tf.fill([len(rows)], place), centres.shape[0])
            losses = tf.nn.softmax_cross_entropy_with_logits(labels, logits)
            slopes = (tf.nn.softmax(logits) - labels) * valid[:, None]
            pull = tf.matmul(slopes, found[-1], transpose_a=True)
            return [*means, pull, tf.reduce_sum(losses * valid)]

        nothing = tf.zeros([1, *real.shape[1:]])
        sketch = self._outputs(self.network, nothing, parameters, theta, statistics)
        zeros = [tf.zeros(values.shape[1:]) for values in sketch]
        zeros += [tf.zeros_like(centres), tf.zeros([])]
        return sum_of_chunks(of_rows, zeros, count, self._at_once)

    def _pulled(self, stored, parameters, pull, theta, statistics):
        """A class's gradient of what its centre is pulled by."""
        with tf.GradientTape() as tape:
            tape.watch(stored)
            centre = self._centred(stored, parameters, theta, statistics)
            product = tf.reduce_sum(centre * pull)
        return tape.gradient(product, stored)

    def _right(self, pixels, label, theta, statistics):
        """How many images of a class the network tells rightly."""
        count = pixels.shape[0]

        def of_rows(rows, valid):
            images = self.in_model_space(tf.gather(pixels, rows))
            network = self._real_network
            outputs, _ = network.apply(theta, statistics, images, training=False)
            found = tf.argmax(outputs.logits, axis=1, output_type=tf.int32)
            return [tf.reduce_sum(tf.cast(found == label, tf.float32) * valid)]

        size = images_at_once(pixels.shape[1:], count)
        return sum_of_chunks(of_rows, [tf.zeros([])], count, size)[0]


class CAFEDSA(CAFE):
    """CAFE with differentiable Siamese augmentation, as DSA has it.

    Example:
        >>> CAFEDSA().settings.augments
        True
    """

    Settings = CAFEDSASettings


def _noted(recent: tf.Tensor, accuracy: tf.Tensor) -> tf.Tensor:
    return tf.concat([recent[1:], accuracy[None]], 0)


def _spread(recent: tf.Tensor) -> tf.Tensor:
    return tf.reduce_max(recent) - tf.reduce_min(recent)
