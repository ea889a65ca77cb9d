"""The settings of generators (Table 11): section `[method]` of a run of `generate`.

What they do stands in `dam_tf/generators/`, in the file of the generator's name.
Nothing here imports TensorFlow, so a tool can check its settings before that import.
"""

import dataclasses
from typing import Any, ClassVar

from dam_tf.config.method_settings import MethodSettings
from dam_tf.config.schema import setting

_NAME = "which generator is trained"
_ADVERSARIAL = {
    "loss": "what the generator minimises",
    "discriminator": "what the discriminator minimises",
}


@dataclasses.dataclass(frozen=True)
class GeneratorSettings(MethodSettings):
    """What the settings of every generator have."""

    batch: int = setting(
        64,
        "real images of an update, about as many of each of its classes",
        minimum=1,
    )
    latent: int = setting(128, "random numbers that an image is made of", minimum=1)
    trained: str = setting(
        "", "folder of a run of the same settings, whose weights it begins with"
    )
    # What is generated starts from no image, and XLA gains nothing on a CPU.
    distillation: ClassVar[dict[str, Any]] = {
        "init": "noise",
        "jit": "none",
        "iterations": 10_000,
    }


@dataclasses.dataclass(frozen=True)
class CGANSettings(GeneratorSettings):
    """Conditional GAN (Mirza and Osindero, 2014), with convolutions as in DCGAN."""

    name: str = setting("cgan", _NAME)
    width: int = setting(32, "channels of the largest maps", minimum=1)
    network_rate: float = setting(
        2e-4, "learning rate of both Adam optimizers", minimum=0.0
    )
    meanings: ClassVar[dict[str, str]] = _ADVERSARIAL
    reduction: ClassVar[str] = "small-scale: a DCGAN of 32 to 128 channels"


@dataclasses.dataclass(frozen=True)
class BigGANSettings(GeneratorSettings):
    """BigGAN in the form for CIFAR of the DiffAugment code, smaller."""

    name: str = setting("biggan", _NAME)
    width: int = setting(32, "channels of every map", minimum=1)
    network_rate: float = setting(
        2e-4, "learning rate of both Adam optimizers", minimum=0.0
    )
    discriminator_steps: int = setting(
        4, "updates of the discriminator in an iteration", minimum=1
    )
    augment: tuple[str, ...] = setting(
        ("crop", "cutout"),
        "how all images that the discriminator sees are varied, each one by all of "
        "these",
        choices=("color", "crop", "cutout"),
    )
    ema_decay: float = setting(
        0.999,
        "share of the generator's moving average that an update keeps at most",
        minimum=0.0,
        below=1.0,
    )
    meanings: ClassVar[dict[str, str]] = _ADVERSARIAL
    distillation: ClassVar[dict[str, Any]] = {
        **GeneratorSettings.distillation,
        "iterations": 5000,
    }
    reduction: ClassVar[str] = (
        "small-scale: 32 channels for 256, hours of training for days on two GPUs"
    )


@dataclasses.dataclass(frozen=True)
class DCVAESettings(GeneratorSettings):
    """DC-VAE (Parmar et al., CVPR 2021), conditioned on the class and smaller."""

    name: str = setting("dcvae", _NAME)
    width: int = setting(24, "channels of every map", minimum=1)
    network_rate: float = setting(
        2e-4, "learning rate of both Adam optimizers", minimum=0.0
    )
    discriminator_steps: int = setting(
        5, "updates of the discriminator in an iteration", minimum=1
    )
    divergence: float = setting(
        1e-6, "factor on the divergence of the code from N(0, 1)", minimum=0.0
    )
    contrast: int = setting(16, "length of the vectors that are contrasted", minimum=1)
    temperature: float = setting(0.07, "of the contrastive losses", minimum=1e-6)
    queue: int = setting(2048, "vectors of earlier images to contrast with", minimum=1)
    ema_decay: float = setting(
        0.999,
        "share of the decoder's moving average, and of the encoder of the contrastive "
        "losses, that an update keeps at most",
        minimum=0.0,
        below=1.0,
    )
    meanings: ClassVar[dict[str, str]] = {
        **_ADVERSARIAL,
        "contrast": "both contrastive losses",
        "divergence": "divergence of the code from N(0, 1)",
    }
    distillation: ClassVar[dict[str, Any]] = BigGANSettings.distillation
    reduction: ClassVar[str] = (
        "small-scale: 24 channels for 256, a queue of 2,048 for 8,192, and the class "
        "as an input, which the published model has not"
    )


@dataclasses.dataclass(frozen=True)
class GMMNSettings(GeneratorSettings):
    """Generative moment matching network (Li et al., ICML 2015), one for each class."""

    name: str = setting("gmmn", _NAME)
    batch: int = setting(
        200, "real images of each class, and as many generated, of an update", minimum=2
    )
    latent: int = setting(10, "random numbers that an image is made of", minimum=1)
    hidden: tuple[int, ...] = setting(
        (64, 256, 256, 1024), "units of each hidden layer", minimum=1
    )
    bandwidths: tuple[float, ...] = setting(
        (0.02, 0.05, 0.1, 0.2, 0.4, 0.8),
        "variances of the kernels, as shares of the median squared distance between "
        "real images",
        minimum=1e-6,
    )
    network_rate: float = setting(
        0.2,
        "learning rate of SGD; a tenth from a quarter of the iterations on",
        minimum=0.0,
    )
    momentum: float = setting(
        0.9, "of SGD; 0.99 from a quarter of the iterations on", minimum=0.0, below=1.0
    )
    meanings: ClassVar[dict[str, str]] = {
        "loss": "root of the MMD of all kernels, mean over the classes"
    }
    distillation: ClassVar[dict[str, Any]] = {
        **GeneratorSettings.distillation,
        "iterations": 4000,
    }
    augments: ClassVar[bool] = False
    reduction: ClassVar[str] = (
        "small-scale: batches of 200 for 1,000, a tenth of the iterations"
    )


GENERATORS: dict[str, type[GeneratorSettings]] = {
    kind().name: kind
    for kind in (CGANSettings, BigGANSettings, DCVAESettings, GMMNSettings)
}
