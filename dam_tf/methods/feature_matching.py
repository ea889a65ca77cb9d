"""Methods that match features of real and synthetic images, class by class.

Algorithm 1 of the paper with what it compares left open: DataDAM, DM and the like say
which vectors (`vectors`) and how (`losses`). The passes over images of some classes
are in `group_gradient.py`.
"""

import abc
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import keras
import tensorflow as tf

from dam_tf.augmentation import dsa
from dam_tf.base.devices import replica_id
from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.config.image_counts import check_equal
from dam_tf.methods.class_wise import ClassWise, OfGroup
from dam_tf.methods.group_gradient import Features, GroupGradient
from dam_tf.methods.memory import check_distilling
from dam_tf.methods.method import Gradients, Logs, Task
from dam_tf.networks.memory import memory_of
from dam_tf.networks.registry import tap_names
from dam_tf.synthetic.synthetic_set import SyntheticSet


class FeatureMatching(ClassWise):
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
        learns_drawn: What `drawn` gives is one tensor, and the method learns it.
            `losses` then takes it after the vectors of either side, and the gradient
            in it comes beside the losses of a group of classes, as `"slope"`.
    """

    extends = True
    sees_maps: ClassVar[bool] = True
    learns_drawn = False

    @property
    def means_suffice(self) -> bool:
        return getattr(self.settings, "kernel", "linear") == "linear"

    @abc.abstractmethod
    def vectors(self, features: Features) -> list[tf.Tensor]:
        """Returns what is matched, as a list of `[batch, d_i]`.

        Args:
            features: `"taps"`, a list of `[batch, h_l, w_l, c_l]` after each
                block's activation, `"embedding"`, `[batch, d]`, `"images"`,
                `[batch, h, w, c]`, what the network was shown: augmented images
                in model space, and `"drawn"`, what the iteration has drawn.
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

    def drawn(self, iteration: tf.Tensor) -> list[tf.Tensor]:
        """Returns what an iteration draws beside its network, such as frequencies.

        Args:
            iteration: Updates done before, a scalar.
        """
        del iteration
        return []

    def match_blocks(self, blocks: int) -> None:
        """Takes note of how many blocks the network has, that is taps.

        Raises:
            UserError: a setting names one that is not there.
        """
        del blocks

    def check(self, task: Task) -> None:
        super().check(task)
        settings = task.config.distillation
        drawn_together = (
            task.config.network.norm == "batch" and settings.classes_per_step
        )
        if task.uneven and drawn_together:
            check_equal(
                settings,
                "network.norm = 'batch' with classes_per_step, where the images of "
                "classes that an iteration draws pass together, as many each time",
            )

    def check_network(self, task: Task, network: keras.Model) -> None:
        check_distilling(task, memory_of(network) if self.sees_maps else None)
        self.match_blocks(len(tap_names(network)))

    def build(
        self,
        task: Task,
        synthetic: SyntheticSet,
        preprocessing: keras.layers.Layer,
    ) -> None:
        super().build(task, synthetic, preprocessing)
        self._gradients = {
            size: GroupGradient(self, task, synthetic, size, preprocessing)
            for size in sorted({len(places) for places in self._places if places})
        }
        # The first replica always has classes.
        own = self._gradients[len(self._places[0])].network.init
        self._draw_network = (
            own if task.networks is None else task.networks.draw_network
        )

    def group_size(self, places: range) -> int:
        gradient = self._gradients.get(len(places))
        return gradient.classes_per_group if gradient else 1

    def gradients(
        self, synthetic: SyntheticSet, batches: Iterator, iteration: tf.Tensor
    ) -> tuple[Gradients, Logs]:
        theta = self._draw_network(tensor_seed(self._seed, Purpose.NETWORK, iteration))
        through = self.matching_through(theta, iteration)
        return self.over_groups(synthetic, batches, through)

    def matching_through(
        self, theta: Sequence[tf.Tensor], iteration: tf.Tensor
    ) -> OfGroup:
        """Returns what matches a group of an iteration's classes through a network.

        Args:
            theta: Its weights.
            iteration: Updates done before.
        """
        parameters = self.augmentation_of(iteration)
        gradient = self._gradients.get(len(self._places[replica_id()]))
        theta = [*theta, *self.drawn(iteration)]

        def of_group(batch, places, images):
            return gradient(batch.images, images, dsa.take(parameters, places), theta)

        return of_group
