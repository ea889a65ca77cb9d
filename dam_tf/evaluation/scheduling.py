"""Which networks of an evaluation train when, and on which device.

It stands between the trainer, which trains the networks it is given, and
`evaluate.py`, which makes accuracies of what they answer.
"""

import concurrent.futures
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dam_tf.base.devices import Workers
from dam_tf.config.sections import EvaluationConfig
from dam_tf.data.real_data import Split
from dam_tf.training.on_distilled import train_from_scratch
from dam_tf.training.trainer import Trainer

_FEW_IMAGES = 128  # that leave cores idle, so that networks gain by taking turns


def train_and_test(
    trainer: Trainer,
    test: Split,
    settings: EvaluationConfig,
    on_progress: Callable[[int, Sequence[np.ndarray]], Any] = lambda *_: None,
    strategy: tf.distribute.Strategy | None = None,
) -> list[np.ndarray]:
    """Trains networks and returns what each takes the test images for.

    That is after the last epoch; never the best one.

    Args:
        trainer: Holds the training set.
        test: Real images, uint8 pixels.
        settings: How many networks, and for how long.
        on_progress: Called with (epochs done in all, predictions so far); with
            several workers, all are taken to be as far as this one.
        strategy: Devices and workers, each of which trains some of the networks.

    Returns:
        An int64 `[len(test.labels)]` for each of `settings.networks` networks, on
        every worker.
    """
    workers, count = Workers(strategy), settings.networks
    at_once = networks_at_once(settings, len(trainer))
    at_once = min(at_once, -(-count // workers.strategy.num_replicas_in_sync))
    starts = range(0, count, at_once)
    batches = [range(start, min(start + at_once, count)) for start in starts]
    lock, epochs, done = threading.Lock(), dict.fromkeys(batches, 0), {}
    stopped = threading.Event()

    def work(numbers: range) -> None:
        def tell(number: int) -> None:
            if stopped.is_set():
                raise concurrent.futures.CancelledError
            with lock:
                epochs[numbers] = number * len(numbers)
                total = sum(epochs.values()) * workers.count
                total = min(total, count * settings.epochs)
                on_progress(total, list(done.values()))

        states = train_from_scratch(trainer, numbers, settings.epochs, tell)
        answers = [
            trainer.predict(state, test.checked_images()).argmax(axis=1)
            for state in states
        ]
        with lock:
            done.update(zip(numbers, answers, strict=True))
        tell(settings.epochs)

    try:
        workers.spread(work, batches)
    except BaseException:  # Ctrl-C, too, which only the main thread hears of
        stopped.set()
        raise
    found = np.zeros([count, len(test.labels)], np.int64)
    for number, answers in done.items():
        found[number] = answers
    return list(workers.sum(found))


def networks_at_once(settings: EvaluationConfig, images: int) -> int:
    """Returns how many networks train at the same time.

    Args:
        settings: Of the evaluation; its `networks_at_once` decides if given.
        images: How many the set has; a few leave cores idle.

    Example:
        >>> networks_at_once(EvaluationConfig(), 10)
        2
    """
    return settings.networks_at_once or (2 if images <= _FEW_IMAGES else 1)
