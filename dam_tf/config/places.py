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
    dataset = config.dataset
    name, data_dir = absolute(dataset.name), dataset.data_dir
    data_dir = full_path(data_dir) if data_dir else data_dir
    if (name, data_dir) == (dataset.name, dataset.data_dir):
        return config
    return replace(config, dataset__name=name, dataset__data_dir=data_dir)


def full_path(path: str) -> str:
    """Returns a path that is found from any folder; `~` is the user's own.

    Example:
        >>> full_path("/data/../pets")
        '/pets'
    """
    return os.path.abspath(os.path.expanduser(path))
