"""Work that is done in several threads at once, such as one for each device."""

import concurrent.futures
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def side_by_side(
    work: Callable[[_Item], _Result],
    items: Sequence[_Item],
    threads: int,
    wait: bool = True,
) -> Iterator[tuple[int, _Result]]:
    """Yields the index of each item and what `work` made of it, the first done first.

    Args:
        work: Called with an item, in one of the threads.
        items: Begun in their order.
        threads: How many items are worked at together.
        wait: After an error, or where the caller stops asking, nothing more is begun.
            What is begun is waited for, and after an error is yielded before that is
            raised. Without `wait` the error is raised at once, while threads may
            still be at other items.

    Example:
        >>> sorted(side_by_side(len, ["a", "bcd"], threads=2))
        [(0, 1), (1, 3)]
    """
    stopped = threading.Event()

    def unless_stopped(item: _Item) -> _Result:
        if stopped.is_set():
            raise concurrent.futures.CancelledError
        try:
            return work(item)
        except BaseException:
            stopped.set()
            raise

    pool = concurrent.futures.ThreadPoolExecutor(threads)
    try:
        started = {
            pool.submit(unless_stopped, item): index for index, item in enumerate(items)
        }
        failed: BaseException | None = None
        for future in concurrent.futures.as_completed(started):
            error = future.exception()
            if error is None:
                yield started[future], future.result()
            elif not isinstance(error, concurrent.futures.CancelledError):
                failed = failed or error
                if not wait:
                    break
        if failed is not None:
            raise failed
    finally:
        stopped.set()
        pool.shutdown(wait, cancel_futures=True)
