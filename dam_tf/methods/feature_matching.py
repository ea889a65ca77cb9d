"""Methods that match features of real and synthetic images, class by class.

Algorithm 1 of the paper with what it compares left open: DataDAM, DM and the like say
which vectors (`vectors`) and how (`losses`). The passes over images of some classes
are in `group_gradient.py`.
"""

import abc
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import ClassVar

import keras
import tensorflow as tf

from dam_tf.augmentation import dsa
from dam_tf.base.devices import replica_id, split
from dam_tf.base.errors import UserError
from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.data.real_data import RealData
from dam_tf.data.sampling import ClassBatches
from dam_tf.data.sampling_in_graph import DrawnBatches, element
from dam_tf.methods.group_gradient import Features, GroupGradient
from dam_tf.methods.memory import check_distilling
from dam_tf.methods.method import Gradients, Logs, Method, Task
from dam_tf.networks.memory import memory_of, sketch
from dam_tf.networks.registry import tap_names
from dam_tf.synthetic.synthetic_set import SyntheticSet


@dataclasses.dataclass(frozen=True)
class _Share:
    """What one replica works through of an iteration.

    Attributes:
        places: Of its classes among those of the iteration.
        gradient: Computes their gradient; None where there are no classes.
    """

    places: range
    gradient: GroupGradient | None

    @property
    def classes_per_group(self) -> int:
        """Classes whose real images come in one batch."""
        return self.gradient.classes_per_group if self.gradient else 1

    @property
    def groups(self) -> int:
        """Batches that make one iteration."""
        return len(self.places) // self.classes_per_group


class FeatureMatching(Method):
    """Synthetic images whose features match those of real ones.

    Each iteration draws a fresh network, or one of a pool, takes one augmentation for
    each class and shares it between real and synthetic images. The images of a class
    move down the gradient of `losses`; with `distillation.classes_per_step` only those
    of the classes that the iteration draws.

    Attributes:
        sees_maps: What is matched comes of the network's maps.
        means_suffice: The loss depends on real vectors only through their class
            mean. Real images are then reduced to it chunk by chunk, and memory
            does not grow with their number.
    """

    shares = "classes"
    sees_maps: ClassVar[bool] = True

    @property
    def means_suffice(self) -> bool:
        return getattr(self.settings, "kernel", "linear") == "linear"

    @abc.abstractmethod
    def vectors(self, features: Features) -> list[tf.Tensor]:
        """Returns what is matched, as a list of `[batch, d_i]`.

        Args:
            features: `"taps"`, a list of `[batch, h_l, w_l, c_l]` after each
                block's activation, `"embedding"`, `[batch, d]`, and `"images"`,
                `[batch, h, w, c]`, what the network was shown: augmented images
                in model space.
        """

    @abc.abstractmethod
    def losses(
        self, real: Sequence[tf.Tensor], synthetic: Sequence[tf.Tensor]
    ) -> Mapping[str, tf.Tensor]:
        """Returns scalar losses by name; `"loss"` is the one that is minimised.

        Args:
            real: `vectors` by class, `[classes, n, d_i]`; n = 1 if they were
                reduced to means.
            synthetic: `vectors` by class, `[classes, m, d_i]`.
        """

    def match_blocks(self, blocks: int) -> None:
        """Takes note of how many blocks the network has, that is taps.

        Raises:
            UserError: a setting names one that is not there.
        """
        del blocks

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
        check_distilling(task, memory_of(network) if self.sees_maps else None)
        self.match_blocks(len(tap_names(network)))
        if task.networks is not None:
            task.networks.check(network)

    def build(
        self,
        task: Task,
        synthetic: SyntheticSet,
        preprocessing: keras.layers.Layer,
    ) -> None:
        settings = task.config.distillation
        self._seed, self._batch_real = task.seed, settings.batch_real
        self._augmentation = task.config.augmentation
        self._image_size = task.image_shape[:2]
        self._drawn = settings.classes_per_step or len(task.class_names)
        self._batches: ClassBatches | None = None
        places = split(self._drawn, task.replicas)
        gradients = {
            size: GroupGradient(self, task, synthetic, size, preprocessing)
            for size in sorted({len(some) for some in places if some})
        }
        self._shares = [_Share(some, gradients.get(len(some))) for some in places]
        # The first replica always has classes.
        own = self._shares[0].gradient.network.init
        self._draw_network = (
            own if task.networks is None else task.networks.draw_network
        )

    @property
    def classes_per_group(self) -> int:
        """Classes whose real images come in one element of `inputs`, once built."""
        return self._shares[0].classes_per_group

    @property
    def groups(self) -> int:
        """Elements of `inputs` that make one iteration, on the first replica."""
        return self._shares[0].groups

    def inputs(
        self, data: RealData, first: int, last: int, replica: int = 0
    ) -> tf.data.Dataset:
        share = self._shares[replica]
        if self._batches is None or self._batches.split is not data.train:
            self._batches = ClassBatches(
                data.train, self._batch_real, self._seed, self._drawn
            )
            self._batches.say_if_small()
        return self._batches.dataset(first, last, share.classes_per_group, share.places)

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

    def failures_named(self) -> AbstractContextManager:
        return self._batches.failures_named()

    def gradients(
        self, synthetic: SyntheticSet, batches: Iterator, iteration: tf.Tensor
    ) -> tuple[Gradients, Logs]:
        share = self._shares[replica_id()]
        shape = tf.constant(synthetic.stored.shape.as_list())
        if not share.places:
            nothing = tf.zeros([0, *synthetic.stored.shape[1:]])
            none = tf.IndexedSlices(nothing, tf.zeros([0], tf.int32), shape)
            return {"images": none}, dict.fromkeys(self.log_names, tf.zeros([]))
        theta = self._draw_network(tensor_seed(self._seed, Purpose.NETWORK, iteration))
        parameters = dsa.draw(
            tensor_seed(self._seed, Purpose.AUGMENTATION, iteration),
            self._drawn,
            self._image_size,
            self._augmentation,
        )
        size = share.classes_per_group

        def of_group(group):
            batch = element(batches, group)
            places = share.places.start + group * size + tf.range(size)
            rows = synthetic.rows_of(batch.classes)
            gradient, losses = share.gradient(
                batch.images,
                tf.gather(synthetic.stored.value, rows),
                dsa.take(parameters, places),
                theta,
            )
            gradient = tf.reshape(gradient, [-1, *gradient.shape[2:]])
            return gradient, tf.reshape(rows, [-1]), losses

        if share.groups == 1:
            values, rows, totals = of_group(0)
        else:
            kept = tf.TensorArray(tf.float32, share.groups)
            kept_rows = tf.TensorArray(tf.int32, share.groups)
            totals = dict.fromkeys(self.log_names, tf.zeros([]))
            for group in tf.range(share.groups):
                gradient, some, losses = of_group(group)
                kept = kept.write(group, gradient)
                kept_rows = kept_rows.write(group, some)
                totals = {name: totals[name] + losses[name] for name in totals}
            values, rows = kept.concat(), kept_rows.concat()
        return {"images": tf.IndexedSlices(values, rows, shape)}, totals
