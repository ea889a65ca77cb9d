"""What a run is about, as its method sees it before anything is computed.

The run makes it of settings and data; methods check, build and start by it.
"""

import dataclasses

import tensorflow as tf

from dam_tf.config.image_counts import image_counts, listed
from dam_tf.config.settings import Config
from dam_tf.data.real_data import RealData
from dam_tf.networks.memory import halves
from dam_tf.networks.pools import NetworkPool
from dam_tf.networks.trajectories import PlannedExperts


@dataclasses.dataclass(frozen=True)
class Task:
    """What a method may know of its run before anything is computed.

    Attributes:
        config: The settings, with everything filled in that the data decide.
        image_shape: Height, width and channels of the images.
        class_names: The classes, in the order of their labels.
        networks: Stored networks to match through; None for random ones.
        replicas: Devices that share an iteration.
        seed: Of all that is drawn at random: that of `config`; in a program that is
            compiled for any seed, a variable.
        data: The real data, once they are read, where a run is around the method.
        kept: Images of each class, the first, that are not learned: those of the run
            that `distillation.extends` names.
        counts: Stored images of each class; as `config` says if left out.
        planned: The trained networks that the run will train first, if it will.
    """

    config: Config
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    networks: NetworkPool | None = None
    replicas: int = 1
    seed: int | tf.Variable | None = None
    data: RealData | None = None
    kept: int = 0
    counts: tuple[int, ...] | None = None
    planned: PlannedExperts | None = None

    def __post_init__(self):
        settings = self.config.distillation
        if self.seed is None:
            object.__setattr__(self, "seed", settings.seed)
        if self.counts is None:
            real = None if self.data is None else self.data.train.counts
            counts = image_counts(settings, len(self.class_names), real)
            object.__setattr__(self, "counts", counts)

    @property
    def uneven(self) -> bool:
        """Whether classes have different numbers of images."""
        return len({*self.counts}) > 1

    @property
    def smaller_ipcs(self) -> list[int]:
        """What `--ipc` may be proposed to be where memory does not suffice."""
        settings = self.config.distillation
        return halves(settings.ipc) if listed(settings.images_per_class) is None else []

    def images_at(self, ipc: int | None = None) -> int:
        """Returns how many stored images there are, about, with another `--ipc`.

        Args:
            ipc: The other one; that of the run if left out.
        """
        total, own = sum(self.counts), self.config.distillation.ipc
        return total if ipc is None else max(len(self.counts), total * ipc // own)
