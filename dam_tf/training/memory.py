"""What training and testing a network take of memory, asked before it is built."""

from collections.abc import Mapping

from dam_tf.base.memory import PROCESS, check_memory
from dam_tf.config.settings import Config
from dam_tf.networks.memory import (
    TAPE,
    available_bytes,
    halves,
    network_memory,
    sizes_below,
)
from dam_tf.training.descent import TEST_BATCH, at_once, worth_compiling

_SIZE, _BATCH = "--image_size", "--set=evaluation.batch_size"


def check_training(
    image_shape: tuple[int, int, int], classes: int, config: Config, images: int
) -> None:
    """Raises a `UserError` where training a network takes more memory than there is.

    Args:
        image_shape: Height, width and channels.
        classes: Number of classes.
        config: Its network and evaluation sections say what is trained, and how.
        images: How many the training set has.
    """
    height, width, channels = image_shape
    settings = config.evaluation

    def needed(changed: Mapping[str, int]) -> float:
        shape = image_shape
        if _SIZE in changed:
            shape = (changed[_SIZE], changed[_SIZE], channels)
        network = network_memory(shape, classes, config.network)
        batch = min(changed.get(_BATCH, settings.batch_size), images)
        if network.trains_in_parts and worth_compiling(shape, settings, images):
            batch = min(batch, at_once(shape))
        trained = TAPE * batch * network.maps
        tested = TEST_BATCH * network.pass_through
        # Weights, their gradients and velocities.
        return PROCESS + 3 * network.weights + max(trained, tested)

    choices = {_BATCH: halves(min(settings.batch_size, images))}
    if height * width > 64 * 64:
        choices = {_SIZE: sizes_below(image_shape), **choices}
    through = f"{config.network.name} (network.width {config.network.width})"
    check_memory(
        f"training {through} on images of {height}x{width}",
        needed,
        choices,
        available_bytes(),
    )
