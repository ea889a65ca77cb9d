"""Where data lie, as it stays true when a command runs in another folder."""

import os

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
        "method__experts": getattr(config.method, "experts", ""),
        "method__trained": getattr(config.method, "trained", ""),
        "method__pool": getattr(config.method, "pool", ""),
    }
    for key, place in places.items():
        if place and full_path(place) != place:
            changes[key] = full_path(place)
    if absolute(dataset.name) != dataset.name:
        changes["dataset__name"] = absolute(dataset.name)
    return replace(config, **changes) if changes else config


def full_path(path: str) -> str:
    """Returns a path that is found from any folder; `~` is the user's own.

    Example:
        >>> full_path("/data/../pets")
        '/pets'
    """
    return os.path.abspath(os.path.expanduser(path))
