"""Soft labels of a teacher: what trained networks see in the images of a set.

The networks are those of `pretrain`. The images stay, and their hard labels, too, so
that an evaluation can have both: a gain by labels says nothing of images.
"""

import dataclasses
import os
import pathlib

import numpy as np

from dam_tf.base.errors import UserError
from dam_tf.base.messages import log
from dam_tf.config.experts import NETWORK
from dam_tf.config.places import full_path
from dam_tf.config.settings import save_config
from dam_tf.data.loading import load_dataset
from dam_tf.methods.experts import check_experts, check_experts_data
from dam_tf.methods.method import Task
from dam_tf.methods.teacher import network_of, teacher_labels
from dam_tf.networks.trajectories import Experts
from dam_tf.runs.folder import RunFolder, find_run
from dam_tf.runs.provenance import check_run_data, read_provenance
from dam_tf.synthetic.distilled_set import DistilledSet


def relabel(
    run: os.PathLike | str,
    teachers: os.PathLike | str,
    output_dir: os.PathLike | str,
    temperature: float = 1.0,
    overwrite: bool = False,
) -> DistilledSet:
    """Gives the images of a run the labels that trained networks give them.

    The label of an image x is mean_k softmax(logits_k(x) / T) over the networks k, as
    they are after their training, with the preprocessing of the set and without
    augmentation. The class that an image was made for stays its hard label, whatever
    the networks take it for.

    Args:
        run: Folder of a run of any method, of a coreset or of a generator.
        teachers: Folder of networks that `pretrain` or `experts` has trained on the
            data of the run, with its preprocessing; of any architecture.
        output_dir: Gets the set, as a run; the run that it comes from stays as it is.
        temperature: T; the larger, the softer.
        overwrite: Replace the run that lies in `output_dir`.

    Returns:
        The set with soft labels.

    Raises:
        UserError: something given cannot be used.

    Example:
        >>> import tempfile, dam_tf
        >>> small = {"network.width": 8, "distillation.jit": "none"}
        >>> config = dam_tf.make_config(overrides=small)  # of digits
        >>> folder = tempfile.mkdtemp()
        >>> teachers = dam_tf.train_experts(
        ...     "digits", output_dir=f"{folder}/pool", experts=1, config=config
        ... )
        >>> chosen = dam_tf.select(config, f"{folder}/herding")
        >>> relabel(f"{folder}/herding", f"{folder}/pool", f"{folder}/soft")
        <DistilledSet 'digits' of 10 images 8x8x1, 10 classes>
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise UserError(f"the temperature must be above 0, not {temperature}")
    source, folder = find_run(run), RunFolder(pathlib.Path(output_dir))
    if full_path(output_dir) == full_path(source.path):
        raise UserError(
            f"--output_dir {output_dir} is the run that is relabelled; choose another"
        )
    source.check_finished("relabel it")
    config = source.settings()
    with folder.written(config, resume=None, overwrite=overwrite):
        distilled = DistilledSet.load(source.path)
        if distilled.soft_labels is not None:
            raise UserError(
                f"the set in {source.path} has soft labels already; give a run with "
                "hard ones"
            )
        made = read_provenance(source.provenance)
        experts = Experts(teachers, NETWORK)
        network = network_of(experts)
        found = dataclasses.replace(config, network=network)
        task = Task(found, distilled.image_shape, distilled.class_names)
        check_experts(experts, task)
        data = load_dataset(config.dataset)
        check_run_data(source, data)
        check_experts_data(experts, data, distilled.preprocessing)
        labels = teacher_labels(distilled, experts, temperature)
        told = float(np.mean(labels.argmax(axis=1) == distilled.labels))
        log.info(
            "The networks take %.0f %% of the images for the class that they were made "
            "for.",
            100 * told,
        )
        if not told:
            raise UserError(
                f"the networks of {teachers} take none of these images for the class "
                "that it was made for, so they cannot label them; train them for longer"
            )
        by = f"{experts.fingerprint}, temperature {temperature:.9g}"
        made = dataclasses.replace(made, labels=by)
        new = dataclasses.replace(distilled, soft_labels=labels, provenance=made.flat())
        folder.clear()
        folder.remove_leftovers()
        save_config(config, folder.config)
        made.save(folder.provenance)
        # How the images came about is told as of the run that they come from.
        for file, copy in (
            (source.metrics, folder.metrics),
            (source.cost, folder.cost),
        ):
            if file.exists():
                copy.write_bytes(file.read_bytes())
        folder.save_set(new)
    return new
