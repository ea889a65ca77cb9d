"""A finished run whose images a larger set begins with: `distillation.extends`.

Its images stay as they are, and take part in the matching; the run learns the others.
So the sets are nested, and the first images of each class are the smaller set, to the
last bit.
"""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.config.settings import Config
from dam_tf.data.preprocessing.preprocessing import Preprocessing
from dam_tf.data.real_data import RealData
from dam_tf.runs.folder import RunFolder, find_run
from dam_tf.runs.provenance import check_run_data
from dam_tf.synthetic.budgets import joined
from dam_tf.synthetic.distilled_set import DistilledSet


@dataclasses.dataclass(frozen=True)
class Extended:
    """What a run extends.

    Attributes:
        folder: Of the smaller run.
        distilled: Its set, as many images of each class, sorted by class.
    """

    folder: RunFolder
    distilled: DistilledSet

    @classmethod
    def of(
        cls,
        config: Config,
        image_shape: Sequence[int],
        class_names: Sequence[str],
        data: RealData | None = None,
    ) -> "Extended | None":
        """Returns what `config` asks to extend, or None where it does not.

        Args:
            config: The settings of the larger run.
            image_shape: Height, width and channels of the real images.
            class_names: Their classes.
            data: The real data, once they are read.

        Raises:
            UserError: there is no finished run, or its set does not suit this one.
        """
        if not config.distillation.extends:
            return None
        folder = find_run(pathlib.Path(config.distillation.extends))
        one = DistilledSet.load(folder.path)
        folder.check_finished("extend it")
        found = _differences(one, config, image_shape, class_names)
        if found:
            raise UserError(
                f"distillation.extends: the set in {folder.path} cannot be extended "
                f"by this run: {'; '.join(found)}"
            )
        if data is not None:
            check_run_data(folder, data)
        return cls(folder, one)

    @property
    def ipc(self) -> int:
        """Its stored images per class."""
        return self.distilled.ipc

    @property
    def preprocessing(self) -> Preprocessing:
        """Its own, which the larger run shares."""
        return self.distilled.preprocessing

    @functools.cached_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that tell its images."""
        return hashlib.sha256(self.distilled.what_is_stored()[0].tobytes()).hexdigest()[
            :32
        ]

    def in_model_space(self, preprocessing: Preprocessing) -> np.ndarray:
        """Returns its stored images as networks see them, `[classes, ipc, h, w, c]`.

        Args:
            preprocessing: The run's, which is a copy of its own.
        """
        stored = self.distilled.what_is_stored()[0]
        seen = np.asarray(preprocessing(tf.constant(stored)), np.float32)
        return seen.reshape(self.distilled.num_classes, self.ipc, *stored.shape[1:])

    def with_more(self, learned: DistilledSet) -> DistilledSet:
        """Returns the larger set: each class's own images, then those learned.

        Args:
            learned: The others, as many of each class, sorted by class.
        """
        return joined(self.distilled, learned)


def _differences(
    one: DistilledSet,
    config: Config,
    image_shape: Sequence[int],
    class_names: Sequence[str],
) -> list[str]:
    """In what a set does not suit a run that is to extend it, in words."""
    settings, kind = config.distillation, config.dataset.preprocessing_kind
    found = []
    if one.image_shape != tuple(image_shape):
        sides = ["x".join(map(str, s)) for s in (one.image_shape, image_shape)]
        found.append(f"its images are {sides[0]}, not {sides[1]}")
    if one.class_names != tuple(class_names):
        found.append("its classes have other names")
    if one.formation != settings.formation:
        found.append(f"its formation is {one.formation!r}, not {settings.formation!r}")
    own = getattr(one.preprocessing, "kind", None)
    if own != kind:
        found.append(f"its preprocessing is {own!r}, not {kind!r}")
    if one.soft_labels is not None:
        found.append("its labels were learned")
    elif one.recipe is not None:
        found.append("it was learned for a training of its own")
    each = len(one.images) // one.num_classes
    if not np.array_equal(one.labels, np.repeat(np.arange(one.num_classes), each)):
        found.append("its classes have different numbers of images")
    elif one.ipc >= settings.ipc:
        found.append(
            f"it has {one.ipc} images per class; give a larger ipc than that, not "
            f"{settings.ipc}"
        )
    return found
