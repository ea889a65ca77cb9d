"""The sections of a configuration: every setting, its default and what it accepts.

`settings.py` puts them together; those of section `[method]` are in `methods.py`.
"""

import dataclasses

from dam_tf.config.image_counts import checked
from dam_tf.config.schema import setting

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
    "frepo",
)
INITIALIZERS = ("uniform", "he_normal")
NORMS = ("none", "batch", "layer", "instance", "group")
OPERATIONS = ("color", "crop", "cutout", "flip", "scale", "rotate")


@dataclasses.dataclass(frozen=True)
class DatasetConfig:
    """Which images are distilled, and how a network sees them."""

    name: str = setting(
        "digits", "a catalog name, folder:PATH, npz:PATH or a TFDS name"
    )
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
        choices=NORMS,
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
        choices=INITIALIZERS,
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
    images_per_class: str | None = setting(
        None,
        "how they are shared out: equal, if left out; proportional to the real images "
        "of a class, with ipc the mean; or a number for each class, such as 5,3,1",
    )
    init: str = setting(
        "random",
        "initial images: random real, k-center real, or noise",
        choices=("random", "k-center", "noise"),
    )
    extends: str | None = setting(
        None,
        "folder of a finished run with fewer images per class, which stay as they are: "
        "the first of each class",
    )
    formation: str = setting(
        "raw",
        "how images are stored: raw, or factor:2 for one that is cut into 2 x 2 "
        "images, which are enlarged",
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

    def __post_init__(self):
        ipc, shared = checked(self.ipc, self.images_per_class)
        object.__setattr__(self, "ipc", ipc)
        object.__setattr__(self, "images_per_class", shared)


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

    networks: int = setting(5, "how many are trained from scratch", minimum=1)
    networks_at_once: int | None = setting(
        None,
        "how many are trained at the same time; by the set if left out",
        minimum=1,
        affects="speed",
    )
    epochs: int = setting(1000, "passes over the set", minimum=1)
    batch_size: int = setting(256, "images per update", minimum=1)
    learning_rate: float = setting(0.01, "of the networks' SGD", minimum=0.0)
    schedule: str = setting(
        "step",
        "of the learning rate: step (x 0.1 from half on, as in the DC/DSA/DM code), "
        "paper (x 0.5 every 15 epochs, Table 10) or constant",
        choices=("step", "paper", "constant"),
    )
    augmentation: str = setting(
        "dsa",
        "of the training images (Figure 11); dsa is that of section augmentation",
        choices=("dsa", "none", "autoaugment", "randaugment"),
    )
    cutmix: float = setting(
        0.0, "share of batches whose images and labels are mixed (CutMix)", minimum=0.0
    )
    loss: str = setting(
        "cross_entropy",
        "what networks minimise; mse is that of logits",
        choices=("cross_entropy", "kl", "mse"),
    )
    label_type: str = setting(
        "soft",
        "that networks learn: the soft ones of sets that have some, or hard ones",
        choices=("soft", "hard"),
    )
    recipe: str = setting(
        "common",
        "how networks are trained: as this section says, or as the set's own recipe",
        choices=("common", "own"),
    )
    momentum: float = setting(0.9, "of the networks' SGD", minimum=0.0)
    weight_decay: float = setting(
        5e-4, "L2 penalty, added to the gradient before momentum", minimum=0.0
    )
