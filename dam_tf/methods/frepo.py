"""FRePo: neural feature regression with pooling (Zhou et al., NeurIPS 2022)."""

import math
from collections.abc import Iterator, Mapping

import keras
import numpy as np
import tensorflow as tf

from dam_tf.base.memory import PROCESS, check_memory
from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.config.kernels import FRePoSettings
from dam_tf.config.sections import NetworkConfig
from dam_tf.data.sampling import ClassBatch
from dam_tf.methods.ageing_pool import AgeingPool
from dam_tf.methods.chunks import images_at_once, sum_of_chunks
from dam_tf.methods.kernel_regression import KernelRegression, ridge_weights
from dam_tf.methods.method import Gradients, Logs, Task
from dam_tf.methods.optimizers import lamb
from dam_tf.networks.functional import FunctionalNetwork
from dam_tf.networks.memory import TAPE, available_bytes, halves, memory_of, sketch
from dam_tf.synthetic.recipe import Recipe
from dam_tf.synthetic.regression_set import centred_one_hot
from dam_tf.synthetic.synthetic_set import SyntheticSet

# How long a network is trained on so many images.
_STEPS_BY_IMAGES = (10, 100, 500, 1000, 5000), (1000, 2000, 5000, 10_000, 40_000)
_IPC, _WIDTH = "--ipc", "--set=method.width"


