"""How much memory this process may take, and one refusal for what would take more.

Whoever builds something large says here what it takes, before it is built.
"""

import contextlib
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence

from dam_tf.base.errors import UserError

PROCESS = 600_000_000  # bytes that Python with TensorFlow takes before it works

# An estimate is what is certainly taken; what is proposed should surely fit.
_SPARE = 2


def memory_bytes() -> int | None:
    """Returns the memory that this process may take; None where nothing tells.

    That is the machine's, or the limit of a control group (as of a container or a
    batch system) that this process is in, whichever is less.

    Example:
        >>> memory_bytes() > 1e6
        True
    """
    found = [*_group_limits()]
    with contextlib.suppress(AttributeError, ValueError, OSError):  # not all tell
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(found, default=None)


def check_memory(
    what: str,
    needed: Callable[[Mapping[str, int]], float],
    choices: Mapping[str, Sequence[int]],
    limit: int | None,
    otherwise: str = "give smaller images, or fewer at a time",
) -> None:
    """Raises a `UserError` where something takes more memory than there is.

    Args:
        what: Takes the memory, as "distilling images of 32x32".
        needed: Returns the bytes that it takes at least, of nothing or of one of
            `choices` and its value. Raises a `UserError` where it cannot be.
        choices: What the user can give to make it smaller: the values of a flag, from
            large to small.
        limit: Bytes that there are; None where that is not known.
        otherwise: What to do where none of the choices is small enough.

    Example:
        >>> def square(changed): return changed.get("--side", 100) ** 2
        >>> check_memory("a picture", square, {"--side": [50, 20]}, limit=1000)
        Traceback (most recent call last):
        dam_tf.base.errors.UserError: a picture takes about 10.0 kB of memory, and ...
    """
    takes = needed({})
    if limit is None or takes <= limit:
        return
    fitting = {}
    for name, values in choices.items():
        for value in values:
            try:
                if needed({name: value}) * _SPARE <= limit:
                    fitting[name] = value
                    break
            except UserError:  # there is no such thing of this size
                break
    fits = [f"{name} (at most {value} fits)" for name, value in fitting.items()]
    advice = f"give {' or '.join(fits)}" if fits else otherwise
    raise UserError(
        f"{what} takes about {size_text(takes)} of memory, and this machine has "
        f"{size_text(limit)}; {advice}"
    )


def size_text(count: float) -> str:
    """Returns a number of bytes in words.

    Example:
        >>> size_text(25_276_514_304), size_text(1500)
        ('25 GB', '1.5 kB')
    """
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    decimals = 1 if count < 20 and unit != "bytes" else 0
    return f"{count:,.{decimals}f} {unit}"


def _group_limits(
    groups: pathlib.Path = pathlib.Path("/proc/self/cgroup"),
    mounted: pathlib.Path = pathlib.Path("/sys/fs/cgroup"),
) -> Iterator[int]:
    """Yields the limits of the control groups that this process is in, on Linux."""
    for line in _text(groups).splitlines():
        _, kinds, path = line.split(":", 2)
        if kinds == "":
            root, name = mounted, "memory.max"
        elif "memory" in kinds.split(","):
            root, name = mounted / "memory", "memory.limit_in_bytes"
        else:
            continue
        # In a container the path may be the host's; the root is then the container's.
        inner = pathlib.PurePosixPath(path.lstrip("/"))
        for group in (inner, *inner.parents):
            if (limit := _text(root / group / name).strip()).isdecimal():
                yield int(limit)


def _text(path: pathlib.Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
