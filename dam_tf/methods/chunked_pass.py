"""A pass of many images through a network, chunk by chunk, whatever its norm is.

Real images need no gradient, so nothing of a chunk is kept but what a method adds up.
Under batch norm the statistics are those of all images together: each of the network's
stages (`networks/stages.py`) passes them once, until all statistics are known.
"""

from collections.abc import Callable

import tensorflow as tf

from dam_tf.methods.chunks import chunk_rows, chunks_of
from dam_tf.networks.functional import FunctionalNetwork, Outputs
from dam_tf.networks.xla_cpu.operations import sum_of_positions


class ChunkedPass:
    """Gives what a network makes of images, in training mode, a chunk at a time.

    Args:
        network: The network.
        count: How many images pass.
        size: Images of a chunk.

    Example:
        >>> from dam_tf.config.sections import NetworkConfig
        >>> config = NetworkConfig(depth=1, norm="batch")
        >>> network = FunctionalNetwork((8, 8, 1), 3, config)
        >>> images, weights = tf.ones([5, 8, 8, 1]), network.init(tf.constant([0, 1]))
        >>> outputs_of = ChunkedPass(network, 5, 2).begin(
        ...     weights, lambda rows: tf.gather(images, rows)
        ... )
        >>> shown, outputs = outputs_of(tf.constant([2, 3]))
        >>> outputs.logits.shape
        TensorShape([2, 3])
    """

    def __init__(self, network: FunctionalNetwork, count: int, size: int):
        self._network, self._count, self._size = network, count, size
        self._staged = network.in_stages(count)

    def begin(
        self,
        weights: list[tf.Tensor],
        images_of: Callable[[tf.Tensor], tf.Tensor],
    ) -> Callable[[tf.Tensor], tuple[tf.Tensor, Outputs]]:
        """Returns what gives the images and outputs of a chunk. Runs in a graph.

        Args:
            weights: Of the network.
            images_of: Gives the images `[size, h, w, c]` of a chunk's rows, in model
                space. It may be asked several times.
        """
        network, staged = self._network, self._staged
        statistics, kept = network.statistics, {}
        for stage in staged.stages:
            given = weights, statistics, images_of
            moments, more = self._through(stage, *given, kept)
            statistics = staged.with_moments(statistics, stage, moments)
            kept = {**kept, **more}

        def outputs_of(rows):
            if not staged.stages:
                images = images_of(rows)
                return images, network.apply(weights, statistics, images)[0]
            readers = self._readers(kept, rows)
            images, found = staged.outputs(
                [*weights, *statistics], lambda: images_of(rows), readers
            )
            return images, Outputs.of(found)

        return outputs_of

    def _through(self, stage, weights, statistics, images_of, kept):
        """One pass of all images: moments of what enters the norms, what is kept."""
        chunks = chunks_of(self._count, self._size)
        channels = [self._staged.norms[k].input.shape[-1] for k in stage.norms]
        moments = [(tf.zeros([width]), tf.zeros([width])) for width in channels]
        arrays = [self._array(chunks, self._staged.kept[k]) for k in stage.keeps]
        for number in tf.range(chunks):
            rows, valid = chunk_rows(number, self._count, self._size)
            entering, keeps = self._staged.enter(
                stage,
                [*weights, *statistics],
                lambda rows=rows: images_of(rows),
                self._readers(kept, rows),
            )
            before = tf.cast(number * self._size, tf.float32)
            moments = [
                self._joined(before, one, maps, valid)
                for one, maps in zip(moments, entering, strict=True)
            ]
            arrays = [
                array.write(number, maps)
                for array, maps in zip(arrays, keeps, strict=True)
            ]
        return moments, dict(zip(stage.keeps, arrays, strict=True))

    def _array(self, chunks, kept):
        shape = [self._size, *kept.shape[1:]]
        return tf.TensorArray(
            kept.dtype, chunks, element_shape=shape, clear_after_read=False
        )

    def _readers(self, kept, rows):
        number = rows[0] // self._size
        return {k: lambda array=array: array.read(number) for k, array in kept.items()}

    def _joined(self, before, moments, maps, valid):
        """Mean and variance of images before, and of a chunk, together.

        As in Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for
        computing sample variances" (COMPSTAT 1982).
        """
        maps, many = tf.cast(maps, tf.float32), tf.reduce_sum(valid)
        mean = self._mean(maps, valid)
        variance = self._mean(tf.square(maps - mean), valid)
        share = many / (before + many)
        gap = mean - moments[0]
        spread = moments[1] + share * (variance - moments[1])
        return (
            moments[0] + share * gap,
            spread + share * (1 - share) * tf.square(gap),
        )

    def _mean(self, maps, valid):
        """The mean over those of the images that are valid, `[c]`."""
        if len(maps.shape) == 4:
            places = maps.shape[1] * maps.shape[2]
            halves = self._network.sums_by_halves
            maps = sum_of_positions(maps) if halves else tf.reduce_sum(maps, [1, 2])
            maps /= places
        return tf.linalg.matvec(maps, valid, transpose_a=True) / tf.reduce_sum(valid)
