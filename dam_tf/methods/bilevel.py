"""Methods that match through a network which is trained on the synthetic set.

Images move through a network, then the network is trained on the images, and so on
with one network for some iterations. DC and DSA (`dc.py`) and CAFE (`cafe.py`) say what
is matched, and when a fresh network takes over.
"""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from dam_tf.augmentation import dsa
from dam_tf.base.errors import UserError
from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.data.sampling_in_graph import DrawnBatches
from dam_tf.methods.chunks import images_at_once, sum_of_chunks
from dam_tf.methods.class_wise import ClassWise
from dam_tf.methods.memory import check_distilling
from dam_tf.methods.method import Task
from dam_tf.networks.functional import FunctionalNetwork
from dam_tf.networks.memory import memory_of
from dam_tf.synthetic.synthetic_set import SyntheticSet

# A network at one moment: its weights, and the statistics of batch norm.
State = tuple[list[tf.Tensor], list[tf.Tensor]]

# Real images of each class that give the statistics of batch norm.
_STATISTICS_BATCH = 16


class Bilevel(ClassWise):
    """Synthetic images and a network, each moved by what the other is.

    The network is trained by plain SGD on the whole synthetic set, epoch after epoch,
    as in the DC/DSA code. Statistics of batch norm are those of 16 real images of each
    class, in training mode, before each iteration's matching, which then leaves them
    alone; training on the set moves them on.

    Each replica trains the same network on the whole set, and matches its own classes.

    Attributes:
        network: The network, a function of its weights, once built.
    """

    def check_network(self, task: Task, network: keras.Model) -> None:
        check_distilling(task, memory_of(network), _one_class_at_a_time)

    def build(
        self,
        task: Task,
        synthetic: SyntheticSet,
        preprocessing: keras.layers.Layer,
    ) -> None:
        super().build(task, synthetic, preprocessing)
        settings, shape = task.config.distillation, task.image_shape
        self._compiled = settings.jit == "xla"
        self._classes = len(task.class_names)
        arguments = shape, self._classes, task.config.network
        options = {"compiled": self._compiled, "second_order": True}
        self.network = FunctionalNetwork(*arguments, **options)
        self._real_network = self.network
        if settings.precision != "float32":
            # For images that need no gradient.
            options["precision"] = settings.precision
            self._real_network = FunctionalNetwork(*arguments, **options)
        self._draw = self.network.init
        if task.networks is not None:
            self._draw = task.networks.draw_network
        self._at_once = images_at_once(shape, self._batch_real)
        self._variables: dict[str, tf.Variable] = {}
        self._step = self.compiled(self._train_step)
        self._settle = self.compiled(self._settled)

    def drawn_in_graph(
        self, real: tf.Tensor, counts: Sequence[int], iteration: tf.Tensor
    ) -> DrawnBatches:
        if self.network.statistic_names:
            raise UserError(
                f"method {self.settings.name!r} with network.norm = 'batch' reads more "
                "real images than its batches, which a program cannot draw; use "
                "another norm"
            )
        return super().drawn_in_graph(real, counts, iteration)

    def compiled(self, function):
        """Returns a function in a graph, by XLA where the run asks for that."""
        return tf.function(function, jit_compile=self._compiled)

    def keep_network(self) -> None:
        """Makes the variables that hold the network from iteration to iteration."""
        names = (*self.network.weight_names, *self.network.statistic_names)
        zeros = [*map(tf.zeros, self.network.weight_shapes), *self.network.statistics]
        for name, value in zip(names, zeros, strict=True):
            self._variables[f"network/{name}"] = kept_variable(value)

    @property
    def variables(self) -> Mapping[str, tf.Variable]:
        return self._variables

    def read_network(self) -> State:
        """Returns the network as it is kept. In a graph."""
        values = [
            tf.identity(self._variables[f"network/{name}"])
            for name in (*self.network.weight_names, *self.network.statistic_names)
        ]
        count = len(self.network.weight_names)
        return values[:count], values[count:]

    def write_network(self, state: State) -> None:
        """Keeps a network for what comes next. In a graph, outside of branches."""
        theta, statistics = state
        names = (*self.network.weight_names, *self.network.statistic_names)
        for name, value in zip(names, (*theta, *statistics), strict=True):
            self._variables[f"network/{name}"].assign(value)

    def drawn_network(self, iteration: tf.Tensor) -> State:
        """Returns a fresh network, or one of the pool. In a graph."""
        seed = tensor_seed(self._seed, Purpose.NETWORK, iteration)
        return self._draw(seed), self.network.statistics

    def settled(self, state: State, iteration: tf.Tensor) -> State:
        """Returns a network with statistics for real images. In a graph."""
        if not self.network.statistic_names:
            return state
        images = tf.map_fn(
            lambda label: self._batches.images_of(
                label, _STATISTICS_BATCH, Purpose.STATISTICS_BATCH, iteration
            ),
            tf.range(self._classes),
            fn_output_signature=tf.uint8,
        )
        return self._settle(*state, tf.reshape(images, [-1, *images.shape[2:]]))

    def _settled(self, theta, statistics, pixels):
        images = self.in_model_space(pixels)
        return theta, self._real_network.apply(theta, statistics, images)[1]

    def augmented(self, images: tf.Tensor, parameters: dsa.Parameters) -> tf.Tensor:
        """Returns images of one class as they are matched.

        Args:
            images: `[n, h, w, c]`, in model space.
            parameters: The class's, one row, of `augmentation_of`.
        """
        if not self.settings.augments:
            return images
        rows = tf.zeros([images.shape[0]], tf.int32)
        return dsa.apply(images, dsa.take(parameters, rows))

    def trained(
        self,
        state: State,
        synthetic: SyntheticSet,
        epochs: tf.Tensor | int,
        *counters: tf.Tensor,
    ) -> State:
        """Returns a network after some epochs on the synthetic set. In a graph.

        Args:
            state: The network before.
            synthetic: The set.
            epochs: How many.
            *counters: Scalars that tell its order and augmentation from others.
        """
        images, labels = synthetic.images(), synthetic.labels()
        count = len(synthetic.owners)
        size = min(self.settings.network_batch, count)
        whole, rest = divmod(count, size)
        for epoch in tf.range(epochs):
            order = tf.range(count)
            if count > size:
                seed = tensor_seed(self._seed, Purpose.SET_ORDER, *counters, epoch)
                order = tf.argsort(tf.random.stateless_uniform([count], seed))
            for batch in tf.range(whole):
                rows = tf.slice(order, [batch * size], [size])
                some = tf.gather(images, rows), tf.gather(labels, rows)
                state = self._one_batch(state, *some, *counters, epoch, batch)
            if rest:
                rows = order[whole * size :]
                some = tf.gather(images, rows), tf.gather(labels, rows)
                state = self._one_batch(state, *some, *counters, epoch, whole)
        return state

    def _one_batch(self, state, images, labels, *counters):
        parameters = None
        if self.settings.augments:
            parameters = dsa.draw(
                tensor_seed(self._seed, Purpose.SET_AUGMENTATION, *counters),
                images.shape[0],
                self._image_size,
                self._augmentation,
                shared_operation=True,
            )
        return self._step(*state, images, labels, parameters)

    def _train_step(self, theta, statistics, images, labels, parameters):
        if parameters is not None:
            images = dsa.apply(images, parameters)
        count = images.shape[0]
        if self.network.statistic_names:  # those of the whole batch
            found, statistics = self._descent(theta, statistics, images, labels)
        else:

            def of_rows(rows, valid):
                some = tf.gather(images, rows), tf.gather(labels, rows)
                return self._descent(theta, statistics, *some, valid)[0]

            zeros = [tf.zeros_like(weight) for weight in theta]
            found = sum_of_chunks(
                of_rows, zeros, count, images_at_once(images.shape[1:], count)
            )
        rate = self.settings.network_learning_rate / count
        moved = [w - rate * g for w, g in zip(theta, found, strict=True)]
        return moved, statistics

    def _descent(self, theta, statistics, images, labels, valid=1.0):
        """The gradient of a sum of losses in the weights, in training mode."""
        with tf.GradientTape() as tape:
            tape.watch(theta)
            outputs, statistics = self.network.apply(theta, statistics, images)
            losses = tf.nn.softmax_cross_entropy_with_logits(labels, outputs.logits)
            loss = tf.reduce_sum(losses * valid)
        found = tape.gradient(loss, theta, unconnected_gradients="zero")
        return found, statistics


def kept_variable(value: tf.Tensor) -> tf.Variable:
    """Returns a variable that all replicas give the same values."""
    first = tf.VariableAggregation.ONLY_FIRST_REPLICA
    return tf.Variable(value, trainable=False, aggregation=first)


def _one_class_at_a_time(config, image_shape, classes, of_a_class, uneven):
    """What passes at once, as `group_gradient.turns` says it."""
    at_once = images_at_once(image_shape, config.distillation.batch_real)
    if config.network.norm == "batch":
        at_once = max(at_once, classes * _STATISTICS_BATCH)
    return 1, at_once