class FRePo(KernelRegression):
    """Images that a regression on the features of briefly trained networks answers by.

    An iteration draws one network of a pool. With the features F of its last layer but
    one, n synthetic images S (and, where `flip` is on, their mirror images, with the
    same labels) and a batch T of as many real images of each class:

        answers = F_T F_S^T (F_S F_S^T + r tr(F_S F_S^T)/n I)^-1 Y_S
        error = mean over images of 1/2 sum over classes of (answers - Y_T)^2
        margin = mean over labels of -min(largest - second largest, 1/C)
        loss = error + margin (which is 0 where labels are not learned)

    LAMB moves images and labels. Then the network takes a step of Adam on the synthetic
    images, or is drawn anew where it is too old (`ageing_pool.py`). The gradient passes
    the features of the network as it is: first order, nothing is unrolled. Y_T are
    centred one-hot labels; Y_S begin as these, divided by sqrt(C / 10).

    Features of synthetic and of real images are those of batch norm's running
    statistics. Real images pass in chunks and leave the gradient of F_S^T A alone, the
    regression's weights, `[d, C]`, so memory does not grow with their number. The
    regression is float64, in which r = 1e-6 is safe, the networks float32.

    Decided here, where the paper's code does otherwise or nothing was found: the real
    batch has as many images of each class, weights are drawn as
    `network.initializer` says, training shows the images without mirroring, and mirror
    images are for images of three channels unless `flip` says otherwise (the code has
    none for MNIST, nor for CIFAR-100 with more than one image per class).

    Example:
        >>> FRePo(width=32, flip="off").settings.networks
        10
    """

    Settings = FRePoSettings
    shares = "nothing"

    def check(self, task: Task) -> None:
        super().check(task)
        classes, settings = len(task.class_names), self.settings
        shape = task.image_shape
        copies = 2 if self._flips(task) else 1

        def needed(changed: Mapping[str, int]) -> float:
            network = memory_of(
                sketch(shape, classes, self._network_config(task, changed.get(_WIDTH)))
            )
            count = copies * task.images_at(changed.get(_IPC))
            tape = count * (TAPE * network.maps + network.pass_through)
            return PROCESS + 3 * settings.networks * network.weights + tape

        choices = {_IPC: task.smaller_ipcs}
        if settings.features == "frepo":
            choices[_WIDTH] = halves(settings.width)
        what = f"a regression on features of images of {shape[0]}x{shape[1]}"
        check_memory(what, needed, choices, available_bytes())

    def label_scale(self, classes: int) -> float:
        return 1 / math.sqrt(classes / 10)

    def optimizer(self, name: str, task: Task) -> keras.optimizers.Optimizer:
        del name
        return lamb(task.config.distillation, self.settings.decay_over)

    def build(
        self,
        task: Task,
        synthetic: SyntheticSet,
        preprocessing: keras.layers.Layer,
    ) -> None:
        super().build(task, synthetic, preprocessing)
        jit = task.config.distillation.jit == "xla"
        self._flip = self._flips(task)
        self._augmentation = task.config.augmentation
        self._network = FunctionalNetwork(
            task.image_shape, self._classes, self._network_config(task), compiled=jit
        )
        settings = self.settings
        self._pool = AgeingPool(
            self._network,
            settings.networks,
            settings.max_age,
            settings.network_learning_rate,
            self._seed,
            jit,
        )
        self._features = tf.function(self._embed, jit_compile=jit, autograph=False)
        self._real_error = tf.function(self._error_and_slope, jit_compile=jit)

    @property
    def variables(self) -> Mapping[str, tf.Variable]:
        return self._pool.variables

    def gradients(
        self, synthetic: SyntheticSet, batches: Iterator, iteration: tf.Tensor
    ) -> tuple[Gradients, Logs]:
        batch: ClassBatch = next(batches)
        state = self._pool.state(self._pool.slot(iteration))
        learned = self._learned(synthetic)
        with tf.GradientTape() as tape:
            tape.watch(learned)
            targets = self._targets(learned)
            classifier = self._classifier(state, learned["images"], targets)
            margin = self._margin(targets)
        error, right, slope = self._real_error(state, batch, classifier)
        gradients = tape.gradient(
            [classifier, margin], learned, [slope, tf.ones_like(margin)]
        )
        logs = {"error": error, "accuracy": right}
        logs = {name: tf.cast(value, tf.float32) for name, value in logs.items()}
        logs |= {"loss": logs["error"] + margin, "margin": margin}
        return gradients, logs

    def update(
        self, synthetic: SyntheticSet, batches: Iterator, iteration: tf.Tensor
    ) -> None:
        del batches
        learned = self._learned(synthetic)
        images, targets = learned["images"], self._targets(learned)
        count, most = images.shape[0], self.settings.network_batch
        if count > most:
            seed = tensor_seed(self._seed, Purpose.POOL_BATCH, iteration)
            rows = tf.argsort(tf.random.stateless_uniform([count], seed))[:most]
            images, targets = tf.gather(images, rows), tf.gather(targets, rows)
        slot = self._pool.slot(iteration)
        self._pool.train_or_replace(slot, iteration, images, targets)

    def recipe(self, synthetic: SyntheticSet) -> Recipe:
        """Returns how the authors test: Adam on the squared error of the targets.

        Their networks have no norm then, while those of the pool have batch norm.

        Their steps are given for 10 to 5,000 images; between these numbers they are
        interpolated, which is our choice. They vary images by operations much like
        those of section augmentation, which are taken in their place.
        """
        count = len(synthetic.owners)
        return Recipe(
            (3e-4,),
            steps=round(np.interp(count, *_STEPS_BY_IMAGES)),
            batch_size=min(count, 500),
            augmentation=self._augmentation,
            optimizer="adam",
            loss="mse",
            target_scale=self._scale_of(synthetic),
            warm_up=500,
            falls_to=0.01,
            norm="none",
        )

    def _network_config(self, task: Task, width: int | None = None) -> NetworkConfig:
        settings, network = self.settings, task.config.network
        if settings.features == "network":
            return network
        return NetworkConfig(
            name="frepo",
            width=width or settings.width,
            depth=settings.depth,
            norm=settings.norm,
            initializer=network.initializer,
        )

    def _flips(self, task: Task) -> bool:
        return (self.settings.flip or ("off", "on")[task.image_shape[2] == 3]) == "on"

    def _classifier(self, state, images, targets):
        """The weights of the regression on features, float64 `[d, classes]`."""
        if self._flip:
            images = tf.concat([images, tf.reverse(images, axis=[2])], axis=0)
            targets = tf.concat([targets, targets], axis=0)
        features = tf.cast(self._features(state, images), tf.float64)
        kernel = tf.linalg.matmul(features, features, transpose_b=True)
        targets = tf.cast(targets, tf.float64)
        weights = ridge_weights(kernel, targets, self.settings.regularization)
        return tf.linalg.matmul(features, weights, transpose_a=True)

    def _margin(self, targets):
        if self.settings.labels == "fixed":
            return tf.zeros([])
        best = tf.math.top_k(targets, 2).values
        return -tf.reduce_mean(tf.minimum(best[:, 0] - best[:, 1], 1 / self._classes))

    def _embed(self, state, images):
        weights, statistics = state
        outputs, _ = self._network.apply(weights, statistics, images, training=False)
        return outputs.embedding

    def _error_and_slope(self, state, batch, classifier):
        """Error and share of right answers, and the error's gradient in `classifier`.

        Args:
            state: Weights and statistics of the network.
            batch: Real images.
            classifier: float64 `[d, classes]`.
        """
        pixels = tf.reshape(batch.images, [-1, *batch.images.shape[2:]])
        labels = tf.repeat(batch.classes, batch.images.shape[1])
        count = pixels.shape[0]

        def of_rows(rows, valid):
            images = self.in_model_space(tf.gather(pixels, rows))
            features = tf.cast(self._embed(state, images), tf.float64)
            answers = tf.linalg.matmul(features, classifier)
            some, shares = tf.gather(labels, rows), tf.cast(valid, tf.float64) / count
            gaps = answers - centred_one_hot(some, self._classes, tf.float64)
            right = tf.equal(tf.argmax(answers, axis=1, output_type=some.dtype), some)
            slope = tf.linalg.matmul(features, shares[:, None] * gaps, transpose_a=True)
            errors = tf.reduce_sum(tf.square(gaps), axis=1) / 2
            return [
                tf.reduce_sum(shares * errors),
                tf.reduce_sum(shares * tf.cast(right, tf.float64)),
                slope,
            ]

        nothing = tf.zeros([], tf.float64)
        zeros = [nothing, nothing, tf.zeros_like(classifier)]
        size = images_at_once(pixels.shape[1:], count)
        return sum_of_chunks(of_rows, zeros, count, size)
