"""A trained generator and the set of its first images: the baselines of Table 11.

It is a run as those of distillation are, so evaluation, exports and reports take it.
"""

import os

from dam_tf.config.settings import Config
from dam_tf.data.real_data import RealData
from dam_tf.generators.registry import create
from dam_tf.runs.run import distill
from dam_tf.synthetic.distilled_set import DistilledSet


def generate(
    config: Config,
    output_dir: os.PathLike | str,
    resume: bool = False,
    overwrite: bool = False,
    data: RealData | None = None,
) -> DistilledSet:
    """Trains a generator as `config.method` says, and takes its first images.

    Stopping and resuming are those of `runs.run.distill`: a resumed training ends with
    the same weights and images as one that was never stopped (on the same device).

    Args:
        config: The settings, from `dam_tf.make_config`; `method.name` is a generator.
        output_dir: The run's folder; made if missing.
        resume: Continue the run that lies there, if one does.
        overwrite: Replace the run that lies there.
        data: The real data; loaded as `config.dataset` says if left out.

    Returns:
        The set, which also lies in `output_dir`.

    Raises:
        UserError: something given cannot be used; as `DivergedError`, the loss
            became infinite or not a number.
        Interrupted: a signal stopped the training; its state is saved.

    Example:
        >>> import tempfile
        >>> from dam_tf import make_config
        >>> settings = {"method.name": "gmmn", "method.hidden": [8]}
        >>> length = {"distillation.iterations": 2}
        >>> config = make_config(overrides={**settings, **length})
        >>> generate(config, tempfile.mkdtemp()).images.shape
        (10, 8, 8, 1)
    """
    generator = create(config.method)
    return distill(config, output_dir, resume, overwrite, data=data, method=generator)
