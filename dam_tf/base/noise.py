"""Standard error without what TensorFlow always prints there, and nobody needs."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

_NOISE = (  # what TensorFlow prints of GPUs that are not there, and of oneDNN
    "Could not find cuda drivers",
    "oneDNN custom operations are on",
    "failed call to cuInit",
    "absl::InitializeLog()",
)


@contextlib.contextmanager
def without_noise() -> Iterator[None]:
    """Keeps such lines from standard error, also those that C++ writes."""
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)
            kept.seek(0)
            for line in kept.read().decode(errors="replace").splitlines():
                if not any(part in line for part in _NOISE):
                    print(line, file=sys.stderr)
