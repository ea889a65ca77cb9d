"""What a run takes of memory, by its method, asked before anything is built."""

import math
from collections.abc import Callable, Mapping

from dam_tf.base.memory import PROCESS, check_memory
from dam_tf.config.settings import replace
from dam_tf.methods.group_gradient import turns
from dam_tf.methods.method import Task
from dam_tf.networks.memory import (
    TAPE,
    NetworkMemory,
    available_bytes,
    halves,
    memory_of,
    network_memory,
    sizes_below,
    sketch,
)

_WAITING = 3  # batches of real images: one in use, two loaded ahead
_COPIES = 4  # of the synthetic images: they, their gradient, in groups too, momentum

_VECTORS = 6  # of weights: start, target, student, their gradients
_ORDERS = 2  # tapes: one for the student's gradient, one for derivatives of that

_SIZE, _IPC, _STEPS = "--image_size", "--ipc", "--set=method.steps"
_BATCH, _CLASSES = "--batch_real", "--classes_per_step"


def check_distilling(
    task: Task, network: NetworkMemory | None, turns: Callable = turns
) -> None:
    """Raises a `UserError` where an iteration takes more memory than there is.

    Args:
        task: What is known of the run.
        network: What its network takes; None where its maps are not computed.
        turns: How many classes, and how many real images, pass at once, as
            `group_gradient.turns` says it.
    """
    config, (height, width, _) = task.config, task.image_shape
    settings, classes = config.distillation, len(task.class_names)

    def needed(changed: Mapping[str, int]) -> float:
        return distilling_bytes(task, network, changed, turns)

    choices = {}
    if height * width > 64 * 64:
        choices[_SIZE] = sizes_below(task.image_shape)
    choices[_BATCH] = halves(settings.batch_real)
    choices[_IPC] = task.smaller_ipcs
    choices[_CLASSES] = halves(settings.classes_per_step or classes)
    through = f"{config.network.name} (network.width {config.network.width})"
    check_memory(
        f"distilling images of {height}x{width} through {through}",
        needed,
        choices,
        available_bytes(),
    )


def distilling_bytes(
    task: Task,
    network: NetworkMemory | None,
    changed: Mapping[str, int] = {},
    turns: Callable = turns,
) -> float:
    """Returns the bytes that an iteration takes at least.

    Args:
        task: What is known of the run.
        network: What its network takes; None where its maps are not computed.
        changed: Flags of `check_distilling` that are given otherwise.
        turns: As of `check_distilling`.
    """
    config, shape = task.config, task.image_shape
    classes = len(task.class_names)
    if _SIZE in changed:
        shape = (changed[_SIZE], changed[_SIZE], shape[2])
        network = network and network_memory(shape, classes, config.network)
    settings = config.distillation
    batch = changed.get(_BATCH, settings.batch_real)
    total = task.images_at(changed.get(_IPC))
    most = -(-max(task.counts) * total // sum(task.counts))
    drawn = changed.get(_CLASSES, settings.classes_per_step or classes)
    config = replace(config, distillation__batch_real=batch)
    share = -(-drawn // task.replicas)
    group, chunk = turns(config, shape, share, most, task.uneven)
    values = math.prod(shape)
    learned = _COPIES * 4 * total * values
    images = PROCESS + learned + _WAITING * group * batch * values
    if network is None:
        return images
    forward = chunk * network.pass_through + network.kept(group * batch)
    if settings.precision == "bfloat16":
        forward /= 2
    tape = min(group * most, total) * (TAPE * network.maps + network.pass_through)
    return images + network.weights + max(forward, tape)


def check_unrolling(task: Task, kept: int, at_once: int) -> None:
    """Raises a `UserError` where a student takes more memory than there is.

    Args:
        task: What is known of the run.
        kept: Steps whose weights are kept.
        at_once: Synthetic images that pass through the student at once.
    """
    config, (height, width, _) = task.config, task.image_shape
    classes = len(task.class_names)
    network = memory_of(sketch(task.image_shape, classes, config.network))

    def needed(changed: Mapping[str, int]) -> float:
        images = task.images_at(changed.get(_IPC))
        learned = _COPIES * 4 * images * math.prod(task.image_shape)
        weights = (changed.get(_STEPS, kept) + _VECTORS) * network.weights
        tape = _ORDERS * min(at_once, images) * TAPE * network.maps
        return PROCESS + learned + weights + tape

    choices = {_IPC: task.smaller_ipcs, _STEPS: halves(kept) if kept else []}
    through = f"{config.network.name} (network.width {config.network.width})"
    check_memory(
        f"training {through} on synthetic images of {height}x{width}",
        needed,
        choices,
        available_bytes(),
        "choose a smaller network or --image_size",
    )
