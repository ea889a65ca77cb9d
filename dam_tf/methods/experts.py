"""Are experts those of a run's own data, network and preprocessing?

`training/experts.py` describes what it trains with `description`; methods that follow
experts compare it with their run, and refuse what does not fit. A run may train what it
lacks: `missing_experts` says what that is.
"""

import contextlib
import dataclasses
import json
import pathlib
from typing import Any

import keras
import numpy as np

from dam_tf.base.errors import UserError
from dam_tf.base.messages import say_once
from dam_tf.base.output import check_same
from dam_tf.base.trials import check_folder, settings_in
from dam_tf.config.experts import own_training, role_of, training_settings
from dam_tf.config.places import networks_folder
from dam_tf.config.schema import to_dict
from dam_tf.config.settings import Config
from dam_tf.data.identity import Identity
from dam_tf.data.real_data import RealData
from dam_tf.methods.method import Task
from dam_tf.networks.memory import sketch
from dam_tf.networks.trajectories import Experts, PlannedExperts
from dam_tf.synthetic.initial import in_model_space

_PROBED = 4  # training images
_VALUES = 32  # of them in model space, that are kept
_COMPARED = ("data", "dataset", "network")  # otherwise, with a run
_CLOSE = 0.01  # preprocessing that was fitted on another device differs by rounding


def description(
    config: Config, data: RealData, preprocessing: keras.layers.Layer
) -> dict[str, Any]:
    """Returns of which data, network and preprocessing experts are, ready for JSON.

    Args:
        config: With everything filled in.
        data: What the experts are trained on.
        preprocessing: A layer, pixels in 0..1 to model space.
    """
    return {
        "epochs": config.evaluation.epochs,
        "network": to_dict(config.network),
        "preprocessing": config.dataset.preprocessing_kind,
        "seen": _seen(data, preprocessing),
        "data": dataclasses.asdict(Identity.of(data)),
    }


def find_experts(task: Task) -> Experts | PlannedExperts:
    """Returns the trained networks that a run's method takes.

    Args:
        task: What is known of the run before its images are read.

    Raises:
        UserError: there are none, or they are not of the run's network and shapes.
    """
    if task.planned is not None:
        return task.planned
    config, role = task.config, role_of(task.config.method)
    if not (folder := networks_folder(config)):
        raise UserError(
            f"method {config.method.name!r} {role.use}: train some with `python -m "
            f"dam_tf {role.command} --dataset={config.dataset.name}`, and give their "
            f"folder as {role.setting}; or have the run train them, with "
            "--set=method.train_networks=10"
        )
    found = Experts(folder, role)
    check_experts(found, task)
    if found.unfinished:
        say_once(
            f"{role.word.title()}s in {found.folder} that are not trained to their end "
            f"are left out: {found.unfinished}."
        )
    return found


def missing_experts(config: Config) -> PlannedExperts | None:
    """Returns the trained networks that a run is to train first, if it is.

    That is where `method.train_networks` asks for more than lie in their folder. Those
    that lie there are taken if they were trained as the run would have done it.

    Args:
        config: Of the run, as it was given.

    Raises:
        UserError: what lies there was trained otherwise, or is something else.
    """
    if (own := own_training(config)) is None:
        return None
    role, folder = role_of(config.method), pathlib.Path(networks_folder(config))
    matter, count = training_settings(*own), 0
    with contextlib.suppress(UserError):  # training says what is damaged
        count = len(Experts(folder, role))
    try:
        if count < own[1].experts:
            check_folder(folder, matter, resume=True, overwrite=False)
            epochs = own[0].evaluation.epochs
            return PlannedExperts(folder, epochs, own[1].kept == "all")
        check_folder(folder, None, resume=True, overwrite=False)
        stored, now = settings_in(folder), json.loads(json.dumps(matter))
        # Earlier versions had fewer settings.
        names = {k for k in stored.keys() & now if k.partition(".")[0] not in _COMPARED}
        pair = ({name: one[name] for name in names} for one in (stored, now))
        check_same(folder, f"the training of its {role.word}s", *pair)
    except UserError as error:
        raise UserError(
            f"method.train_networks: {error}; give another folder as {role.setting}, "
            f"or take the {role.word}s there as they are: "
            "--set=method.train_networks="
        ) from None
    return None


