"""Methods that read batches of real images, as many of each class.

It stands between the interface (`method.py`) and all methods but those that follow
experts: such that work class by class (`class_wise.py`), that regress
(`kernel_regression.py`), that train through steps (`dd.py`, `ld.py`), and generators.
"""

from contextlib import AbstractContextManager

import keras
import tensorflow as tf

from dam_tf.base.devices import split
from dam_tf.data.real_data import RealData
from dam_tf.data.sampling import ClassBatches
from dam_tf.methods.method import Method, Task
from dam_tf.synthetic.synthetic_set import SyntheticSet


class RealBatches(Method):
    """A method whose iterations read random real images of some or all classes.

    Replicas have classes of their own.
    """

    def batch_of(self, task: Task) -> tuple[int, int]:
        """Returns how many classes a batch has, and how many images of each."""
        settings = task.config.distillation
        classes = settings.classes_per_step or len(task.class_names)
        return classes, settings.batch_real

    def build(
        self,
        task: Task,
        synthetic: SyntheticSet,
        preprocessing: keras.layers.Layer,
    ) -> None:
        self._seed = task.seed
        self._drawn, self._batch_real = self.batch_of(task)
        self._places = split(self._drawn, task.replicas)
        self._preprocessing = preprocessing
        self._batches: ClassBatches | None = None

    def group_size(self, places: range) -> int:
        """Returns how many of a replica's classes pass together; divides their number.

        Args:
            places: Of its classes among those of the iteration.
        """
        return len(places)

    def inputs(
        self, data: RealData, first: int, last: int, replica: int = 0
    ) -> tf.data.Dataset:
        places = self._places[replica]
        if self._batches is None or self._batches.split is not data.train:
            self._batches = ClassBatches(
                data.train, self._batch_real, self._seed, self._drawn
            )
            self._batches.say_if_small()
        return self._batches.dataset(first, last, self.group_size(places), places)

    def failures_named(self) -> AbstractContextManager:
        return self._batches.failures_named()

    def in_model_space(self, pixels: tf.Tensor) -> tf.Tensor:
        """Returns uint8 pixels as a network sees them, float32."""
        return self._preprocessing(tf.cast(pixels, tf.float32) / 255)
