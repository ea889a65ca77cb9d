"""May a command write into this folder? The one answer for runs, studies and exports.

Nothing is written or deleted before all else is checked, and what took hours to find is
printed before it is written.
"""

import os
import pathlib
import tempfile
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dam_tf.base.errors import UserError
from dam_tf.base.files import is_leftover
from dam_tf.base.lock import LOCK, check_free

# The beginnings of data sets' names that say no more than where these lie.
_PLACES = ("folder:", "npz:", "arrays:")


def check_output(
    folder: pathlib.Path,
    kind: str,
    is_one: Callable[[], bool],
    resume: bool | None,
    overwrite: bool,
    flag: str = "--output_dir",
) -> bool:
    """Raises a `UserError` where a new run, study or export must not use `folder`.

    Args:
        folder: It may be missing.
        kind: What is to be written, with its article: `"a run"`.
        is_one: Whether what lies in `folder` is of that kind. It is asked only where
            something lies there.
        resume: Whether what lies there is continued; None where that is impossible.
        overwrite: Whether what lies there is replaced.
        flag: The flag that names the folder, for the message.

    Returns:
        Whether one of that kind lies there already.

    Example:
        >>> import tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> check_output(folder, "a run", lambda: False, resume=None, overwrite=False)
        False
        >>> _ = (folder / "config.toml").write_text("")
        >>> check_output(folder, "a run", lambda: True, resume=None, overwrite=True)
        True
    """
    if resume and overwrite:
        raise UserError("choose one of --resume and --overwrite")
    check_no_file(folder, flag)
    check_free(folder, flag)
    if not folder.is_dir() or all(map(_is_leftover, folder.iterdir())):
        return False
    if not is_one():
        raise UserError(
            f"output folder {folder} holds files that are not of {kind}; choose "
            f"another with {flag}"
        )
    if not resume and not overwrite:
        _, _, name = kind.partition(" ")
        go_on = "" if resume is None else "continue it with --resume, "
        raise UserError(
            f"output folder {folder} holds another {name}; {go_on}replace it with "
            f"--overwrite, or choose another with {flag}"
        )
    return True


def check_no_file(folder: pathlib.Path, flag: str = "--output_dir") -> None:
    """Raises a `UserError` where `folder` cannot be one, since a file is there.

    Args:
        folder: It may be missing.
        flag: The flag that names the folder, for the message.
    """
    for path in (folder, *folder.parents):
        if path.is_dir():
            return
        if path.exists() or path.is_symlink():
            raise UserError(
                f"output folder {path} is a file; choose another with {flag}"
            )


def unwritable(file: pathlib.Path) -> str:
    """Returns why a file cannot be written, or appended to, now; nothing if it can.

    Nothing is left there. A folder may be read-only, its disk may be full.

    Example:
        >>> unwritable(pathlib.Path("/proc/results.jsonl")) != ""
        True
    """
    try:
        if file.exists():
            open(file, "ab").close()
        folder = next(path for path in file.absolute().parents if path.exists())
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(4096))
    except OSError as error:
        return error.strerror or str(error)
    return ""


def write_results(
    outputs: Iterable[tuple[os.PathLike | str, Callable[[], Any]]],
) -> None:
    """Writes each of several files that keep a result, which has been printed.

    Args:
        outputs: Files, each with what writes it; one that fails stops no other.

    Raises:
        UserError: some could not be written.
    """
    failed = []
    for path, write in outputs:
        try:
            write()
        except OSError as error:
            failed.append(f"{path} ({error.strerror or error})")
    if failed:
        raise UserError(
            f"the result above is not kept in {', '.join(failed)}; make space, or make "
            "it writable, and start again"
        )


def check_same(
    folder: pathlib.Path, kind: str, stored: Mapping[str, Any], given: Mapping[str, Any]
) -> None:
    """Raises a `UserError` where what lies in `folder` had other settings than now.

    Args:
        folder: Named in the message.
        kind: What lies there: `"the run"`.
        stored: The settings that matter, as it was started with; ready for JSON.
        given: The same, as they are given now. A missing one counts as None. Images in
            files may have moved: what they are is compared once they are read.

    Example:
        >>> check_same(pathlib.Path("a"), "the run", {"seed": 0}, {"seed": 1})
        Traceback (most recent call last):
        dam_tf.base.errors.UserError: cannot resume a with seed = 1: the run was ...
    """
    for name in sorted(stored.keys() | given.keys()):
        now, before = given.get(name), stored.get(name)
        if now != before and not _moved(name, now, before):
            given_now = f"without {name}" if now is None else f"with {name} = {now!r}"
            then = "without" if before is None else f"with {before!r}"
            raise UserError(
                f"cannot resume {folder} {given_now}: {kind} was started {then}"
            )


def _is_leftover(path: pathlib.Path) -> bool:
    """Whether it is what a kill leaves where nothing else was written yet."""
    return path.name == LOCK or is_leftover(path.name)


def _moved(name: str, *values: Any) -> bool:
    return name == "dataset.name" and all(
        isinstance(value, str) and value.startswith(_PLACES) for value in values
    )
