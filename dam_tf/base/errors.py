"""The one exception that is addressed to the user, and the words it is made of.

Tools print a `UserError` as a single line and exit with status 2; any other
exception is a programming error and keeps its traceback.
"""

import difflib
from collections.abc import Collection, Iterable


def printable(text: str) -> str:
    """Returns a text with codes in place of what is not UTF-8, as in file names.

    Example:
        >>> printable("café"), printable("caf\\udce9")
        ('café', 'caf\\\\udce9')
    """
    return text.encode(errors="backslashreplace").decode()


def listed(names: Iterable[str], most: int = 10) -> str:
    """Returns names for a message, the first of them if there are many.

    Example:
        >>> listed(["x", "y"]), listed([f"x{k}" for k in range(100)])[-24:]
        ('x, y', 'x8, x9, ... (100 in all)')
    """
    names = [printable(name) for name in names]
    more = [f"... ({len(names)} in all)"] if len(names) > most else []
    return ", ".join([*names[:most], *more])


class UserError(ValueError):
    """Something the user gave cannot be used.

    The message names the offending value, what would be accepted, and what to
    do, in one line. It can be printed: of file names that are not UTF-8, it has the
    codes.

    Example:
        >>> str(UserError("cannot read caf\\udce9.png"))
        'cannot read caf\\\\udce9.png'
    """

    def __init__(self, message: str):
        super().__init__(printable(message))


class DivergedError(UserError):
    """The loss of a run became infinite or not a number: its settings do not learn."""


def did_you_mean(value: str, choices: Iterable[str]) -> str:
    """Returns `" (did you mean 'x'?)"` for the nearest of `choices`, or `""`.

    Example:
        >>> did_you_mean("cifar1O", ["cifar10", "mnist"])
        " (did you mean 'cifar10'?)"
    """
    near = difflib.get_close_matches(str(value), list(choices), n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""


def choice_error(what: str, value: object, choices: Iterable[str]) -> UserError:
    """Returns the error for a `value` that is none of `choices`."""
    choices = list(choices)
    hint = did_you_mean(str(value), choices)
    return UserError(
        f"unknown {what} {value!r}{hint}; choose one of: {', '.join(choices)}"
    )


def check_each_once(what: str, values: Collection[object]) -> None:
    """Raises a `UserError` unless there are `values`, each of them once.

    Example:
        >>> check_each_once("seeds", [0, 1])
        >>> check_each_once("seeds", [0, 0])
        Traceback (most recent call last):
        dam_tf.base.errors.UserError: seeds must name one or more, each once, not 0,0
    """
    if not values or len(set(values)) < len(values):
        given = ",".join(map(str, values)) or "nothing"
        raise UserError(f"{what} must name one or more, each once, not {given}")


def check_text(what: str, text: str) -> None:
    """Raises a `UserError` if a text, such as a path, cannot be written as UTF-8.

    Example:
        >>> check_text("--output_dir", "cafés")
        >>> check_text("--output_dir", "caf\\udce9s")
        Traceback (most recent call last):
        dam_tf.base.errors.UserError: --output_dir is not UTF-8; rename the folder or \
file, since paths are kept in files of UTF-8
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{what} is not UTF-8; rename the folder or file, since paths are kept "
            "in files of UTF-8"
        ) from None


class WorkerLost(Exception):
    """Another process of the job has ended, so this one cannot go on."""
