"""How long a run will take: said when it begins, and again where that proves wrong."""

import time
from collections.abc import Mapping

import keras

from dam_tf.base.messages import log

_WRONG_BY = 0.25  # of the time that was said
_FIRST_LOOK = 10.0  # seconds after the beginning; each later one after twice as many


class Pace(keras.callbacks.Callback):
    """Says how long a run will take, and corrects that.

    What iterations take is measured before the run; what it takes besides, such as to
    save, and how busy the machine is later, only the run shows.

    Args:
        first: Iterations done.
        last: Iterations of the whole run.
        seconds: What one takes, as it was measured.
    """

    def __init__(self, first: int, last: int, seconds: float):
        super().__init__()
        self._first, self._last, self._seconds = first, last, seconds

    def on_train_begin(self, logs: Mapping | None = None) -> None:
        count = self._last - self._first
        log.info(
            "%s iterations will take about %s (%.3g s each). Ctrl-C saves a "
            "checkpoint and stops.",
            f"{count:,}",
            in_words(self._seconds * count),
            self._seconds,
        )
        self._begin, self._look = time.perf_counter(), _FIRST_LOOK

    def on_train_batch_end(self, batch: int, logs: Mapping | None = None) -> None:
        passed = time.perf_counter() - self._begin
        if passed < self._look or batch >= self._last:
            return
        self._look = 2 * passed
        seconds = passed / (batch - self._first)
        if abs(seconds - self._seconds) > _WRONG_BY * self._seconds:
            log.info(
                "An iteration takes %.3g s, not %.3g: about %s are left.",
                seconds,
                self._seconds,
                in_words(seconds * (self._last - batch)),
            )
            self._seconds = seconds


def in_words(seconds: float) -> str:
    """Returns a duration as people say it.

    Example:
        >>> in_words(0.1), in_words(40), in_words(600), in_words(7200)
        ('a second', '40 seconds', '10 minutes', '2.0 hours')
    """
    if seconds < 1.5:
        return "a second"
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"
