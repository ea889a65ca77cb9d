"""Methods whose iterations work through classes, each with real images of its own.

It stands between reading (`real_batches.py`) and methods that match class by class:
through a fresh network in each iteration (`feature_matching.py`), or through one that
is trained on the synthetic set (`bilevel.py`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import keras
import tensorflow as tf

from dam_tf.augmentation import dsa
from dam_tf.base.devices import replica_id
from dam_tf.base.errors import UserError
from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.data.sampling import ClassBatch
from dam_tf.data.sampling_in_graph import DrawnBatches, element
from dam_tf.methods.method import Gradients, Logs, Task
from dam_tf.methods.real_batches import RealBatches
from dam_tf.networks.memory import sketch
from dam_tf.synthetic.synthetic_set import SyntheticSet

# Takes real images of some classes, the places of these in the iteration, and their
# stored images `[classes, count, h, w, c]`, or `[n, h, w, c]` of all classes where
# these differ in number; gives the gradient of those and losses.
OfGroup = Callable[[ClassBatch, tf.Tensor, tf.Tensor], tuple[tf.Tensor, Logs]]


class ClassWise(RealBatches):
    """Synthetic images that move by gradients which each class has for itself.

    With `distillation.classes_per_step` only those of the classes that an iteration
    draws move. Replicas have classes of their own.
    """

    shares = "classes"

    def check_network(self, task: Task, network: keras.Model) -> None:
        """Refuses what the network and its memory show to be impossible.

        Args:
            task: What is known of the run.
            network: A sketch, with no values of its weights.

        Raises:
            UserError: the method cannot work with it.
        """

    def check(self, task: Task) -> None:
        super().check(task)
        config, classes = task.config, len(task.class_names)
        drawn = config.distillation.classes_per_step
        if drawn is not None and drawn > classes:
            raise UserError(
                f"classes_per_step {drawn} is more than the {classes} classes of "
                f"{config.dataset.name}; choose at most {classes}, or leave it out "
                "for all"
            )
        if task.replicas > 1 and config.network.norm == "batch":
            raise UserError(
                "network.norm = 'batch' takes statistics over all classes of an "
                f"iteration, which {task.replicas} devices would each have in part; "
                "use --strategy=one_device, or network.norm = 'instance'"
            )
        network = sketch(task.image_shape, classes, config.network)
        self.check_network(task, network)
        if task.networks is not None:
            task.networks.check(network)

    def build(
        self,
        task: Task,
        synthetic: SyntheticSet,
        preprocessing: keras.layers.Layer,
    ) -> None:
        super().build(task, synthetic, preprocessing)
        self._augmentation = task.config.augmentation
        self._image_size = task.image_shape[:2]

    def group_size(self, places: range) -> int:
        del places
        return 1

    @property
    def classes_per_group(self) -> int:
        """Classes whose real images come in one element of `inputs`, once built."""
        return self.group_size(self._places[0])

    @property
    def groups(self) -> int:
        """Elements of `inputs` that make one iteration, on the first replica."""
        return len(self._places[0]) // self.classes_per_group

    def drawn_in_graph(
        self, real: tf.Tensor, counts: Sequence[int], iteration: tf.Tensor
    ) -> DrawnBatches:
        return DrawnBatches(
            real,
            counts,
            self._batch_real,
            tensor_seed(self._seed, Purpose.REAL_BATCH, iteration),
            self._drawn,
            self.classes_per_group,
        )

    def augmentation_of(self, iteration: tf.Tensor) -> dsa.Parameters:
        """Returns what an iteration does to images: a row for each of its classes."""
        return dsa.draw(
            tensor_seed(self._seed, Purpose.AUGMENTATION, iteration),
            self._drawn,
            self._image_size,
            self._augmentation,
        )

    def over_groups(
        self,
        synthetic: SyntheticSet,
        batches: Iterator,
        of_group: OfGroup,
        sums: Mapping[str, tf.Tensor] = {},
    ) -> tuple[Gradients, Logs]:
        """Returns the images' gradient and summed losses of a replica's classes.

        Args:
            synthetic: What is learned.
            batches: Gives elements of `inputs`.
            of_group: Works through one group of them.
            sums: What is added up beside the losses, by its name: zeros.
        """
        zeros = {**dict.fromkeys(self.log_names, tf.zeros([])), **sums}
        places = self._places[replica_id()]
        shape = tf.constant(synthetic.stored.shape.as_list())
        if not places:
            nothing = tf.zeros([0, *synthetic.stored.shape[1:]])
            none = tf.IndexedSlices(nothing, tf.zeros([0], tf.int32), shape)
            return {"images": none}, zeros
        size = self.group_size(places)
        groups = len(places) // size
        uneven = synthetic.uneven

        def one(group):
            batch = element(batches, group)
            group_places = places.start + group * size + tf.range(size)
            if uneven and size > 1:  # all classes, in their order
                images = tf.convert_to_tensor(synthetic.stored)
                gradient, losses = of_group(batch, group_places, images)
                return gradient, tf.range(len(images)), losses

            def of_count(count):
                rows = synthetic.rows_of(batch.classes, count)
                images = synthetic.stored_of(batch.classes, count)
                gradient, losses = of_group(batch, group_places, images)
                gradient = gradient[:, synthetic.kept :]
                gradient = tf.reshape(gradient, [-1, *gradient.shape[2:]])
                return gradient, tf.reshape(rows, [-1]), losses

            return synthetic.by_count(batch.classes[0], of_count)

        if groups == 1:
            values, rows, totals = one(0)
        else:
            kept = tf.TensorArray(tf.float32, groups, infer_shape=not uneven)
            kept_rows = tf.TensorArray(tf.int32, groups, infer_shape=not uneven)
            totals = zeros
            for group in tf.range(groups):
                gradient, some, losses = one(group)
                kept = kept.write(group, gradient)
                kept_rows = kept_rows.write(group, some)
                totals = {name: totals[name] + losses[name] for name in totals}
            values, rows = kept.concat(), kept_rows.concat()
            values = tf.ensure_shape(values, [None, *synthetic.stored.shape[1:]])
        return {"images": tf.IndexedSlices(values, rows, shape)}, totals
