"""What the package says while it works: one logger, silent unless asked, and bars.

TensorFlow and Keras share absl's logger, so ours is Python's own, named
`dam_tf`. Tools show it on standard error with `show`; a program that uses the
package configures it like any other logger.
"""

import logging
import sys
from collections.abc import Iterable
from typing import Any

import tqdm

log = logging.getLogger("dam_tf")


def show() -> None:
    """Prints messages to standard error, one line each; warnings are marked."""
    handler = _Above(sys.stderr)
    handler.setFormatter(_Format())
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


def progress_bar(
    description: str, unit: str, items: Iterable | None = None, **options: Any
) -> tqdm.tqdm:
    """Returns the bar of long work; in a file it adds a line only now and then.

    A bar within another, such as a trial's within a study's, goes when it is done.

    Args:
        description: Stands before the bar.
        unit: What is counted.
        items: What is gone through; without it, `update` moves the bar.
        **options: More of tqdm's, such as `total` and `initial`.
    """
    return tqdm.tqdm(
        items,
        desc=description,
        unit=unit,
        dynamic_ncols=True,
        mininterval=0.1 if sys.stderr.isatty() else 30,
        **{"leave": None, **options},
    )


class _Above(logging.StreamHandler):
    """Writes above the bars that are shown, not into them."""

    def emit(self, record: logging.LogRecord) -> None:
        with tqdm.tqdm.external_write_mode(file=sys.stderr):
            super().emit(record)


class _Format(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        return text if record.levelno <= logging.INFO else f"Warning: {text}"
