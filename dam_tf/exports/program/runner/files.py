"""What is said, read and written: lines, arrays, the program, the output folder."""

import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import sys
import time
from collections.abc import Callable, Collection
from typing import Any, BinaryIO

import numpy as np

FORMAT, VERSION = "dam_tf program", 1
# What manifest.json says beside the functions and files, and in its part "data".
_SAYS = {
    str: ("method", "target", "formation"),
    int: ("ipc", "iterations", "iterations_per_call", "epochs"),
    list: ("labels", "losses", "state"),
    dict: ("data", "settings", "functions", "files"),
}
_SAYS_OF_DATA = {
    str: ("name",),
    int: ("test_count", "train_crc32", "test_crc32"),
    list: ("class_names", "image_shape", "train_counts"),
}
WRITTEN = {"distilled.npz", "results.json", "losses.csv", "checkpoints"}


class Refused(Exception):
    """What a user gave cannot be used; its one line says why, and what to do."""


class Bar:
    """A line on standard error: what is done, how fast, and how long the rest takes.

    In a terminal the line is written over; elsewhere there is one every 30 seconds.
    """

    def __init__(self, what: str, done: int, total: int):
        self.what, self.first, self.total = what, done, total
        self.terminal, self.start = sys.stderr.isatty(), time.monotonic()
        self.shown = self.start

    def show(self, done: int, text: str = "") -> None:
        """Says that `done` of all are done, and `text`, unless it has just done so."""
        now, ended = time.monotonic(), done >= self.total
        if now - self.shown < (0.1 if self.terminal else 30) and not ended:
            return
        self.shown, rate = now, (done - self.first) / max(now - self.start, 1e-9)
        left = datetime.timedelta(seconds=round((self.total - done) / max(rate, 1e-9)))
        line = f"{self.what} {done:,}/{self.total:,}, {rate:.3g}/s, {left} left{text}"
        if self.terminal:
            width = shutil.get_terminal_size().columns - 1
            line = "\r" + line[:width].ljust(width)
        end = "" if self.terminal and not ended else "\n"
        print(line, end=end, file=sys.stderr, flush=True)


def say(text: str) -> None:
    """Prints a line at once."""
    print(text, flush=True)


def reason(error: BaseException) -> str:
    """Returns the first line of what an error says."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.strip().splitlines()[0]


def read_npz(
    path: pathlib.Path, names: Collection[str] | None = None
) -> dict[str, np.ndarray]:
    """Returns the arrays of an npz file by name: all, or those of `names` it has."""
    try:
        with open(path, "rb") as stream:
            file = np.load(stream, allow_pickle=False)
            held = [name for name in file.files if names is None or name in names]
            return {name: file[name] for name in held}
    except Exception as error:  # of many types, for damaged files
        text = reason(error)
        if "pickle" in text or isinstance(error, AttributeError):
            text = "it is no npz file"
        raise Refused(f"cannot read {path}: {text}") from None


def write(path: pathlib.Path, save: Callable[[BinaryIO], Any]) -> None:
    """Lets `save` write a file that then replaces `path`, whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            save(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink()
        if not isinstance(error, OSError):
            raise
        raise Refused(
            f"cannot write {path}: {reason(error)}; what was written before is whole"
        ) from None


class Program:
    """A program as its manifest says, and its constants; every file is checked.

    Args:
        folder: Holds manifest.json.

    Attributes:
        takes: By function: the shape and type of each argument by name, in order.
        gives: The same of its results.
        state: The shape and type by name of what changes from iteration to iteration.
        digest: Tells this program from others.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder, path = folder, folder / "manifest.json"
        try:
            self.about = about = json.loads(path.read_text("utf-8"))
            if about["format"] != FORMAT or about["version"] != VERSION:
                raise ValueError(
                    f"it is of {about['format']!r}, version {about['version']}, and "
                    f"this run_program.py runs {FORMAT!r}, version {VERSION}"
                )
            _check_types(about, _SAYS)
            _check_types(about["data"], _SAYS_OF_DATA)
            self.data, self.settings = about["data"], about["settings"]
            self.shape = tuple(self.data["image_shape"])
            self.classes = tuple(self.data["class_names"])
            self.files = {k: one["file"] for k, one in about["functions"].items()}
            self.takes, self.gives = (
                {
                    name: {x["name"]: (tuple(x["shape"]), x["dtype"]) for x in one[way]}
                    for name, one in about["functions"].items()
                }
                for way in ("arguments", "results")
            )
            self.state = {name: self.gives["init"][name] for name in about["state"]}
            for name, expected in about["files"].items():
                path = folder / name
                found = hashlib.sha256(path.read_bytes()).hexdigest()
                if found != expected:
                    raise ValueError(
                        f"it is not what was compiled: its sha256 is {found[:8]}..., "
                        f"not {expected[:8]}..."
                    )
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            text = f"it lacks {error}" if isinstance(error, KeyError) else reason(error)
            text = f"{text}; copy the whole folder that dam_tf wrote"
            raise Refused(f"cannot use {path}: {text}") from None
        lines = [f"{name} {one}\n" for name, one in sorted(about["files"].items())]
        self.digest = hashlib.sha256("".join(lines).encode()).hexdigest()
        self.constants = read_npz(folder / "constants.npz")


def _check_types(values: dict, says: dict[type, tuple[str, ...]]) -> None:
    for kind, names in says.items():
        for name in names:
            if not isinstance(values[name], kind):
                raise ValueError(f"its {name} is {values[name]!r}, no {kind.__name__}")


def check_folder(folder: pathlib.Path, resume: bool, overwrite: bool) -> int:
    """Refuses a folder that holds something else; returns its lock, a descriptor."""
    other = "choose another with --output_dir"
    if resume and overwrite:
        raise Refused("choose one of --resume and --overwrite")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = {x.name for x in folder.iterdir() if x.name[0] != "."}
        if held - WRITTEN:
            text = f"{folder} holds {min(held - WRITTEN)}, which is no run's"
            raise Refused(f"{text}; {other}")
        if held and not (resume or overwrite):
            text = "continue it with --resume, replace it with --overwrite"
            raise Refused(f"{folder} holds another run; {text}, or {other}")
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise Refused(f"cannot write into {folder}: {reason(error)}; {other}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise Refused(f"another process writes into {folder}; {other}") from None
    return lock
