"""Reading ahead: sources are opened and shaped in threads, in order, while what came before is computed."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from picscribe.errors import PicscribeError

Source = TypeVar("Source")
Result = TypeVar("Result")

READERS = min(4, os.cpu_count() or 1)
"""Threads that read, unless told otherwise."""


def read_ahead(
    sources: Iterable[Source], read: Callable[[Source], Result], ahead: int, workers: int = READERS
) -> Generator[Result | PicscribeError, None, None]:
    """`read(source)` of each source in order, or the PicscribeError that it raised, read by `workers` threads.

    `sources` are drawn by the caller's thread. At most `ahead` results wait to be taken beside the `workers` that are
    being read, so that endless sources need bounded memory. Whatever else `read` raises is raised here. Threads end
    with the iterator, however it ends.
    """

    def attempt(source: Source) -> Result | PicscribeError:
        try:
            return read(source)
        except PicscribeError as error:
            return _without_frames(error)

    waiting: deque[Future[Result | PicscribeError]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="picscribe-reading")
    try:
        for source in sources:
            waiting.append(pool.submit(attempt, source))
            if len(waiting) == ahead + workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _without_frames(error: PicscribeError) -> PicscribeError:
    """The error without the frames it came through: they hold the photo's bytes for as long as the error is kept."""
    link: BaseException | None = error
    while link:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error