def check_experts(experts: Experts, task: Task) -> None:
    """Raises a `UserError` where experts are not of a run's network and shapes.

    Args:
        experts: They are to be followed.
        task: What is known of the run before its images are read.
    """
    config, made = task.config, experts.made
    kind = config.dataset.preprocessing_kind
    found = [*_network(made["network"], to_dict(config.network))]
    if made["preprocessing"] != kind:
        found.append(f"their preprocessing is {made['preprocessing']!r}, not {kind!r}")
    trained = _identity(experts)
    told, classes = len(trained.class_names), len(task.class_names)
    if told != classes:
        found.append(f"they tell {told} classes apart, and the run has {classes}")
    if trained.image_shape != task.image_shape:
        sides = ["x".join(map(str, s)) for s in (trained.image_shape, task.image_shape)]
        found.append(f"they saw images of {sides[0]}, and the run has {sides[1]}")
    if not found:
        network = sketch(task.image_shape, classes, config.network)
        shapes = [tuple(weight.shape) for weight in network.trainable_variables]
        if experts.shapes != shapes:
            found.append("the shapes of their weights are others")
    _refuse(experts, found)


def check_experts_data(
    experts: Experts, data: RealData, preprocessing: keras.layers.Layer
) -> None:
    """Raises a `UserError` where experts saw other images than those of a run.

    Args:
        experts: They are to be followed.
        data: The run's.
        preprocessing: The run's, pixels in 0..1 to model space.
    """
    found = [_identity(experts).differences(Identity.of(data))]
    seen, now = experts.made.get("seen"), _seen(data, preprocessing)
    if not found[0] and not (
        isinstance(seen, list)
        and len(seen) == len(now)
        and np.allclose(seen, now, rtol=_CLOSE, atol=_CLOSE)
    ):
        found.append("their preprocessing was fitted otherwise")
    _refuse(experts, [*filter(None, found)])


def check_statistics(experts: Experts, count: int) -> None:
    """Raises a `UserError` where batch norm's statistics were not kept with networks.

    Args:
        experts: They are to classify images.
        count: How many statistics their network has.
    """
    if not experts.have_statistics(count):
        raise UserError(
            f"the networks in {experts.folder} were kept without the statistics of "
            "batch norm, as earlier versions of dam_tf did; train some with "
            "`python -m dam_tf pretrain`"
        )


def _refuse(experts: Experts, found: list[str]) -> None:
    if found:
        role = experts.role
        raise UserError(
            f"the {role.word}s in {experts.folder} do not suit this run: "
            f"{', '.join(found)}; train some with `python -m dam_tf {role.command}` "
            "and the settings of the run"
        )


def _network(made: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """In which settings of the network they differ, in words."""
    return [
        f"their network.{name} is {made.get(name)!r}, not {now.get(name)!r}"
        for name in sorted(made.keys() | now.keys())
        if made.get(name) != now.get(name)
    ]


def _identity(experts: Experts) -> Identity:
    try:
        return Identity.from_dict(experts.made["data"])
    except ValueError as error:
        raise UserError(
            f"the description of the {experts.role.word}s in {experts.folder} is "
            f"damaged ({error}); train them anew"
        ) from None


def _seen(data: RealData, preprocessing: keras.layers.Layer) -> list[float]:
    """Some values of the first training images, as a network sees them."""
    rows = np.arange(min(_PROBED, len(data.train.labels)))
    values = in_model_space(data.train.take(rows), preprocessing).ravel()
    places = np.linspace(0, len(values) - 1, _VALUES).astype(int)
    return [float(value) for value in values[places]]
