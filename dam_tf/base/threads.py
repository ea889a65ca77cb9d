"""Work that is done in several threads at once, such as one for each device."""

import collections
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
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


def in_order(
    work: Callable[[_Item], _Result],
    items: Iterable[_Item],
    threads: int,
    ahead: int,
) -> Iterator[_Result]:
    """Yields what `work` made of each item, in their order.

    Args:
        work: Called with an item, in one of the threads. After an error nothing more
            is begun, and it is raised in its turn.
        items: Taken as they are needed.
        threads: How many items are worked at together.
        ahead: How many items may be begun or done before the caller asks for them.

    Example:
        >>> list(in_order(len, ["a", "bcd"], threads=2, ahead=2))
        [1, 3]
    """
    pool = concurrent.futures.ThreadPoolExecutor(threads)
    try:
        begun: collections.deque[concurrent.futures.Future] = collections.deque()
        for item in items:
            begun.append(pool.submit(work, item))
            if len(begun) > ahead:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class Budget:
    """Something of which threads together may have so much at a time.

    Args:
        total: How much there is.

    Example:
        >>> memory = Budget(100)
        >>> with memory.share(70):
        ...     pass  # here others get at most 30
    """

    def __init__(self, total: int):
        self._total = self._left = total
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def share(self, amount: int) -> Iterator[None]:
        """Waits until `amount` is left, or all if it is more, and takes it."""
        amount = min(amount, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._left >= amount)
            self._left -= amount
        try:
            yield
        finally:
            with self._changed:
                self._left += amount
                self._changed.notify_all()
