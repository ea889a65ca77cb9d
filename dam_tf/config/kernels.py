"""Settings of the methods that answer by kernel ridge regression.

KIP and label solve take the kernel of a network of infinite width, FRePo the features
of finite ones.
"""

import dataclasses
from typing import Any, ClassVar

from dam_tf.config.method_settings import MethodSettings
from dam_tf.config.schema import setting


@dataclasses.dataclass(frozen=True)
class KernelSettings(MethodSettings):
    """What regresses with the kernel of a ReLU network of infinite width."""

    kernel: str = setting(
        "ntk",
        "of training all layers (ntk), or the last one alone (nngp)",
        choices=("ntk", "nngp"),
    )
    kernel_network: str = setting(
        "fc",
        "whose kernel it is: fully connected, or 3x3 convolutions without pooling",
        choices=("fc", "conv"),
    )
    depth: int = setting(1, "hidden layers of the kernel's network", minimum=1)
    weight_deviation: float = setting(
        2**0.5, "of its weights, times the root of their number in a sum", minimum=0.0
    )
    bias_deviation: float = setting(0.1, "of its biases", minimum=0.0)
    regularization: float = setting(
        1e-6,
        "of the regression, times the mean of the kernel's diagonal",
        minimum=1e-12,
    )

    augments: ClassVar[bool] = False

    @property
    def in_words(self) -> str:
        """Which kernel it is."""
        network = {"fc": "fully connected", "conv": "convolutional"}
        layers = "layer" if self.depth == 1 else "layers"
        return (
            f"the {self.kernel.upper()} of a {network[self.kernel_network]} network "
            f"with {self.depth} hidden {layers}"
        )


@dataclasses.dataclass(frozen=True)
class KIPSettings(KernelSettings):
    """KIP: kernel inducing points, by kernel ridge regression."""

    name: str = setting("kip", "which method learns the synthetic data")
    labels: str = setting(
        "fixed", "whether labels are learned with the images", ("fixed", "learned")
    )
    meanings: ClassVar[dict[str, str]] = {
        "loss": "half the mean squared error of the kernel's answers",
        "accuracy": "the kernel's share of right answers for the real batch",
    }
    # 500 real images of each of ten classes are the 5,000 of its notebook.
    distillation: ClassVar[dict[str, Any]] = {
        "iterations": 1000,
        "batch_real": 500,
        "learning_rate": 0.04,
        "momentum": 0.9,
    }


def kernel_of(method: MethodSettings) -> KernelSettings:
    """Returns the kernel that a method regresses with, or KIP's where it has none.

    Example:
        >>> kernel_of(FRePoSettings()).in_words
        'the NTK of a fully connected network with 1 hidden layer'
    """
    return method if isinstance(method, KernelSettings) else KIPSettings()


@dataclasses.dataclass(frozen=True)
class LabelSolveSettings(KernelSettings):
    """Label solve: the best labels of real images that do not move."""

    name: str = setting("label_solve", "which method learns the synthetic data")
    meanings: ClassVar[dict[str, str]] = {
        "loss": "half the mean squared error of the kernel's answers for all images"
    }
    # One iteration reads all real images.
    distillation: ClassVar[dict[str, Any]] = {"iterations": 1, "batch_real": 500}


@dataclasses.dataclass(frozen=True)
class FRePoSettings(MethodSettings):
    """FRePo: neural feature regression with a pool of networks that age."""

    name: str = setting("frepo", "which method learns the synthetic data")
    features: str = setting(
        "frepo",
        "whose features are regressed on: FRePo's own network, or that of section "
        "network",
        choices=("frepo", "network"),
    )
    width: int = setting(
        128, "kernels of its first block; each other has twice as many", minimum=1
    )
    depth: int | None = setting(
        None, "blocks; by resolution if left out, as of a convnet", minimum=1
    )
    norm: str = setting(
        "batch", "normalisation of its networks", choices=("batch", "none", "instance")
    )
    networks: int = setting(10, "networks of the pool", minimum=1)
    max_age: int = setting(
        100, "steps of training after which a network is drawn anew", minimum=1
    )
    network_learning_rate: float = setting(
        3e-4, "of the Adam that trains the networks", minimum=0.0
    )
    network_batch: int = setting(
        1000, "synthetic images at most in a step of training", minimum=1
    )
    regularization: float = setting(
        1e-6,
        "of the regression, times the mean of the kernel's diagonal",
        minimum=1e-12,
    )
    flip: str | None = setting(
        None,
        "whether the regression has the mirror images, too; of colour images if left "
        "out",
        choices=("on", "off"),
    )
    labels: str = setting(
        "learned", "whether labels are learned with the images", ("learned", "fixed")
    )
    decay_over: int = setting(
        500_000,
        "iterations in which the learning rate falls to a tenth, along a cosine",
        minimum=1,
    )
    meanings: ClassVar[dict[str, str]] = {
        "loss": "what is minimised: error and margin",
        "error": "half the squared error of the regression's answers",
        "margin": "minus the distance of the two largest labels, up to 1 / classes",
        "accuracy": "the regression's share of right answers for the real batch",
    }
    augments: ClassVar[bool] = False
    # 102 real images of each of ten classes are about the 1,024 of its code.
    distillation: ClassVar[dict[str, Any]] = {
        "iterations": 500_000,
        "batch_real": 102,
        "learning_rate": 3e-4,
        "momentum": 0.9,
    }
