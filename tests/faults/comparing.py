"""What a folder holds, in a form in which two that should be the same are the same.

Left out is what no run can repeat: times, and what tells when a file was written.
"""

import io
import json
import pathlib
import re
import tomllib
import zipfile
from collections.abc import Mapping

import numpy as np
from PIL import Image

from dam_tf.base.npz import names_in

# Times and paths are all that they hold beside what other files hold, too; or what a
# lock or TensorFlow writes.
_UNREPEATABLE = re.compile(
    r"(^|/)(cost\.jsonl|tensorboard/.*|.*\.lock|lock|table\.md|report\.html|"
    r"saved_model/(saved_model|fingerprint)\.pb)$"
)
_TIMES = re.compile(r"seconds|per_second|time|crc32")  # this of a line with times


def content_of(folder: pathlib.Path) -> dict[str, object]:
    """Returns what is in the files below a folder, by their relative paths.

    Of several checkpoints it is the newest, of several evaluations the last: an
    uninterrupted run need not have the others.
    """
    found: dict[str, object] = {}
    newest: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or _UNREPEATABLE.search(name) or _is_hidden(name):
            continue
        if path.parent.name == "checkpoints":
            found.pop(newest.get(str(path.parent), ""), None)
            newest[str(path.parent)] = name
        found[name] = _content(path, str(folder))
    return found


def _content(path: pathlib.Path, root: str) -> object:
    if path.is_symlink() and not path.exists():
        return "a broken link"
    data = path.read_bytes()
    if path.suffix == ".jsonl":
        lines = [_without_times(line) for line in lines_of(data)]
        return lines[-1:] if path.name == "evaluation.jsonl" else lines
    return data.replace(root.encode(), b"@")


def lines_of(data: bytes) -> list[object]:
    """Returns the lines of JSON that can be read."""
    lines = []
    for line in data.splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines


def _without_times(value: object) -> object:
    if isinstance(value, dict):
        return {k: _without_times(v) for k, v in value.items() if not _TIMES.search(k)}
    if isinstance(value, list):
        return [_without_times(item) for item in value]
    return value


def differences(found: Mapping[str, object], expected: Mapping[str, object]) -> str:
    """Returns how two contents differ, in words; empty where they do not."""
    parts = []
    for words, names in (
        ("missing", expected.keys() - found.keys()),
        ("too many", found.keys() - expected.keys()),
        ("other", {n for n in found.keys() & expected if found[n] != expected[n]}),
    ):
        if names:
            parts.append(f"{words}: {', '.join(sorted(names)[:4])}")
    return "; ".join(parts)


def leftovers(folder: pathlib.Path) -> list[str]:
    """Returns the temporary files and folders that writing has left below a folder."""
    names = (path.relative_to(folder) for path in sorted(folder.rglob(".*")))
    return [name.as_posix() for name in names]


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def unwhole(folder: pathlib.Path) -> list[str]:
    """Returns the files below a folder that are not whole.

    Hidden ones, which are still being written, may be anything. Of JSON lines, which
    are appended to, readers pass over any that a kill cut short.
    """
    broken = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not _is_hidden(name) and not _is_whole(path):
            broken.append(name)
    return broken


def _is_whole(path: pathlib.Path) -> bool:
    data = path.read_bytes()
    try:
        match path.suffix:
            case ".npz":
                with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                    return all(arrays[name] is not None for name in arrays)
            case ".json":
                json.loads(data)
            case ".toml":
                tomllib.loads(data.decode())
            case ".png" | ".gif":
                with Image.open(io.BytesIO(data)) as image:
                    image.load()
            case ".html":
                return data.rstrip().endswith(b"</html>")
    except (OSError, ValueError, SyntaxError, zipfile.BadZipFile):
        return False
    return True


def lost(folder: pathlib.Path, kept: Mapping[str, int]) -> str:
    """Returns what of the work that was `kept` is gone, in words; or nothing.

    The run that a buffer is distilled by goes once the buffer is there.
    """
    now = progress_of(folder)
    return ", ".join(
        f"{name} ({before} to {now.get(name, 0)})"
        for name, before in kept.items()
        if now.get(name, 0) < before
        and not (folder / f"{name.partition('.run/')[0]}.npz").exists()
    )


def progress_of(folder: pathlib.Path) -> dict[str, int]:
    """Returns how much work each part of a folder keeps: it may never become less."""
    found: dict[str, int] = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if _is_hidden(name):
            continue
        if path.parent.name == "checkpoints" and path.suffix == ".npz":
            number = int(re.sub(r"\D", "", path.stem) or 0)
            key = path.parent.relative_to(folder).as_posix()
            found[key] = max(found.get(key, 0), number)
        elif path.name == "trials.jsonl":
            found[name] = len(lines_of(path.read_bytes()))
        elif path.match("expert-*.npz"):
            found[name] = len(names_in(path, "an expert"))
        elif path.parent.name == "buffers" and path.suffix == ".npz":
            found[name] = 1
    return found
