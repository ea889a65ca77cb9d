"""A network as two pure functions: a seed to weights, weights and images to outputs.

Distilling, training, selecting and pretraining all call networks through this one
class. It stands on the architectures (`registry.py`) and on how weights are drawn
(`weights.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from dam_tf.base.target import target
from dam_tf.config.sections import NetworkConfig
from dam_tf.networks.registry import create, feature_extractor
from dam_tf.networks.second_order import for_second_order
from dam_tf.networks.stages import StagedNetwork
from dam_tf.networks.weights import RandomWeights
from dam_tf.networks.xla_cpu.layers import (
    for_xla_on_cpu,
    in_precision,
    trains_faster_by_xla,
)


class Outputs(NamedTuple):
    """What a network makes of a batch of images, all float32.

    Attributes:
        taps: Maps after the activation of each block, `[batch, h_l, w_l, c_l]`.
        embedding: What the classifier sees, `[batch, d]`.
        logits: `[batch, classes]`.
    """

    taps: list[tf.Tensor]
    embedding: tf.Tensor
    logits: tf.Tensor

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> "Outputs":
        """Returns those of a model of `feature_extractor`."""
        single = tf.nest.map_structure(lambda value: tf.cast(value, tf.float32), found)
        return cls(**single)


class FunctionalNetwork:
    """A classifier whose weights are arguments, so that gradients flow into them.

    The Keras model behind it is built once and its variables are never read nor
    written, so the functions can be called under tapes, in `tf.function`, in XLA and
    on any replica. It is no layer: what holds it does not track its variables.
    Outputs that a caller does not use cost nothing in a `tf.function`.

    Args:
        image_shape: Height, width and channels.
        classes: Number of logits.
        config: The architecture's name and settings.
        compiled: Whether XLA compiles the functions that apply the network. Where
            there is no GPU, the layers are then those that XLA compiles best on a
            CPU (`xla_cpu/`); their values are those of Keras' own layers.
        second_order: Whether gradients of gradients are taken, as gradient matching
            does (Zhao et al., ICLR 2021). Norms are then those of `second_order.py`,
            since the second derivatives of Keras' own are wrong.
        precision: `"float32"`, or `"bfloat16"` for maps of that type; weights and
            outputs are float32 in both.

    Attributes:
        blocks: The number of taps.
        weight_names: Of each weight, such as `"conv_1/kernel"`; the classifier's two
            come last.
        weight_shapes: Of each weight.
        fan_in: Of each weight how many values enter one output of its layer; None
            where its values are not drawn.
        statistic_names: Of each of the statistics of batch norm.
        sums_by_halves: Whether the layers are those for XLA on a CPU.

    Raises:
        UserError: `config` names an unknown network, or one that the images or
            settings do not fit.

    Example:
        >>> network = FunctionalNetwork((8, 8, 1), 3, NetworkConfig(depth=2))
        >>> weights = network.init(tf.constant([0, 1]))
        >>> images = tf.zeros([5, 8, 8, 1])
        >>> outputs, _ = network.apply(weights, network.statistics, images)
        >>> outputs.logits.shape, outputs.embedding.shape, len(outputs.taps)
        (TensorShape([5, 3]), TensorShape([5, 512]), 2)
        >>> network.weight_names[-2:]
        ('logits/kernel', 'logits/bias')
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        config: NetworkConfig,
        *,
        compiled: bool = False,
        second_order: bool = False,
        precision: str = "float32",
    ):
        self._arguments = tuple(image_shape), classes, config
        network = create(config.name, *self._arguments)
        self.weight_names = _names(network.trainable_variables)
        self.statistic_names = _names(network.non_trainable_variables)
        self._statistics = [
            tf.convert_to_tensor(v).numpy() for v in network.non_trainable_variables
        ]
        self.weight_shapes = [tuple(v.shape) for v in network.trainable_variables]
        self._draw = RandomWeights(network, config.initializer)
        self.fan_in = self._draw.fan_in
        on_cpu = target() == "cpu"
        self._trains_faster_compiled = on_cpu and trains_faster_by_xla(network)
        self.sums_by_halves = compiled and on_cpu
        if compiled and on_cpu:
            network = for_xla_on_cpu(network)
        if second_order:
            # The layers for XLA are right at second order, too, and faster. One DC
            # gradient of ConvNet-3 on two cores, of 10 and of 100 images of 32x32:
            # 0.09 and 0.51 s; Keras' layers by XLA 0.19 and 1.41 s, op by op 0.12 and
            # 1.16 s.
            network = for_second_order(network)
        if precision == "bfloat16":
            network = in_precision(network, "mixed_bfloat16")
        self._model = feature_extractor(network)
        self.blocks = len(self._model.output["taps"])

    @property
    def trains_faster_compiled(self) -> bool:
        """Whether XLA, on this machine, trains the network faster than oneDNN."""
        return self._trains_faster_compiled

    @property
    def statistics(self) -> list[tf.Tensor]:
        """Those of batch norm before any batch; empty where there is none."""
        return [tf.constant(value) for value in self._statistics]

    def init(self, seed: tf.Tensor) -> list[tf.Tensor]:
        """Returns freshly initialised weights, in the order of `weight_names`.

        To be called outside of functions that XLA compiles, as `RandomWeights` says.

        Args:
            seed: `[2]`, as of a stateless op.
        """
        return self._draw(seed)

    @tf.autograph.experimental.do_not_convert  # no tensor decides; it takes seconds
    def apply(
        self,
        weights: Sequence[tf.Tensor],
        statistics: Sequence[tf.Tensor],
        images: tf.Tensor,
        training: bool = True,
    ) -> tuple[Outputs, list[tf.Tensor]]:
        """Returns what the network makes of images, and the statistics afterwards.

        Args:
            weights: In the order of `weight_names`.
            statistics: In the order of `statistic_names`.
            images: `[batch, height, width, channels]`, in model space.
            training: Whether batch norm takes the statistics of this batch, and
                moves `statistics` towards them, or uses `statistics`.
        """
        found, statistics = self._model.stateless_call(
            weights, statistics, images, training=training
        )
        return Outputs.of(found), statistics

    def in_stages(self, images: int) -> StagedNetwork:
        """Returns the network with a stage for each batch norm.

        Args:
            images: How many pass in all.
        """
        return StagedNetwork(self._model, images)

    def to_keras(
        self, weights: Sequence[tf.Tensor], statistics: Sequence[tf.Tensor]
    ) -> keras.Model:
        """Returns a Keras model, images to logits, with these weights.

        Its layers are Keras' own, whatever this network is made of.

        Args:
            weights: In the order of `weight_names`.
            statistics: In the order of `statistic_names`.
        """
        network = create(self._arguments[2].name, *self._arguments)
        for variables, values in (
            (network.trainable_variables, weights),
            (network.non_trainable_variables, statistics),
        ):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(np.asarray(value))
        return network


def _names(variables: Sequence[keras.Variable]) -> tuple[str, ...]:
    return tuple(variable.path for variable in variables)
