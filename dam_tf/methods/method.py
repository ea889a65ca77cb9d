"""What a method is: how synthetic data are learned, without the run around it.

A method owns its networks and its inner loop; the run (`runs/`) owns time, files and
devices; the synthetic set (`synthetic/`) owns what is learned. A method is made from
its settings alone, as a Keras layer is, and built when a run knows its data.
"""

import abc
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.config.image_counts import check_equal
from dam_tf.config.methods import MethodSettings
from dam_tf.config.schema import build_section
from dam_tf.data.real_data import RealData
from dam_tf.methods.optimizers import image_optimizer
from dam_tf.methods.task import Task
from dam_tf.networks.pools import NetworkPool
from dam_tf.networks.trajectories import Experts
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.synthetic.formation import check_sides
from dam_tf.synthetic.recipe import Recipe
from dam_tf.synthetic.synthetic_set import SyntheticSet

Gradients = Mapping[str, tf.Tensor | tf.IndexedSlices]
Logs = dict[str, tf.Tensor]


class Method(abc.ABC):
    """How synthetic data are learned.

    All that the next iteration depends on is in `tf.Variable`s, those of the synthetic
    set and `variables`; random numbers are functions of the seed and the iteration
    (`base/seeds.py`). So a checkpoint is the variables and the iteration.

    A subclass names its `Settings`, writes `inputs` and `gradients`, and adds one row
    to `METHODS` of `config/methods.py` and one to `registry.py`.

    Args:
        settings: The settings of the method, ready made.
        **values: Single settings, in place of `settings`.

    Attributes:
        Settings: The dataclass of its settings.
        shares: How replicas divide an iteration. `"classes"`: each has classes of its
            own and gives their gradient, and losses are added up. `"batch"`: each
            gives a part of a sum over all images. `"nothing"`: only one device can run
            it.
        extends: Whether it can learn images beside others that stay as they are.
        work: What it does, for the progress bar.
        rate: The setting to make smaller where a run diverges.

    Raises:
        UserError: a setting is unknown, or has a wrong type or value.
    """

    Settings: ClassVar[type[MethodSettings]] = MethodSettings
    shares: ClassVar[str] = "nothing"
    extends: ClassVar[bool] = False
    work: ClassVar[str] = "Distilling"
    rate: ClassVar[str] = "distillation.learning_rate"

    def __init__(self, settings: MethodSettings | None = None, **values: Any):
        self.settings = settings or build_section(self.Settings, values, "method")

    @property
    def log_names(self) -> tuple[str, ...]:
        """The losses that an iteration gives."""
        return tuple(self.settings.meanings)

    def check(self, task: Task) -> None:
        """Refuses what settings and shapes alone show to be impossible.

        A run calls it before it reads, deletes or writes anything. From then on
        `settings` are those of the task, with everything filled in.

        Raises:
            UserError: the method cannot do what the task asks for.
        """
        self.settings = task.config.method
        formation = task.config.distillation.formation
        check_sides(*task.image_shape[:2], formation)
        if formation != "raw" and task.config.dataset.preprocessing == "zca":
            raise UserError(
                f"formation {formation!r} cuts images into parts, and ZCA whitening "
                "mixes their pixels; use --set=dataset.preprocessing=standardize"
            )
        if task.config.distillation.extends and not self.extends:
            raise UserError(
                f"method {self.settings.name!r} cannot extend a run: that is for "
                "methods that match features class by class (datadam, dm, feature_map, "
                "pixel_mmd, dance and ncfm); leave distillation.extends out"
            )
        if task.config.distillation.extends:
            check_equal(
                task.config.distillation,
                "a run that extends another, whose classes have as many images each",
            )
        if task.replicas > 1 and self.shares == "nothing":
            raise UserError(
                f"method {self.settings.name!r} works with all synthetic images at "
                f"once, which {task.replicas} devices cannot share; use "
                "--strategy=one_device"
            )

    def stored_networks(self, task: Task) -> NetworkPool | Experts | None:
        """Returns the stored networks that it learns from; None for random ones.

        A run keeps their fingerprint, and is resumed with the same only.

        Args:
            task: That of `check`, which has been called.
        """
        return task.networks

    def start(
        self, task: Task, images: np.ndarray | Sequence[np.ndarray]
    ) -> SyntheticSet:
        """Returns the set before its first update, in the scope of the strategy.

        A method that learns labels or step sizes, too, gives them here.

        Args:
            task: That of `check`, which has been called.
            images: Initial images by class, as of `SyntheticSet`.
        """
        formation = task.config.distillation.formation
        return SyntheticSet(images, formation=formation, kept=task.kept)

    def optimizer(self, name: str, task: Task) -> keras.optimizers.Optimizer:
        """Returns the optimizer of one of the set's variables.

        Args:
            name: Of the variable: "images", "labels" or that of a scalar.
            task: That of `check`, which has been called.
        """
        del name
        return image_optimizer(task.config.distillation)

    @abc.abstractmethod
    def build(
        self,
        task: Task,
        synthetic: SyntheticSet,
        preprocessing: keras.layers.Layer,
    ) -> None:
        """Makes networks and variables, once, in the scope of the run's strategy.

        Args:
            task: That of `check`, which has been called.
            synthetic: What is learned.
            preprocessing: A layer, pixels in 0..1 to model space.
        """

    @property
    def variables(self) -> Mapping[str, tf.Variable]:
        """What the next iteration depends on beside the set, by a name that stays."""
        return {}

    @abc.abstractmethod
    def inputs(
        self, data: RealData, first: int, last: int, replica: int = 0
    ) -> tf.data.Dataset:
        """Returns what iterations `first` to `last` - 1 read, one after the other.

        Elements are a function of the seed and the iteration. How many of them make an
        iteration is the method's own affair.

        Args:
            data: The real data.
            first: Iteration to start with.
            last: Iteration to end before.
            replica: Whose share it is.
        """

    def drawn_in_graph(
        self, real: tf.Tensor, counts: Sequence[int], iteration: tf.Tensor
    ) -> Any:
        """Returns what `gradients` takes for `batches`, drawn by the compiled step.

        A program that runs without TensorFlow draws its batches so
        (`exports/program/`). They are a function of the seed and the iteration, yet
        other ones than those of `inputs`.

        Args:
            real: uint8 `[n, h, w, c]`, all real images, sorted by class.
            counts: Of each class, its images.
            iteration: Updates done before, int64.

        Raises:
            UserError: the method reads what a program cannot draw.
        """
        raise UserError(
            f"method {self.settings.name!r} cannot be compiled into a program of its "
            "own, which draws class-wise batches for methods that match them; distil "
            "with dam_tf instead"
        )

    @abc.abstractmethod
    def gradients(
        self, synthetic: SyntheticSet, batches: Iterator, iteration: tf.Tensor
    ) -> tuple[Gradients, Logs]:
        """Returns the gradients of one iteration, and its losses. Runs in a graph.

        Args:
            synthetic: What is learned.
            batches: Gives elements of `inputs`.
            iteration: Updates done before, int64.

        Returns:
            For each of the set's `variables` that moves its gradient, whole or as
            `tf.IndexedSlices`; and scalars by `log_names`.
        """

    def update(
        self, synthetic: SyntheticSet, batches: Iterator, iteration: tf.Tensor
    ) -> None:
        """Trains, ages or restarts networks after the set has moved. In a graph.

        Args:
            synthetic: What has been learned.
            batches: Gives elements of `inputs`.
            iteration: Updates done before this one.
        """
        del synthetic, batches, iteration

    def refresh(self, synthetic: SyntheticSet) -> None:
        """Brings images up to date that are made by something that is trained.

        The run calls it before it looks at the set, saves it or draws it.

        Args:
            synthetic: As it is now.
        """
        del synthetic

    def failure(self, synthetic: SyntheticSet) -> str | None:
        """Says in a few words what makes going on useless, such as a step size below 0.

        The run asks it before it saves. Where there is an answer it stops, and keeps
        its last checkpoint.

        Args:
            synthetic: As it is now.
        """
        del synthetic

    def soft_labels(self, distilled: DistilledSet) -> np.ndarray | None:
        """Returns labels that follow from images, float32 `[n, classes]`, if any do.

        Args:
            distilled: What is learned as it is now, in pixel space.
        """
        del distilled

    def recipe(self, synthetic: SyntheticSet) -> Recipe | None:
        """Returns how a network is to be trained on the set, where that was learned.

        Args:
            synthetic: As it is now.
        """
        del synthetic

    def failures_named(self) -> AbstractContextManager:
        """Returns a context in which a failure of `inputs` is raised as what it is."""
        return contextlib.nullcontext()


def check_unused(task: Task, classes: str, precision: str, networks: str) -> None:
    """Raises a `UserError` where something is given that a method has no use for.

    Args:
        task: What is known of the run.
        classes: Why it takes no `classes_per_step`, as what the method does.
        precision: Why it takes no other `precision`.
        networks: Why it takes no stored networks.
    """
    settings = task.config.distillation
    chosen, digits = settings.classes_per_step, settings.precision
    for what, given, why in (
        (f"distillation.classes_per_step {chosen}", chosen is not None, classes),
        (f"distillation.precision {digits!r}", digits != "float32", precision),
        ("networks=", task.networks is not None, networks),
    ):
        if given:
            name = task.config.method.name
            raise UserError(
                f"{what} is not for method {name!r}, which {why}; leave it out"
            )


def check_layers(layers: Sequence[int], blocks: int) -> None:
    """Raises a `UserError` where one of `layers` is no block of the network.

    Args:
        layers: Numbers of blocks, from 1.
        blocks: How many the network has.
    """
    if outside := [layer for layer in layers if not 1 <= layer <= blocks]:
        raise UserError(
            f"method.layers names block {outside[0]}, but the network has "
            f"blocks 1 to {blocks}"
        )
