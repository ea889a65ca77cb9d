"""The settings that come with dam_tf, in a checkout or a wheel.

A data set's own are `configs/<name>.toml`; what measured best on it with so many images
per class is `configs/best/<name>_ipc<k>.toml`. Nothing here imports TensorFlow.
"""

import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from dam_tf.base.errors import UserError
from dam_tf.base.messages import log
from dam_tf.config import settings
from dam_tf.config.schema import flat, read_toml, to_dict
from dam_tf.config.settings import Config

BEST = "best"  # in place of a method: the one that measured best
_EXPECTED = ("Accuracy", "Time", "Memory")


def own_file(dataset: str) -> pathlib.Path | None:
    """Returns the TOML file that comes with dam_tf for a data set, if there is one.

    Args:
        dataset: Its catalog name.

    Example:
        >>> own_file("digits").name
        'digits.toml'
        >>> own_file("folder:pictures")
    """
    file = _folder() / f"{dataset}.toml"
    return file if dataset.isidentifier() and file.is_file() else None


def best_files() -> dict[tuple[str, int], pathlib.Path]:
    """Returns what measured best: TOML files by data set and images per class.

    Example:
        >>> best_files()["digits", 1].name
        'digits_ipc1.toml'
    """
    found = {}
    for path in sorted((_folder() / BEST).glob("*_ipc*.toml")):
        dataset, _, ipc = path.stem.rpartition("_ipc")
        found[dataset, int(ipc)] = path
    return dict(sorted(found.items()))


def expectations(file: os.PathLike | str) -> dict[str, str]:
    """Returns what the opening comment of one of `best_files` says comes of it.

    There a line begins with the name, and those that go on with it are indented:

        # Time: 25 minutes on two cores, after
        #   half an hour for the networks

    Example:
        >>> list(expectations(best_files()["digits", 1]))
        ['Run', 'Accuracy', 'Time', 'Memory']
    """
    text = pathlib.Path(file).read_text(encoding="utf-8")
    comment = re.match(r"(#.*\n)*", text)[0].replace("\n#   ", " ")
    return dict(re.findall(r"^# (\w+): (.+)$", comment, re.MULTILINE))


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
            as the setting's type, as it comes from a command line. Where they call the
            method "best", the file is that which measured best for their data set and
            `distillation.ipc`.

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
    if overrides.get("method.name") == BEST:
        if file is not None:
            raise UserError(
                f"method {BEST!r} takes a file of its own, and the configuration file "
                f"{os.fspath(file)} is another; give one of the two"
            )
        file = _best_file(overrides)
        del overrides["method.name"]
    elif file is None:
        name = overrides.get("dataset.name", Config().dataset.name)
        file = own_file(name) if isinstance(name, str) else None
    return settings.read_config(file, overrides)


def _best_file(overrides: Mapping[str, Any]) -> pathlib.Path:
    """Returns the best file for the data set and ipc of `overrides`, and says so."""
    others = {k: v for k, v in overrides.items() if not k.startswith("method.")}
    config, files = make_config(overrides=others), best_files()
    name, ipc = config.dataset.name, config.distillation.ipc
    if (file := files.get((name, ipc))) is None:
        known = ", ".join(f"{name} with --ipc={ipc}" for name, ipc in files)
        nearest = min(files, key=lambda k: (k[0] != name, k[0], abs(k[1] - ipc)))
        raise UserError(
            f"method {BEST!r} was not found for {name} with --ipc={ipc}; it is known "
            f"for {known}. To use one of these on your data, give its file instead: "
            f"--config={files[nearest]} --dataset={name} --ipc={ipc}"
        )
    method, found = read_toml(file)["method"]["name"], expectations(file)
    told = "; ".join(f"{key.lower()} {found[key]}" for key in _EXPECTED)
    log.info("The best for %s is %s, by %s: %s.", name, method, file, told)
    return file


def _folder() -> pathlib.Path:
    """A wheel has the files inside the package, a checkout beside it."""
    package = pathlib.Path(__file__).resolve().parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


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
