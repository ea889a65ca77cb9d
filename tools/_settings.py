"""The flags that say which data and which settings, and the `Config` they make."""

import re
import sys
from collections.abc import Mapping, Sequence

import _command
from absl import flags

from dam_tf.config.settings import Config, make_config
from dam_tf.data.catalog import CATALOG, lookup

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
    "method": ("method.name", "datadam, dm, feature_map or pixel_mmd."),
    "network": (
        "network.name",
        "Architecture: convnet, alexnet, vgg11, resnet18, resnet18_ap, lenet, mlp, "
        "vit or nasbench201.",
    ),
    "init": ("distillation.init", "Initial images: random, k-center or noise."),
    "iterations": ("distillation.iterations", "Updates of the synthetic images."),
    "batch_real": ("distillation.batch_real", "Real images per class per iteration."),
    "classes_per_step": (
        "distillation.classes_per_step",
        "Classes, drawn anew, that an iteration moves, for sets of very many. Default: "
        "all.",
    ),
    "seed": ("distillation.seed", "Decides every random choice."),
    "checkpoint_every": (
        "distillation.checkpoint_every",
        "Iterations between checkpoints.",
    ),
    "snapshot_every": (
        "distillation.snapshot_every",
        "Iterations between images that are kept for pictures of the process.",
    ),
    "models": ("evaluation.models", "Networks that an evaluation trains."),
    "epochs": ("evaluation.epochs", "Passes over the set that each is trained for."),
    "schedule": (
        "evaluation.schedule",
        "Of the learning rate: lineage (x 0.1 from half on), paper (x 0.5 every 15 "
        "epochs) or constant.",
    ),
    "augmentation": (
        "evaluation.augmentation",
        "Of the training images: dsa, none, autoaugment or randaugment.",
    ),
}

# Those of select.py, where these names mean how images are chosen.
_SELECTION: dict[str, tuple[str, str]] = {
    "method": ("selection.method", "random, herding, k-center or forgetting."),
    "space": (
        "selection.space",
        "Where herding and k-center compare images: pixels, or the embedding of a "
        "random network or of a trained one.",
    ),
    "epochs": (
        "selection.epochs",
        "Passes over all images of the network that chooses: the trained one, and "
        "that of forgetting.",
    ),
}

_keys: dict[str, str] = {}  # the setting of each flag that was defined


def define(*names: str, selection: Sequence[str] = ()) -> None:
    """Defines flags, and --set, for the calling tool.

    Args:
        *names: Flags of distilling and evaluating.
        selection: Flags of choosing a coreset.
    """
    chosen = {name: _SETTINGS[name] for name in names}
    chosen |= {name: _SELECTION[name] for name in selection}
    for name, (key, description) in chosen.items():
        _keys[name] = key
        flags.DEFINE_string(name, None, description, module_name=sys.argv[0])
    flags.DEFINE_multi_string(
        "set",
        [],
        "Any other setting, as section.key=value; may be repeated.",
        module_name=sys.argv[0],  # so that --help lists them as the tool's own
    )


def overrides() -> Mapping[str, str]:
    """Returns the settings that flags were given for, by dotted key."""
    given = {}
    for name, key in _keys.items():
        if flags.FLAGS[name].value is not None:
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


def default_folder(config: Config, method: str) -> str:
    """Returns where a run of `config` by `method` lies if no folder is given."""
    name = re.sub(r"[^\w.-]+", "-", config.dataset.name).strip("-")
    settings = config.distillation
    return f"runs/{name}_ipc{settings.ipc}_{method}_seed{settings.seed}"
