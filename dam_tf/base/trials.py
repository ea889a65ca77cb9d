"""Many trials, each kept once it is finished, so that a killed search resumes.

Applications that train one network after another (architecture search, continual
learning, ablations) run on this: a folder with the settings and a file of JSON
lines, one for each finished trial.
"""

import contextlib
import json
import os
import pathlib
import queue
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from dam_tf.base.errors import UserError
from dam_tf.base.files import atomic_file
from dam_tf.base.json_lines import append_json, read_json_lines
from dam_tf.base.messages import progress_bar
from dam_tf.config.schema import to_dict
from dam_tf.config.settings import Config

_NO_EFFECT = (
    "dataset.data_dir",
    "dataset.cache",
    "distillation.checkpoint_every",
    "distillation.log_every",
)


class Trials:
    """The finished trials of one study, in its folder.

    Args:
        folder: Made if missing; gets `settings.json` and `trials.jsonl`.
        settings: What all trials depend on, ready for JSON.
        resume: Continue the study that lies there; without it, one that lies
            there is refused.
        overwrite: Forget the finished trials of the study that lies there.

    Raises:
        UserError: another study lies there, or other files do.

    Example:
        >>> import tempfile
        >>> trials = Trials(tempfile.mkdtemp(), {"seed": 0})
        >>> trials.run(["a", "b"], lambda key: {"length": len(key)}, "Measuring")
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
        given = json.loads(json.dumps(settings))
        check_folder(self.folder, given, resume, overwrite)
        self.folder.mkdir(parents=True, exist_ok=True)
        if overwrite:
            self._file.unlink(missing_ok=True)
        with atomic_file(self.folder / "settings.json") as temporary:
            temporary.write_text(json.dumps(given, indent=2) + "\n")
        self._done = {
            _hashable(line["trial"]): line["result"]
            for line in read_json_lines(self._file)
            if "trial" in line and "result" in line
        }

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
        keys = list(keys)
        missing = [key for key in keys if key not in self]
        with progress_bar(description, "trial", total=len(keys)) as bar:
            bar.update(len(keys) - len(missing))
            for key, result in _run(missing, trial, workers):
                result = json.loads(json.dumps(result))
                append_json(self._file, {"trial": key, "result": result})
                self._done[_hashable(key)] = result
                bar.update(1)
        return [self._done[_hashable(key)] for key in keys]


def check_folder(
    folder: pathlib.Path, settings: Mapping[str, Any], resume: bool, overwrite: bool
) -> None:
    """Raises a `UserError` where a study of `settings` must not write to `folder`.

    It imports no TensorFlow, so a tool can ask before it does.
    """
    if resume and overwrite:
        raise UserError("choose one of --resume and --overwrite")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output folder {folder} is a file")
    if not folder.exists() or not any(folder.iterdir()):
        return
    stored = None
    with contextlib.suppress(OSError, ValueError):
        stored = json.loads((folder / "settings.json").read_text())
    if not isinstance(stored, dict):
        raise UserError(
            f"output folder {folder} holds files that are not of a study; choose "
            "another with --output_dir"
        )
    if overwrite:
        return
    if not resume:
        raise UserError(
            f"output folder {folder} holds another study; continue it with --resume, "
            "replace it with --overwrite, or choose another with --output_dir"
        )
    for name in sorted(stored.keys() | settings.keys()):
        if stored.get(name) != settings.get(name):
            raise UserError(
                f"cannot resume {folder} with {name} = {settings.get(name)!r}: the "
                f"study was started with {stored.get(name)!r}"
            )


def config_settings(config: Config, ignored: Iterable[str] = ()) -> dict[str, Any]:
    """Returns settings by dotted key, as `Trials` keeps and compares them.

    Those that change no result, such as where the data lie, are left out.

    Args:
        config: Of a study.
        ignored: More keys to leave out, such as those that differ between trials.

    Example:
        >>> from dam_tf.config.settings import Config
        >>> settings = config_settings(Config(), ["method.name"])
        >>> settings["distillation.ipc"], "method.name" in settings
        (1, False)
    """
    left_out = {*_NO_EFFECT, *ignored}
    found = {}
    for section, values in to_dict(config).items():
        if isinstance(values, dict):
            found |= {f"{section}.{key}": value for key, value in values.items()}
        else:
            found[section] = values
    return {key: value for key, value in found.items() if key not in left_out}


def _run(
    keys: Sequence[Any], trial: Callable, workers: Sequence[Callable]
) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """Yields each key with its result, in the order in which they are finished."""
    if len(workers) == 1:
        for key in keys:
            with workers[0]():
                result = trial(key)
            yield key, result
        return
    waiting, finished = queue.SimpleQueue(), queue.SimpleQueue()
    stop = threading.Event()
    for key in keys:
        waiting.put(key)

    def work(worker):
        with contextlib.suppress(queue.Empty):
            while not stop.is_set():
                key = waiting.get_nowait()
                try:
                    with worker():
                        finished.put((key, trial(key), None))
                except BaseException as error:
                    stop.set()
                    finished.put((key, None, error))
        finished.put(None)  # that worker has left

    threads = [threading.Thread(target=work, args=[worker]) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        errors, working = [], len(threads)
        while working:
            if (entry := finished.get()) is None:
                working -= 1
                continue
            key, result, error = entry
            if error is None:
                yield key, result
            else:
                errors.append(error)
        if errors:
            raise errors[0]
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _hashable(key: Any) -> Hashable:
    return json.dumps(key, sort_keys=True)
