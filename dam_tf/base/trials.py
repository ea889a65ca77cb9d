"""Many trials, each kept once it is finished, so that a killed study resumes.

What trains one network after another (pretraining, architecture search, continual
learning, ablations) runs on this: a folder with the settings and a file of JSON
lines, one for each finished trial.
"""

import contextlib
import json
import os
import pathlib
import queue
import zlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from dam_tf.base.files import atomic_file
from dam_tf.base.json_lines import append_json, parse_json, read_json_lines
from dam_tf.base.lock import held
from dam_tf.base.messages import log, progress_bar
from dam_tf.base.output import check_output, check_same
from dam_tf.base.threads import side_by_side

_CHECKSUM = "crc32"  # of a trial and its result, in a line of trials.jsonl
DATA = "data"  # what `settings.json` calls the identity of the study's data


class Trials:
    """The finished trials of one study, in its folder.

    Making it reads and checks the folder and changes nothing there: a study makes it
    first, checks all else, and then begins. As a context it holds the folder's lock, so
    that no other process writes there meanwhile.

    Args:
        folder: Gets `settings.json` and `trials.jsonl`.
        settings: What all trials depend on, ready for JSON.
        resume: Continue the study that lies there; without it, one that lies
            there is refused.
        overwrite: Forget the finished trials of the study that lies there.

    Raises:
        UserError: another study lies there, or other files do, or another process
            writes there.

    Attributes:
        folder: As given.
        stored: What `settings.json` says of the study that is resumed; nothing of one
            that begins.

    Example:
        >>> import tempfile
        >>> with Trials(tempfile.mkdtemp(), {"seed": 0}) as trials:
        ...     trials.run(["a", "b"], lambda key: {"length": len(key)}, "Measuring")
        [{'length': 1}, {'length': 1}]
    """

    def __init__(
        self,
        folder: os.PathLike | str,
        settings: Mapping[str, Any],
        resume: bool = False,
        overwrite: bool = False,
    ):
        self.folder = pathlib.Path(folder)
        self._file = self.folder / "trials.jsonl"
        self._settings = dict(settings)
        self._resume, self._overwrite = resume, overwrite
        self._held = contextlib.ExitStack()
        self._read()

    def _read(self) -> None:
        holds = check_folder(self.folder, self._settings, self._resume, self._overwrite)
        resumed = holds and not self._overwrite
        self.stored = (settings_in(self.folder) or {}) if resumed else {}
        self._done, self._damaged = {}, 0
        for line in read_json_lines(self._file) if resumed else ():
            key, result = line.get("trial"), line.get("result")
            # Lines of dam_tf 0.1 have no checksum.
            if isinstance(result, dict) and _crc32(key, result) == line.get(
                _CHECKSUM, _crc32(key, result)
            ):
                self._done[_hashable(key)] = result
            else:
                self._damaged += 1

    def __enter__(self) -> "Trials":
        """Takes the lock, and looks again at what lies there."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(held(self.folder))
            self._read()
            self._held = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def remember(self, name: str, value: Any) -> None:
        """Adds what is known of the study now to what `settings.json` will say."""
        self._settings[name] = value

    def begin(self) -> None:
        """Makes the folder, and forgets what is to be overwritten; `run` calls it."""
        if self._overwrite:
            self._file.unlink(missing_ok=True)
            self._overwrite = False
        if self._damaged:
            log.warning(
                "%d lines of %s are damaged; trials that lack theirs are done again.",
                self._damaged,
                self._file,
            )
            self._damaged = 0
        with atomic_file(self.folder / "settings.json") as temporary:
            temporary.write_text(f"{json.dumps(self._settings, indent=2)}\n")

    def __contains__(self, key: Any) -> bool:
        """Whether the trial `key` is finished."""
        return _hashable(key) in self._done

    def run(
        self,
        keys: Iterable[Any],
        trial: Callable[[Any], Mapping[str, Any]],
        description: str,
        workers: Sequence[Callable[[], AbstractContextManager]] = (
            contextlib.nullcontext,
        ),
    ) -> list[dict[str, Any]]:
        """Runs the trials that are not finished, and returns the results of all.

        Args:
            keys: What names a trial: ready for JSON, such as a text or a list.
            trial: Called with a key; returns what is kept, ready for JSON.
            description: For the progress bar.
            workers: Each makes a context, such as a device, in which one trial at a
                time runs; where there are several, each has a thread.
        """
        self.begin()
        keys = list(keys)
        missing = [key for key in keys if key not in self]
        with progress_bar(description, "trial", total=len(keys)) as bar:
            bar.update(len(keys) - len(missing))
            for key, result in _run(missing, trial, workers):
                result = json.loads(json.dumps(result))
                line = {"trial": key, "result": result}
                append_json(self._file, line | {_CHECKSUM: _crc32(key, result)})
                self._done[_hashable(key)] = result
                bar.update(1)
        return [self._done[_hashable(key)] for key in keys]


def check_folder(
    folder: pathlib.Path,
    settings: Mapping[str, Any] | None,
    resume: bool,
    overwrite: bool,
) -> bool:
    """Raises a `UserError` where a study of `settings` must not write to `folder`.

    It imports no TensorFlow, so a command can ask before it does. Where `settings` are
    not known yet, it is not checked whether a study that is resumed has the same.

    Returns:
        Whether a study lies there.
    """
    stored = settings_in(folder)
    holds = check_output(
        folder, "a study", lambda: stored is not None, resume, overwrite
    )
    if holds and resume and settings is not None:
        given = json.loads(json.dumps(settings))
        # What only the data say is compared once these are read.
        known = {name: stored[name] for name in stored if name != DATA or name in given}
        check_same(folder, "the study", known, given)
    return holds


def settings_in(folder: pathlib.Path) -> dict[str, Any] | None:
    """Returns what lies in `settings.json`, or None where it is no study's."""
    with contextlib.suppress(OSError, ValueError):
        found = parse_json((folder / "settings.json").read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else None
    return None


def _run(
    keys: Sequence[Any], trial: Callable, workers: Sequence[Callable]
) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """Yields each key with its result, in the order in which they are finished."""
    if len(workers) == 1:  # in this thread, which alone hears of signals
        for key in keys:
            with workers[0]():
                result = trial(key)
            yield key, result
        return
    free = queue.SimpleQueue()
    for worker in workers:
        free.put(worker)

    def work(key: Any) -> Mapping[str, Any]:
        worker = free.get()
        try:
            with worker():
                return trial(key)
        finally:
            free.put(worker)

    for index, result in side_by_side(work, keys, len(workers)):
        yield keys[index], result


def _crc32(key: Any, result: Any) -> int:
    return zlib.crc32(_hashable([key, result]).encode())


def _hashable(key: Any) -> Hashable:
    return json.dumps(key, sort_keys=True)
