"""JSON that may be damaged, and files of lines of it, read however they ended."""

import contextlib
import itertools
import json
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from dam_tf.base.files import atomic_file


def parse_json(text: str) -> Any:
    """Returns what JSON says; raises ValueError, too, where it is nested too deeply.

    Example:
        >>> parse_json("[" * 9999)
        Traceback (most recent call last):
        ValueError: it is nested too deeply
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def append_json(path: os.PathLike | str, line: Mapping[str, Any]) -> None:
    """Appends one line of JSON, in a single write.

    A line before it that a kill cut short is ended first, so that it harms no other.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b", buffering=0) as file:
        whole = True
        if file.tell():
            file.seek(-1, os.SEEK_END)
            whole = file.read(1) == b"\n"
        file.write(("" if whole else "\n").encode() + json.dumps(line).encode() + b"\n")


def write_json_lines(
    path: os.PathLike | str, lines: Iterable[Mapping[str, Any]]
) -> None:
    """Writes a whole file of JSON lines, in place of an old one, at once.

    Example:
        >>> import tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "results.jsonl"
        >>> write_json_lines(path, [{"accuracy": 0.5}])
        >>> read_json_lines(path)
        [{'accuracy': 0.5}]
    """
    with atomic_file(path) as temporary:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        temporary.write_text(text, encoding="utf-8")


def read_json_lines(path: os.PathLike | str) -> list[dict[str, Any]]:
    """Returns the objects of a .jsonl file, without any that a kill cut short."""
    lines = []
    if pathlib.Path(path).exists():
        for line in pathlib.Path(path).read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                if isinstance(found := parse_json(line), dict):
                    lines.append(found)
    return lines


def forget_after(path: os.PathLike | str, iteration: int) -> None:
    """Removes lines of metrics after `iteration`, which a resumed run repeats."""
    if pathlib.Path(path).exists():
        lines = read_json_lines(path)
        numbers = (line.get("iteration") for line in lines)
        known = (isinstance(n, int) and n <= iteration for n in numbers)
        write_json_lines(path, itertools.compress(lines, known))
