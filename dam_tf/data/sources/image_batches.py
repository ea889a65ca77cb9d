"""Image files in, uint8 batches out: headers first, then one pass of decoding threads.

Every damaged file of a data set is found before one error names them.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dam_tf.base.errors import UserError
from dam_tf.base.machine import usable_cores
from dam_tf.base.threads import in_order
from dam_tf.data.source import CHUNK, progress
from dam_tf.data.sources.decoding import check, decode
from dam_tf.data.sources.image_files import Shape, Unreadable, read_header, reading

_CHUNK_BYTES = 64 << 20  # of images; more than CHUNK images are never in one
_TOGETHER = 16  # files that a thread takes at a time
_NAMED = 10  # files that an error names


class Headers(NamedTuple):
    """`image_files.Header` of many files.

    Attributes:
        shapes: int32 [n, 3].
        more: bool [n].
        deep: bool [n].
    """

    shapes: np.ndarray
    more: np.ndarray
    deep: np.ndarray


def read_headers(files: Sequence[str]) -> Headers:
    """Reads the header of each file; pixels are not decoded.

    Raises:
        UserError: some files cannot be read, or are no images; all of them are named.
    """
    shapes = np.zeros([len(files), 3], np.int32)
    more, deep = np.zeros([2, len(files)], bool)
    damaged: dict[str, str] = {}
    done = 0
    with progress(len(files), "looking at images") as bar:
        for headers, of_them in _in_chunks(files, read_header, CHUNK):
            for row, header in enumerate(headers, start=done):
                shapes[row], more[row], deep[row] = header or ((0, 0, 0), False, False)
            done += len(headers)
            damaged |= of_them
            bar.update(len(headers))
    if damaged:
        raise _all_damaged(damaged, [file for file in files if file not in damaged])
    return Headers(shapes, more, deep)


def read_images(
    files: Sequence[str], shape: Shape, others: Sequence[str] = ()
) -> Iterator[tuple[np.ndarray, int]]:
    """Decodes all images in order; see `decoding.decode`.

    Args:
        files: Their paths.
        shape: Height, width and channels of all.
        others: Files that are read later. If one of `files` is damaged, they are
            looked through as well.

    Yields:
        uint8 [at most CHUNK, height, width, channels], and of how many white shows
        through.

    Raises:
        UserError: some files are damaged; all of them are named.
    """
    chunk = max(1, min(CHUNK, _CHUNK_BYTES // math.prod(shape)))
    done = 0
    work = functools.partial(decode, shape=shape)
    for results, damaged in _in_chunks(files, work, chunk):
        done += len(results)
        if damaged:
            raise _all_damaged(damaged, [*files[done:], *others])
        images, transparent = zip(*results, strict=True)
        yield np.stack(images), sum(transparent)


def _in_chunks(
    files: Sequence[str], work: Callable[[str], Any], chunk: int
) -> Iterator[tuple[list[Any], dict[str, str]]]:
    """Does `work` with each file, `chunk` at a time, in as many threads as cores.

    Yields:
        What it made of each, None where it failed; and why it failed, by the file.
    """

    def attempt(file: str) -> tuple[Any, str]:
        try:
            return work(file), ""
        except Unreadable as error:
            return None, str(error)

    def of_group(group: Sequence[str]) -> list[tuple[str, Any, str]]:
        return [(file, *attempt(file)) for file in group]

    step, threads = math.gcd(chunk, _TOGETHER), usable_cores()
    groups = (files[start : start + step] for start in range(0, len(files), step))
    ahead = max(2 * chunk // step, threads)
    with reading():
        parts = in_order(of_group, groups, threads, ahead)
        while part := list(itertools.islice(parts, chunk // step)):
            done = list(itertools.chain.from_iterable(part))
            damaged = {file: reason for file, _, reason in done if reason}
            yield [result for _, result, _ in done], damaged


def _all_damaged(damaged: Mapping[str, str], rest: Sequence[str]) -> UserError:
    """Returns the error that names damaged files, those among `rest` too.

    Args:
        damaged: Why each that is known cannot be read.
        rest: Files that may be damaged.
    """
    damaged = dict(damaged)
    with progress(len(rest), "looking for more damaged images") as bar:
        for results, of_them in _in_chunks(rest, check, CHUNK):
            damaged |= of_them
            bar.update(len(results))
    by_reason: dict[str, list[str]] = {}
    for file, reason in list(damaged.items())[:_NAMED]:
        by_reason.setdefault(reason, []).append(file)
    named = "; ".join(
        f"{', '.join(files)}: {reason}" for reason, files in by_reason.items()
    )
    if len(damaged) == 1:
        return UserError(f"cannot read image {named}; replace or remove it")
    more = f"; and {len(damaged) - _NAMED} more" if len(damaged) > _NAMED else ""
    return UserError(
        f"cannot read {len(damaged)} images: {named}{more}; replace or remove them"
    )
