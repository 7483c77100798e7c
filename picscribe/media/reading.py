"""Reading ahead: sources are opened and shaped in threads, in order, while what came before is computed."""

import functools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from picscribe.errors import PicscribeError

Source = TypeVar("Source")
Result = TypeVar("Result")

READERS = min(4, os.cpu_count() or 1)
"""Threads that read, unless told otherwise."""


@functools.cache
def _kept_readers() -> ThreadPoolExecutor:
    """READERS threads that serve whoever reads ahead, one batch after the other; started when they are first needed."""
    return ThreadPoolExecutor(READERS, thread_name_prefix="picscribe-shared-reading")


if hasattr(os, "register_at_fork"):
    # A forked process inherits the pool without its threads, and would wait for them for ever.
    os.register_at_fork(after_in_child=_kept_readers.cache_clear)


def read_ahead(
    sources: Iterable[Source], read: Callable[[Source], Result], ahead: int, workers: int | None = None
) -> Generator[Result | PicscribeError, None, None]:
    """`read(source)` of each source in order, or the PicscribeError that it raised, read by threads.

    `sources` are drawn by the caller's thread. At most `ahead` results wait to be taken beside those that are being
    read, so that endless sources need bounded memory. Whatever else `read` raises is raised here. Nothing is read any
    more when the iterator has ended, however it ends. `workers` threads are started for it alone, where given; by
    default it shares READERS threads with all others. `read` must not read ahead itself.
    """

    def attempt(source: Source) -> Result | PicscribeError:
        try:
            return read(source)
        except PicscribeError as error:
            return _without_frames(error)

    waiting: deque[Future[Result | PicscribeError]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="picscribe-reading") if workers else _kept_readers()
    try:
        for source in sources:
            waiting.append(pool.submit(attempt, source))
            if len(waiting) == ahead + (workers or READERS):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
        wait(waiting)
        if workers:
            pool.shutdown(wait=True)


def _without_frames(error: PicscribeError) -> PicscribeError:
    """The error without the frames it came through: they hold the photo's bytes for as long as the error is kept."""
    link: BaseException | None = error
    while link:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error
