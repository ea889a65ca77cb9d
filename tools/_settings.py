"""The flags that say which data and which settings, and the `Config` they make."""

from collections.abc import Mapping

import _command
from absl import flags

from dam_tf.config import Config, make_config
from dam_tf.datasets.catalog import CATALOG, lookup

# Flags whose value goes straight into a setting; None leaves the setting alone.
_SETTINGS: dict[str, tuple[str, str]] = {
    "dataset": (
        "dataset.name",
        f"What to distil: {', '.join(CATALOG)}, folder:PATH (train/<class>/*, "
        "test/<class>/*) or npz:PATH (x_train, y_train, x_test, y_test). "
        "Default: digits.",
    ),
    "data_dir": ("dataset.data_dir", "Where the data lie, or are downloaded to."),
    "image_size": ("dataset.image_size", "Resize images to this height and width."),
    "max_classes": ("dataset.max_classes", "Keep only the first classes."),
    "preset": ("preset", "Protocol to start from: paper or reference (its code)."),
    "ipc": ("distillation.ipc", "Synthetic images per class."),
    "method": ("method.name", "datadam, dm or feature_map."),
    "network": ("network.name", "Architecture: convnet."),
    "init": ("distillation.init", "Initial images: random, k-center or noise."),
    "iterations": ("distillation.iterations", "Updates of the synthetic images."),
    "batch_real": ("distillation.batch_real", "Real images per class per iteration."),
    "seed": ("distillation.seed", "Decides every random choice."),
    "checkpoint_every": (
        "distillation.checkpoint_every",
        "Iterations between checkpoints.",
    ),
    "models": ("evaluation.models", "Networks that an evaluation trains."),
    "epochs": ("evaluation.epochs", "Passes over the set that each is trained for."),
}


def define(*names: str) -> None:
    """Defines the flags of these names, and --set, for the calling tool."""
    for name in names:
        flags.DEFINE_string(name, None, _SETTINGS[name][1])
    flags.DEFINE_multi_string(
        "set", [], "Any other setting, as section.key=value; may be repeated."
    )


def overrides() -> Mapping[str, str]:
    """Returns the settings that flags were given for, by dotted key."""
    given = {}
    for name, (key, _) in _SETTINGS.items():
        if name in flags.FLAGS and flags.FLAGS[name].value is not None:
            given[key] = flags.FLAGS[name].value
    for text in flags.FLAGS.set:
        key, equals, value = text.partition("=")
        if not equals:
            raise _command.UserError(f"--set={text} must be section.key=value")
        given[key.strip()] = value.strip()
    return given


def config(file: str | None = None) -> Config:
    """Returns the settings of `file`, or of the data set's own, under the flags.

    Args:
        file: A TOML file; left out, `configs/<dataset>.toml` where there is one.

    Raises:
        UserError: the data set is unknown, or a setting is.
    """
    given = overrides()
    if file is None:
        name = given.get("dataset.name", Config().dataset.name)
        lookup(name)
        own = _command.REPOSITORY / "configs" / f"{name}.toml"
        file = own if own.is_file() else None
    made = make_config(file, given)
    lookup(made.dataset.name)
    return made
