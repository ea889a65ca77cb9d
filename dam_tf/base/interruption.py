"""Ctrl-C and SIGTERM as a wish to stop soon, with nothing lost."""

import contextlib
import signal
import threading
from collections.abc import Iterator


class Interrupted(Exception):
    """A run stopped because it was asked to, after saving its state.

    Attributes:
        signal_number: Of the signal that asked.
    """

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.signal_number = signal_number


class StopRequest:
    """Whether a stop was asked for, and by which signal."""

    def __init__(self) -> None:
        self.signal_number: int | None = None

    def __bool__(self) -> bool:
        return self.signal_number is not None


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Yields a `StopRequest` that the first Ctrl-C or SIGTERM sets.

    A second one acts as if this context were not there. Outside the main thread,
    where Python takes no signals, nothing is changed.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    previous = {}

    def ask(number, frame):
        request.signal_number = number
        for one, handler in previous.items():
            signal.signal(one, handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, ask)
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
