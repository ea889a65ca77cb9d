"""A network with batch norm in stages, so that a batch may pass it in chunks.

What a norm takes from a batch are the mean and the variance of what enters it, and that
depends on the norms before. So there is a stage for each norm, of which those that
stand side by side share one. It passes all images up to there, and once its statistics
are known, the next one goes on. `FunctionalNetwork` makes the stages, and methods loop
over chunks.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

# Of what a stage has computed, later ones need again what crosses from norm to norm. It
# is kept, the smallest maps first, and the others are computed anew. An image of 32x32
# keeps 0.18 MB on its way through a ConvNet of width 128, so 6,400 of them fit.
_KEPT_BYTES = 1_200_000_000


@dataclasses.dataclass(frozen=True)
class Stage:
    """What one pass over all images finds.

    Attributes:
        norms: Numbers of the norms whose statistics it finds, in the network's order.
        keeps: Numbers of what it gives to later stages.
    """

    norms: list[int]
    keeps: list[int]


class StagedNetwork:
    """A network whose batch norms, and what is kept on the way, have numbers.

    Args:
        network: Images to outputs; each of its layers is used once.
        images: How many pass in all, by which it is decided what is kept.

    Attributes:
        stages: In order; none without batch norm.
        kept: What is kept, by number, `[None, ...]`.
        norms: The layers.

    Example:
        >>> images = keras.Input([8, 8, 3])
        >>> x = keras.layers.BatchNormalization()(keras.layers.Conv2D(2, 3)(images))
        >>> x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(x))
        >>> staged = StagedNetwork(keras.Model(images, x), 100)
        >>> [one.shape for one in staged.kept]
        [(None, 8, 8, 3), (None, 4, 4, 4)]
        >>> staged.stages
        [Stage(norms=[0], keeps=[0]), Stage(norms=[1], keeps=[1])]
    """

    def __init__(self, network: keras.Model, images: int):
        self._network = network
        self._maker = {
            id(one): layer
            for layer in network.layers
            for one in tf.nest.flatten(layer.output)
        }
        found = crossing(network)
        places = fitting([bytes_of(one) for _, one in found], images)
        depths = [found[place][0] for place in places]
        self.kept = [found[place][1] for place in places]
        self.norms = [layer for layer in network.layers if is_batch_norm(layer)]
        entering = {id(one): depth for depth, one in found}
        # What enters a norm and has met no other does not cross.
        of_norms = [entering.get(id(layer.input), 0) for layer in self.norms]
        self.stages = [
            Stage(_places_of(depth, of_norms), _places_of(depth, depths))
            for depth in range(max(of_norms, default=-1) + 1)
        ]

    @tf.autograph.experimental.do_not_convert  # no tensor decides; it takes seconds
    def enter(
        self,
        stage: Stage,
        variables: Sequence[tf.Tensor],
        images: Callable[[], tf.Tensor],
        kept: Mapping[int, Callable[[], tf.Tensor]],
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Returns what enters the norms of a stage, and what it keeps.

        Args:
            stage: One of `stages`.
            variables: Weights and then statistics, as of `keras.Model`. Those of norms
                before this stage are the batch's.
            images: Gives some images `[n, h, w, c]`, if they are needed.
            kept: Each gives what an earlier stage has kept of them, by number.
        """
        entering = [self.norms[number].input for number in stage.norms]
        wanted = [*entering, *(self.kept[number] for number in stage.keeps)]
        found = self._values(wanted, variables, images, kept)
        return found[: len(entering)], found[len(entering) :]

    def with_moments(
        self,
        statistics: Sequence[tf.Tensor],
        stage: Stage,
        moments: Sequence[tuple[tf.Tensor, tf.Tensor]],
    ) -> list[tf.Tensor]:
        """Returns `statistics` with those of the norms of a stage in their places.

        Args:
            statistics: Of all norms, as `network.non_trainable_variables`.
            stage: One of `stages`.
            moments: Mean and variance of what enters each of its norms.
        """
        variables = self._network.non_trainable_variables
        places = {id(one): place for place, one in enumerate(variables)}
        changed = list(statistics)
        for number, (mean, variance) in zip(stage.norms, moments, strict=True):
            norm = self.norms[number]
            changed[places[id(norm.moving_mean)]] = mean
            changed[places[id(norm.moving_variance)]] = variance
        return changed

    @tf.autograph.experimental.do_not_convert  # as above
    def outputs(
        self,
        variables: Sequence[tf.Tensor],
        images: Callable[[], tf.Tensor],
        kept: Mapping[int, Callable[[], tf.Tensor]],
    ) -> tuple[tf.Tensor, Any]:
        """Returns the images, and the network's outputs for them.

        Args:
            variables: As of `enter`; all statistics are the batch's.
            images: As of `enter`.
            kept: As of `enter`.
        """
        wanted = self._network.inputs[0], self._network.output
        flat = tf.nest.flatten(wanted)
        found = self._values(flat, variables, images, kept)
        return tf.nest.pack_sequence_as(wanted, found)

    def _values(self, wanted, variables, images, kept):
        given = {id(self.kept[number]): read for number, read in kept.items()}
        given.setdefault(id(self._network.inputs[0]), images)
        known = {}

        def value(tensor):
            if id(tensor) not in known:
                known[id(tensor)] = compute(tensor)
            return known[id(tensor)]

        def compute(tensor):
            if id(tensor) in given:
                return given[id(tensor)]()
            layer = self._maker[id(tensor)]
            inputs = tf.nest.map_structure(value, layer.input)
            return layer(inputs, training=False)

        own = self._network
        own = [*own.trainable_variables, *own.non_trainable_variables]
        with keras.StatelessScope(list(zip(own, variables, strict=True))):
            return [value(tensor) for tensor in wanted]


def crossing(network: keras.Model) -> list[tuple[int, keras.KerasTensor]]:
    """Returns what crosses from norm to norm, each with the norms on its longest way.

    The first are the images. What else has met no norm yet, such as the first
    convolution, is quickly computed anew and left out.

    Args:
        network: Images to outputs; each of its layers is used once.
    """
    (images,) = network.inputs
    depths, found = {id(images): 0}, {id(images): (0, images)}
    for layer in network.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        given = tf.nest.flatten(layer.input)
        depth = max(depths[id(one)] for one in given) + is_batch_norm(layer)
        depths |= {id(one): depth for one in tf.nest.flatten(layer.output)}
        for one in given:
            if 0 < depths[id(one)] < depth:
                found[id(one)] = depths[id(one)], one
    return list(found.values())


def fitting(sizes: Sequence[int], images: int) -> list[int]:
    """Returns which of several tensors are kept, as places in `sizes`, in order.

    Args:
        sizes: Bytes of each for an image.
        images: How many pass.

    Example:
        >>> fitting([12_288, 131_072, 32_768], 6_400), fitting([100, 300], 4_000_000)
        ([0, 1, 2], [0])
    """
    kept, room = [], _KEPT_BYTES
    for place in sorted(range(len(sizes)), key=lambda place: sizes[place]):
        if sizes[place] * images <= room:
            room -= sizes[place] * images
            kept.append(place)
    return sorted(kept)


def bytes_of(tensor: keras.KerasTensor) -> int:
    """Returns what a tensor takes for one image."""
    return math.prod(tensor.shape[1:]) * tf.as_dtype(tensor.dtype).size


def is_batch_norm(layer: keras.layers.Layer) -> bool:
    """Returns whether what a layer makes of an image depends on the others."""
    return isinstance(layer, keras.layers.BatchNormalization)


def _places_of(value, values):
    return [place for place, one in enumerate(values) if one == value]
