"""Contenders: each is a process of its own, and only the one that is asked computes.

They talk in lines of JSON over stdin and stdout, so that contenders of different
libraries take turns in one run and the peak memory of each is its own. Only the
standard library is used here, and what needs nothing else: PyTorch's processes import
it, too.
"""

import gc
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from dam_tf.base import machine

# The C library hands large blocks back to the system at once, so that each of PyTorch's
# maps costs page faults. Told to keep them, as TensorFlow's allocator does, it is
# faster.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}


class ContenderError(RuntimeError):
    """A contender ended before it answered; the text is its last words."""


class Contender:
    """The parent's end of a process that answers questions.

    Args:
        python: Its interpreter.
        script: A file that calls `serve`.
        settings: What it reads with `settings()`.
        environment: Variables besides this process's own.
        limit: Seconds after which the process is ended; none if left out.
    """

    def __init__(
        self,
        python: str,
        script: pathlib.Path,
        settings: Mapping[str, Any],
        environment: Mapping[str, str] | None = None,
        limit: float | None = None,
    ):
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, closed in close()
        self._process = subprocess.Popen(
            [python, os.fspath(script), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **(environment or {})},
            text=True,
        )
        self._limit, self._late = limit, False
        self._timer = threading.Timer(limit or 0, self._stop)
        if limit is not None:
            self._timer.start()

    def ask(self, question: str, **arguments: Any) -> dict[str, Any]:
        """Returns the answer of the handler `question`.

        Raises:
            ContenderError: the process ended instead.
        """
        try:
            self._process.stdin.write(json.dumps([question, arguments]) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise ContenderError(self._last_words())
        return json.loads(answer)

    def close(self) -> None:
        """Ends the process."""
        self._timer.cancel()
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _stop(self) -> None:
        self._late = True
        self._process.kill()

    def _last_words(self) -> str:
        status = self._process.wait()
        if self._late:
            return f"stopped after {self._limit:.0f} s, when its time was over"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        words = [line.strip() for line in lines if line.strip()]
        if status == -9:
            return "killed, probably for want of memory"
        return words[-1] if words else f"exit status {status}"


def settings() -> dict[str, Any]:
    """Returns what the parent gave this contender."""
    return json.loads(sys.argv[1])


def serve(**handlers: Callable[..., dict[str, Any]]) -> None:
    """Answers questions with `handlers`, by name, until the parent is gone."""
    questions = os.fdopen(os.dup(0), "r")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    for line in questions:
        question, arguments = json.loads(line)
        answers.write(json.dumps(handlers[question](**arguments)) + "\n")
        answers.flush()


class Memory:
    """Peak of this process's resident memory over what it holds at this moment.

    Made after imports and loading of data and before anything is built, so that
    code, data and nothing else are left out; what an allocator keeps for later
    (TensorFlow's BFC arena) counts.
    """

    def __init__(self):
        gc.collect()
        machine.forget_peak()
        self._base = _resident()

    def peak(self) -> int:
        """Returns the most bytes over the base so far, and starts to look anew."""
        peak = _peak()
        machine.forget_peak()
        return peak - self._base


def _peak() -> int:
    found = machine.process_bytes("VmHWM")
    if found is None:
        unit = 1 if sys.platform == "darwin" else 1024
        found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return found


def _resident() -> int:
    found = machine.process_bytes("VmRSS")
    return _peak() if found is None else found


class Namespace:
    """What a mapping holds, as attributes."""

    def __init__(self, values: Mapping[str, Any]):
        vars(self).update(values)


def fastest(call: Callable[[], Any], seconds: float) -> float:
    """Returns the least seconds that `call` took, of some calls.

    The first, which may compile, does not count; three do, and more until they have
    taken `seconds` together. One is enough where it takes a second.
    """
    call()
    times: list[float] = []
    while sum(times) < 1 and (len(times) < 3 or sum(times) < seconds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)
