"""The settings of a data set's own: `configs/<name>.toml`, in a checkout or a wheel.

Nothing here imports TensorFlow.
"""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from dam_tf.config.settings import Config, make_config


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


def config_for(
    dataset: str | None = None,
    file: os.PathLike | str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """Returns the settings for a data set: its own file's, with overrides over them.

    Args:
        dataset: A catalog name, or another that `dataset.name` accepts; digits where
            neither this nor `file` says.
        file: A TOML file to read in place of the data set's own.
        overrides: Values by dotted key, as `make_config` takes them.

    Raises:
        UserError: the file cannot be read, a key is unknown, or a value is wrong.

    Example:
        >>> config_for("cifar10").dataset.preprocessing
        'zca'
        >>> config_for("cifar10", overrides={"distillation.ipc": 10}).distillation.ipc
        10
    """
    overrides = dict(overrides or {})
    if dataset is not None:
        overrides["dataset.name"] = dataset
    if file is None:
        file = own_file(overrides.get("dataset.name", Config().dataset.name))
    return make_config(file, overrides)
