"""Where data lie, as it stays true when a command runs in another folder."""

import os

from dam_tf.base.files import file_name
from dam_tf.config.settings import Config, replace

_KINDS = ("folder", "npz")  # of data sets whose name says where they lie


def absolute(name: str) -> str:
    """Returns the name of a data set, `folder:PATH` or `npz:PATH`, with a whole path.

    Example:
        >>> absolute("npz:/data/../pets.npz"), absolute("cifar10")
        ('npz:/pets.npz', 'cifar10')
    """
    kind, colon, place = name.partition(":")
    if not colon or kind not in _KINDS or not place:
        return name
    return f"{kind}:{full_path(place)}"


def with_absolute_paths(config: Config) -> Config:
    """Returns settings that name the same data in whichever folder they are read.

    Example:
        >>> from dam_tf import make_config
        >>> given = make_config(overrides={"dataset.name": "folder:pets"})
        >>> os.path.isabs(with_absolute_paths(given).dataset.name[len("folder:"):])
        True
    """
    dataset, changes = config.dataset, {}
    places = {
        "dataset__data_dir": dataset.data_dir,
        "distillation__extends": config.distillation.extends,
        "method__trained": getattr(config.method, "trained", ""),
        f"method__{config.method.networks_in}": networks_folder(config),
    }
    for key, place in places.items():
        if place:
            changes[key] = full_path(place)
    if absolute(dataset.name) != dataset.name:
        changes["dataset__name"] = absolute(dataset.name)
    return replace(config, **changes) if changes else config


def networks_folder(config: Config) -> str:
    """Returns where the trained networks lie that a method needs; empty if it has none.

    Where a run is to train them and nothing says where, they have a folder of their
    data, which the next run finds as well.

    Example:
        >>> from dam_tf import make_config
        >>> given = {"method.name": "dance", "dataset.name": "cifar10"}
        >>> networks_folder(make_config(overrides=given))
        ''
        >>> given["method.train_networks"] = 3
        >>> networks_folder(make_config(overrides=given))
        'runs/cifar10_pool'
    """
    method, name = config.method, config.method.networks_in
    place = getattr(method, name) if name else ""
    if name and not place and method.train_networks is not None:
        return default_folder(config, name)
    return place


def default_folder(config: Config, what: str) -> str:
    """Returns where something of a data set lies if no folder is given.

    Example:
        >>> from dam_tf import make_config
        >>> default_folder(make_config(overrides={"dataset.name": "npz:a/b"}), "pool")
        'runs/npz-a-b_pool'
    """
    name = file_name(config.dataset.name)[-60:].strip("-.")  # a path may be long
    return f"runs/{name}_{what}"


def full_path(path: str) -> str:
    """Returns a path that is found from any folder; `~` is the user's own.

    Example:
        >>> full_path("/data/../pets")
        '/pets'
    """
    return os.path.abspath(os.path.expanduser(path))
