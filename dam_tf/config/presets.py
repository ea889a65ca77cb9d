"""The settings of a data set's own: `configs/<name>.toml`, in a checkout or a wheel.

Nothing here imports TensorFlow.
"""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from dam_tf.config import settings
from dam_tf.config.schema import flat, read_toml, to_dict
from dam_tf.config.settings import Config


def own_file(dataset: str) -> pathlib.Path | None:
    """Returns the TOML file that comes with dam_tf for a data set, if there is one.

    Args:
        dataset: Its catalog name.

    Example:
        >>> own_file("digits").name
        'digits.toml'
        >>> own_file("folder:pictures")
    """
    package = pathlib.Path(__file__).resolve().parents[1]
    # A wheel has them inside the package, a checkout beside it.
    for folder in (package / "configs", package.parent / "configs"):
        file = folder / f"{dataset}.toml"
        if dataset.isidentifier() and file.is_file():
            return file
    return None


def make_config(
    file: os.PathLike | str | None = None, overrides: Mapping[str, Any] | None = None
) -> Config:
    """Returns settings: a file's, with overrides over them.

    This is how every command and every function of `dam_tf` finds its settings.

    Args:
        file: A TOML file with the sections of `Config`; left out, the one that comes
            with dam_tf for the data set that `overrides` name (digits, where they name
            none), if there is one.
        overrides: Values by dotted key, `{"distillation.ipc": 10}`. A string is read
            as the setting's type, as it comes from a command line.

    Raises:
        UserError: the file cannot be read, a key is unknown, or a value is wrong.

    Example:
        >>> config = make_config(overrides={"dataset.name": "cifar10"})
        >>> config.dataset.preprocessing
        'zca'
        >>> config = make_config(overrides={"dataset.name": "npz:mine.npz"})
        >>> config.dataset.preprocessing
        'standardize'
    """
    overrides = flat(overrides or {})
    if file is None:
        name = overrides.get("dataset.name", Config().dataset.name)
        file = own_file(name) if isinstance(name, str) else None
    return settings.read_config(file, overrides)


def own_settings(config: Config) -> dict[str, Any]:
    """Returns what `config` has of its data set's own file, by dotted key.

    Example:
        >>> own_settings(make_config(overrides={"dataset.name": "cifar10"}))
        {'dataset.preprocessing': 'zca'}
    """
    if (file := own_file(config.dataset.name)) is None:
        return {}
    of_file, now = flat(read_toml(file)), flat(to_dict(config))
    del of_file["dataset.name"]
    return {key: value for key, value in of_file.items() if now.get(key) == value}
