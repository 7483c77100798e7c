"""Reading ahead: sources are opened and shaped in threads, in order, while what came before is computed."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from picscribe.errors import PicscribeError

Source = TypeVar("Source")
Result = TypeVar("Result")


def read_ahead(
    sources: Iterable[Source], read: Callable[[Source], Result], workers: int, ahead: int
) -> Generator[Result | PicscribeError, None, None]:
    """`read(source)` of each source in order, or the PicscribeError that it raised, read by `workers` threads.

    At most `ahead` results wait to be taken, so that endless sources need bounded memory; `sources` is drawn from in
    the caller's thread. Whatever else `read` raises is raised here. Threads end with the iterator, however it ends.
    """

    def attempt(source: Source) -> Result | PicscribeError:
        try:
            return read(source)
        except PicscribeError as error:
            return error

    waiting: deque[Future[Result | PicscribeError]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="picscribe-reading")
    try:
        for source in sources:
            waiting.append(pool.submit(attempt, source))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
