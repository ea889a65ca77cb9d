"""The settings of a run: one frozen schema, read from TOML with flags over it.

Settings are layered, later over earlier: the defaults below, the named preset
(`PRESETS`), the TOML file, single overrides. A value of `None` means "decided by
the data", and is filled in once the data are known. Nothing here imports
TensorFlow, so a tool can check its settings and speak before that import.
"""

import dataclasses
import os
from collections.abc import Iterable, Mapping
from typing import Any

import tomli_w

from dam_tf.base.errors import choice_error
from dam_tf.base.files import atomic_file
from dam_tf.config.methods import METHODS, MethodSettings
from dam_tf.config.schema import (
    build,
    flat,
    keys_that_affect,
    read_toml,
    set_value,
    setting,
    to_dict,
)

ARCHITECTURES = (
    "convnet",
    "alexnet",
    "vgg11",
    "resnet18",
    "resnet18_ap",
    "lenet",
    "mlp",
    "vit",
    "nasbench201",
)
OPERATIONS = ("color", "crop", "cutout", "flip", "scale", "rotate")


@dataclasses.dataclass(frozen=True)
class DatasetConfig:
    """Which images are distilled, and how a network sees them."""

    name: str = setting("digits", "a catalog name, folder:PATH or npz:PATH")
    data_dir: str = setting(
        "", "where the data lie; empty: the source's own default", affects="files"
    )
    image_size: int | None = setting(None, "resize to this height and width", minimum=4)
    max_classes: int | None = setting(None, "keep only the first classes", minimum=2)
    preprocessing: str = setting(
        "standardize",
        "per-channel standardisation, or ZCA whitening",
        choices=("none", "standardize", "zca"),
    )
    zca_input: str = setting(
        "pixels",
        "what ZCA whitens: pixels in 0..1 or standardised ones",
        choices=("pixels", "standardized"),
    )
    cache: str = setting(
        "auto",
        "keep images in memory or in a memory-mapped file (auto: by size; verify: on "
        "disk, after every image there was compared with its checksum)",
        choices=("auto", "memory", "disk", "verify"),
        affects="speed",
    )

    @property
    def preprocessing_kind(self) -> str:
        """The `kind` of `fit_preprocessing` that these settings ask for."""
        if self.preprocessing == "zca" and self.zca_input == "standardized":
            return "standardize_zca"
        return self.preprocessing


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """The network whose features are matched, and that evaluation trains."""

    name: str = setting("convnet", "architecture", choices=ARCHITECTURES)
    width: int = setting(
        128,
        "kernels of each convolution; others than convnet scale theirs by this / 128",
        minimum=1,
    )
    depth: int | None = setting(
        None, "blocks; convnet's by resolution if left out", minimum=1
    )
    activation: str = setting(
        "relu", "non-linearity", choices=("relu", "leaky_relu", "sigmoid", "swish")
    )
    norm: str | None = setting(
        None,
        "normalisation; the architecture's own (convnet: instance) if left out",
        choices=("none", "batch", "layer", "instance", "group"),
    )
    pooling: str | None = setting(
        None,
        "pooling; the architecture's own (convnet: avg) if left out",
        choices=("none", "avg", "max"),
    )
    pooling_size: int = setting(
        2, "pools over this height and width, with stride 2", minimum=2
    )
    initializer: str = setting(
        "uniform",
        "distribution of random weights: U(+-1/sqrt(fan_in)) or He normal",
        choices=("uniform", "he_normal"),
    )
    cell: str | None = setting(
        None, "of nasbench201: what its cells do, |operation~node|+...; residual if out"
    )


@dataclasses.dataclass(frozen=True)
class AugmentationConfig:
    """Differentiable Siamese augmentation (DSA): operations and their strengths."""

    operations: tuple[str, ...] = setting(
        OPERATIONS, "one of these is drawn each time; none: no augmentation", OPERATIONS
    )
    brightness: float = setting(1.0, "adds U(-0.5, 0.5) * this", minimum=0.0)
    saturation: float = setting(2.0, "blends with grey by U(0, 1) * this", minimum=0.0)
    contrast: float = setting(0.5, "blends with the mean by U(0, 1) + this")
    crop: float = setting(0.125, "largest shift, as a share of the side", minimum=0.0)
    cutout: float = setting(0.5, "side of the hole, as a share of the side")
    flip: float = setting(0.5, "probability of a left-right flip", minimum=0.0)
    scale: float = setting(1.2, "largest zoom", minimum=1.0)
    rotate: float = setting(15.0, "largest rotation, degrees", minimum=0.0)


