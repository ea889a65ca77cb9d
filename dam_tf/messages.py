"""What the package says while it works: one logger, silent unless asked.

TensorFlow and Keras share absl's logger, so ours is Python's own, named
`dam_tf`. Tools show it on standard error with `show`; a program that uses the
package configures it like any other logger.
"""

import logging
import sys

log = logging.getLogger("dam_tf")


def show() -> None:
    """Prints messages to standard error, one line each; warnings are marked."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Format())
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


class _Format(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        return text if record.levelno <= logging.INFO else f"Warning: {text}"
