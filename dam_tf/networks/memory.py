"""What a network takes of memory, told from its shapes: nothing of it is computed.

Methods and training ask before they build anything. What they get is less than what
is really taken (compilers and allocators take more), so what it forbids cannot work.
"""

import concurrent.futures
import dataclasses
import functools
import math

import keras
import tensorflow as tf

from dam_tf.base.memory import memory_bytes
from dam_tf.base.target import in_program, target
from dam_tf.config.sections import NetworkConfig
from dam_tf.networks.registry import create
from dam_tf.networks.stages import bytes_of, crossing, fitting, is_batch_norm
from dam_tf.networks.xla_cpu.layers import trains_faster_by_xla

_FLOAT = 4  # bytes

# Of an image whose gradient is taken: its maps and gradients of them that are held at
# once, as a multiple of its maps. Measured (benchmarks/NOTES.md).
TAPE = 1.4


@dataclasses.dataclass(frozen=True)
class NetworkMemory:
    """Bytes in float32.

    Attributes:
        maps: All that the layers give for one image, which gradients need again.
        pass_through: The most that one layer takes and gives for one image, which
            suffices where no gradient is wanted.
        weights: All weights.
        trains_in_parts: Whether XLA trains it in parts of a batch, as it does on a CPU
            where no norm needs all of the batch.
        crossing: Of what is kept while images pass in stages, how many batch norms it
            has met, and its size for one image; empty without batch norm.
    """

    maps: int
    pass_through: int
    weights: int
    trains_in_parts: bool
    crossing: tuple[tuple[int, int], ...]

    def kept(self, images: int) -> int:
        """Returns the most that is kept at once, of all images, while they pass."""
        held = fitting([size for _, size in self.crossing], images)
        depths = [self.crossing[place][0] for place in held]
        sizes = [self.crossing[place][1] for place in held]
        # A stage writes what the next one reads.
        return images * max(
            (
                sum(
                    s for d, s in zip(depths, sizes, strict=True) if d in (one - 1, one)
                )
                for one in depths
            ),
            default=0,
        )


def sketch(
    image_shape: tuple[int, int, int], classes: int, config: NetworkConfig
) -> keras.Model:
    """Returns the network of `networks.create` without values of its weights.

    Its layers, shapes and names are those of the network; it takes no memory for
    weights and cannot be called.

    Args:
        image_shape: Height, width and channels.
        classes: Number of logits.
        config: The architecture's name and settings.

    Raises:
        UserError: as `create` does.

    Example:
        >>> sketch((32, 32, 3), 10, NetworkConfig()).count_params()
        320010
    """

    def make() -> keras.Model:
        # Weights made in this scope get their values when it is left, or never.
        with keras.StatelessScope(initialize_variables=False):
            return create(config.name, image_shape, classes, config)

    # Keras notes, for each thread, which weights are still to get values.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(make).result()


def memory_of(network: keras.Model) -> NetworkMemory:
    """Returns what a network takes; a `sketch` suffices.

    Example:
        >>> network = sketch((32, 32, 3), 10, NetworkConfig(depth=1))
        >>> memory_of(network).weights == 4 * network.count_params()
        True
    """
    given = [_size(layer.output) for layer in network.layers]
    passing = [_size(layer.input) + _size(layer.output) for layer in network.layers]
    weights = sum(math.prod(weight.shape) for weight in network.variables)
    on_cpu = target() == "cpu"
    of_a_batch = any(map(is_batch_norm, network.layers))
    return NetworkMemory(
        maps=_FLOAT * sum(given),
        pass_through=_FLOAT * max(passing),
        weights=_FLOAT * weights,
        trains_in_parts=on_cpu and trains_faster_by_xla(network) and not of_a_batch,
        crossing=tuple(
            (depth, bytes_of(one)) for depth, one in crossing(network) if of_a_batch
        ),
    )


@functools.lru_cache(maxsize=64)
def network_memory(
    image_shape: tuple[int, int, int], classes: int, config: NetworkConfig
) -> NetworkMemory:
    """Returns what the network of these settings takes.

    Raises:
        UserError: as `create` does.
    """
    return memory_of(sketch(image_shape, classes, config))


def available_bytes() -> int | None:
    """Returns the memory where networks are computed: a GPU's, else the machine's.

    That of the device that a program is for is not known, and None.
    """
    if in_program():
        return None
    if not tf.config.list_physical_devices("GPU"):
        return memory_bytes()
    from tensorflow.python.client import device_lib

    devices = device_lib.list_local_devices()
    found = [one.memory_limit for one in devices if one.device_type == "GPU"]
    return min(found, default=None)


def sizes_below(image_shape: tuple[int, int, int]) -> list[int]:
    """Returns usual heights and widths below those of images, from large to small.

    Example:
        >>> sizes_below((96, 400, 3))
        [64, 48, 32, 28, 16, 8]
    """
    usual = (1024, 768, 512, 384, 256, 224, 192, 128, 96, 64, 48, 32, 28, 16, 8)
    return [size for size in usual if size < min(image_shape[:2])]


def halves(count: int) -> list[int]:
    """Returns powers of two below a number, from large to small.

    Example:
        >>> halves(10)
        [8, 4, 2, 1]
    """
    return [1 << k for k in range((count - 1).bit_length())][::-1]


def _size(tensors) -> int:
    """Values for one image of what a layer takes or gives."""
    return sum(
        math.prod(side or 1 for side in tensor.shape[1:])
        for tensor in tf.nest.flatten(tensors)
    )