@dataclasses.dataclass(frozen=True)
class DistillationConfig:
    """Algorithm 1: how the synthetic images are learned."""

    ipc: int = setting(1, "synthetic images per class", minimum=1)
    init: str = setting(
        "random",
        "initial images: random real, k-center real, or noise",
        choices=("random", "k-center", "noise"),
    )
    iterations: int = setting(
        8000, "updates of the synthetic images", minimum=0, affects="length"
    )
    batch_real: int = setting(256, "real images per class per iteration", minimum=1)
    classes_per_step: int | None = setting(
        None, "classes, drawn anew, that an iteration moves; all if left out", minimum=1
    )
    learning_rate: float | None = setting(
        None, "of the images; 1 up to 50 images per class, else 10", minimum=0.0
    )
    momentum: float = setting(0.5, "of the images' SGD", minimum=0.0)
    ema_decay: float = setting(
        0.0,
        "share of the images' moving average that an update keeps; where it is not 0, "
        "the average is what is distilled",
        minimum=0.0,
        below=1.0,
    )
    precision: str = setting(
        "float32",
        "of the network's maps of real images; what is matched, and all of synthetic "
        "images, is float32",
        choices=("float32", "bfloat16"),
    )
    jit: str = setting("xla", "compiler of the step, or none", choices=("xla", "none"))
    seed: int = setting(
        0, "decides every random choice of the run", minimum=0, below=2**31
    )
    checkpoint_every: int = setting(
        500, "iterations between checkpoints", minimum=1, affects="files"
    )
    log_every: int = setting(
        10, "iterations between lines of metrics", minimum=1, affects="files"
    )
    snapshot_every: int | None = setting(
        None,
        "iterations between images that are kept; none if left out",
        minimum=1,
        affects="files",
    )
    snapshot_at: tuple[int, ...] = setting(
        (), "more iterations whose images are kept", minimum=0, affects="files"
    )


