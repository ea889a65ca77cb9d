"""What the package says while it works: one logger, silent unless asked, and bars.

TensorFlow and Keras share absl's logger, so ours is Python's own, named
`dam_tf`. Tools show it on standard error with `show`; a program that uses the
package configures it like any other logger.
"""

import functools
import logging
import sys
import warnings
from collections.abc import Callable, Iterable
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


@functools.cache
def say_once(text: str) -> None:
    """Says what holds for all runs of a study at the first of them."""
    log.info("%s", text)


def print_above(text: str) -> None:
    """Prints a line to standard error, above the bars that are shown."""
    with tqdm.tqdm.external_write_mode(file=sys.stderr):
        print(text, file=sys.stderr)


def progress_bar(
    description: str, unit: str, items: Iterable | None = None, **options: Any
) -> tqdm.tqdm:
    """Returns the bar of long work; in a file it adds a line only now and then.

    In a notebook it is one of the notebook's own, where ipywidgets is installed.

    A bar within another, such as a trial's within a study's, goes when it is done.

    Args:
        description: Stands before the bar.
        unit: What is counted.
        items: What is gone through; without it, `update` moves the bar.
        **options: More of tqdm's, such as `total` and `initial`.
    """
    kind = _kind_of_bar()
    of_notebook = kind is not tqdm.asyncio.tqdm_asyncio
    bar = kind(
        items,
        desc=description,
        unit=unit,
        dynamic_ncols=True,
        mininterval=0.1 if of_notebook or sys.stderr.isatty() else 30,
        **{"leave": None, **options},
    )
    if of_notebook and bar.leave is None:  # which tqdm's own leaves undecided
        bar.leave = bar.pos == 0
    if bar.delay:
        bar.refresh = functools.partial(_refresh_if_due, bar, bar.refresh)
    return bar


def _refresh_if_due(bar: tqdm.tqdm, refresh: Callable, **options: Any) -> None:
    # Else a message would draw a bar that waits for its delay, and that stays then.
    if bar.format_dict["elapsed"] >= bar.delay:
        refresh(**options)


@functools.cache
def _kind_of_bar() -> type[tqdm.tqdm]:
    """Returns tqdm's class for a terminal, a file or a notebook."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a notebook has no ipywidgets
        from tqdm.auto import tqdm as kind
    return kind


class _Above(logging.StreamHandler):
    """Writes above the bars that are shown, not into them."""

    def emit(self, record: logging.LogRecord) -> None:
        with tqdm.tqdm.external_write_mode(file=sys.stderr):
            super().emit(record)


class _Format(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        return text if record.levelno <= logging.INFO else f"Warning: {text}"