@dataclasses.dataclass(frozen=True)
class SelectionConfig:
    """How real images are chosen as a coreset."""

    method: str = setting(
        "herding",
        "which images are chosen",
        choices=("random", "herding", "k-center", "forgetting"),
    )
    space: str = setting(
        "trained",
        "where distances are taken: pixels, or the embedding of a random network or "
        "of one trained on the whole set",
        choices=("pixels", "random", "trained"),
    )
    epochs: int = setting(
        10, "passes over the whole set of the network that chooses", minimum=1
    )


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """How networks are trained on a set and tested on real images."""

    models: int = setting(5, "networks trained from scratch", minimum=1)
    together: int | None = setting(
        None,
        "networks trained at the same time; by the set if left out",
        minimum=1,
        affects="speed",
    )
    epochs: int = setting(1000, "passes over the set", minimum=1)
    batch_size: int = setting(256, "images per update", minimum=1)
    learning_rate: float = setting(0.01, "of the networks' SGD", minimum=0.0)
    schedule: str = setting(
        "lineage",
        "of the learning rate: lineage (x 0.1 from half on), paper (x 0.5 every 15 "
        "epochs, Table 10) or constant",
        choices=("lineage", "paper", "constant"),
    )
    augmentation: str = setting(
        "dsa",
        "of the training images (Figure 11); dsa is that of section augmentation",
        choices=("dsa", "none", "autoaugment", "randaugment"),
    )
    momentum: float = setting(0.9, "of the networks' SGD", minimum=0.0)
    weight_decay: float = setting(
        5e-4, "L2 penalty, added to the gradient before momentum", minimum=0.0
    )


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings of a run, in sections named as in the TOML files."""

    preset: str = setting("paper", "which protocol's values to start from")
    dataset: DatasetConfig = DatasetConfig()
    network: NetworkConfig = NetworkConfig()
    # The settings of this section depend on its name.
    method: MethodSettings = dataclasses.field(
        default=METHODS["datadam"](), metadata={"variants": METHODS}
    )
    augmentation: AugmentationConfig = AugmentationConfig()
    distillation: DistillationConfig = DistillationConfig()
    selection: SelectionConfig = setting(
        SelectionConfig(), "how a coreset is chosen", affects="selection"
    )
    evaluation: EvaluationConfig = setting(
        EvaluationConfig(), "how a set is tested", affects="evaluation"
    )


# Where the paper and its PyTorch code differ; what is not listed is the default. What
# a preset says of methods stands by the method's name.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {},
    "reference": {
        "dataset": {"zca_input": "standardized"},
        "method": {"datadam": {"power": 1.0, "task_balance": 0.01}},
        "network": {"norm": "batch"},
        "distillation": {"iterations": 20_000, "batch_real": 64},
        "evaluation": {"epochs": 1800, "batch_size": 64, "models": 10},
    },
}


def make_config(
    file: os.PathLike | str | None = None,
    overrides: Mapping[str, Any] | None = None,
    of_a_run: bool = False,
) -> Config:
    """Returns the settings of a TOML file with single overrides over them.

    Args:
        file: A TOML file with the sections of `Config`, or None.
        overrides: Values by dotted key, `{"distillation.ipc": 10}`. A string is
            read as the setting's type, as it comes from a command line.
        of_a_run: Whether `file` was written by a run, maybe one of dam_tf 0.1, which
            wrote the settings of all methods for each.

    Raises:
        UserError: a key is unknown, or a value has the wrong type or range.

    Example:
        >>> config = make_config(overrides={"distillation.ipc": "10"})
        >>> config.distillation.ipc
        10
    """
    values = read_toml(file) if file is not None else {}
    if of_a_run:
        _forget_other_methods(values)
    for key, value in (overrides or {}).items():
        set_value(values, key, value)
    preset = values.get("preset", Config.preset)
    if not isinstance(preset, str) or preset not in PRESETS:
        raise choice_error("preset", preset, PRESETS)
    merged: dict[str, Any] = {"preset": preset}
    for section in (*PRESETS[preset], *values):
        if section != "preset":
            given = values.get(section, {})
            if isinstance(given, Mapping):
                base = _preset_values(preset, section, given.get("name"))
                given = {**base, **given}
            merged[section] = given
    return from_dict(merged)


def _forget_other_methods(values: dict[str, Any]) -> None:
    method = values.get("method")
    if isinstance(method, dict) and method.get("name") in METHODS:
        own, *others = (
            {field.name for field in dataclasses.fields(kind)}
            for kind in (METHODS[method["name"]], *METHODS.values())
        )
        for key in set().union(*others) - own:
            method.pop(key, None)


def _preset_values(preset: str, section: str, name: Any) -> Mapping[str, Any]:
    values = PRESETS[preset].get(section, {})
    if section != "method":
        return values
    method = Config.method.name if name is None else str(name)
    return values.get(method, {})


def from_dict(values: Mapping[str, Any]) -> Config:
    """Returns the `Config` of nested mappings, checked as `make_config` does."""
    return build(Config, values)


def save_config(config: Config, path: os.PathLike | str) -> None:
    """Writes `config` as TOML, atomically; `make_config(path)` gives it back."""
    values = to_dict(config)
    for section in PRESETS[config.preset]:
        settings = _preset_values(config.preset, section, config.method.name)
        for key in settings:  # TOML has no None: an empty text undoes the preset
            values[section].setdefault(key, "")
    with atomic_file(path) as temporary:
        temporary.write_text(tomli_w.dumps(values), encoding="utf-8")


def replace(config: Config, **changes: Any) -> Config:
    """Returns `config` with settings changed, named `section__key`, and checked.

    Example:
        >>> replace(Config(), distillation__ipc=10).distillation.ipc
        10
    """
    values = to_dict(config)
    method = changes.get("method__name", config.method.name)
    if method != config.method.name:  # another method has settings of its own
        values["method"] = {}
    for name, value in changes.items():
        section, key = name.split("__")
        if value is None:
            values[section].pop(key, None)
        else:
            values[section][key] = value
    return from_dict(values)


def settings_that_matter(config: Config, ignored: Iterable[str] = ()) -> dict[str, Any]:
    """Returns settings by dotted key, without those that change no result.

    Left out are those that change only which files are kept and where, or the speed.

    Args:
        config: Of a run, or of all runs of a study.
        ignored: More keys to leave out, such as those that differ between trials.

    Example:
        >>> settings = settings_that_matter(Config(), ["method.name"])
        >>> settings["distillation.ipc"], "method.name" in settings
        (1, False)
        >>> "dataset.cache" in settings
        False
    """
    left_out = keys_that_affect(Config, "files", "speed").union(ignored)
    found = flat(to_dict(config))
    return {key: value for key, value in found.items() if key not in left_out}


def default_depth(height: int) -> int:
    """Returns a network's blocks for images of this height (section 6.1.4)."""
    return 3 + (height > 32) + (height > 64)


def default_task_balance(height: int) -> float:
    """Returns lambda for images of this height (section 4.1)."""
    return 0.01 if height <= 32 else 0.02


def default_learning_rate(ipc: int) -> float:
    """Returns the images' learning rate (Table 10)."""
    return 1.0 if ipc <= 50 else 10.0


def resolve(config: Config, image_shape: tuple[int, int, int]) -> Config:
    """Returns `config` with what the data decide filled in.

    Args:
        config: Settings, some of them None.
        image_shape: Height, width and channels of the real images.

    Example:
        >>> resolve(Config(), (64, 64, 3)).method.task_balance
        0.02
    """
    network, method, distillation = config.network, config.method, config.distillation
    height = image_shape[0]
    found = {}
    if network.depth is None and network.name == "convnet":
        found["network__depth"] = default_depth(height)
    if getattr(method, "task_balance", 0.0) is None:
        found["method__task_balance"] = default_task_balance(height)
    if distillation.learning_rate is None:
        rate = default_learning_rate(distillation.ipc)
        found["distillation__learning_rate"] = rate
    return replace(config, **found)
