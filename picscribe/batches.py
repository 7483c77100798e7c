"""The one loop of every job: tasks are drawn, read ahead in threads and computed in batches; results keep their places.

What is computed for a batch is in `inference`.
"""

import contextlib
import functools
import os
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import count
from typing import TypeVar

import torch

from picscribe.errors import Cancelled, InputError, PicscribeError
from picscribe.inference import Inference, Prepared, TaskResult
from picscribe.media.preprocessing import held
from picscribe.tasks import Task

PATIENCE = 8
"""A batch is computed before it is full where it takes more than so many times its size to find enough good images."""

Source = TypeVar("Source")
Result = TypeVar("Result")

READERS = min(4, os.cpu_count() or 1)
"""Threads that read, unless told otherwise."""

Finished = Callable[[int, TaskResult], None]


class Batches:
    """Runs tasks of any kinds in batches of at most `size` images.

    cancelled: asked with a task's place before its image is read and before it is computed; where it says True the
    task's result is a `Cancelled` error. It is called from reading threads too.
    warns: whether a task's notes become warnings, each once.
    finished: told a task's place and result as soon as the result is known, which may be before its turn comes.
    """

    def __init__(
        self,
        inference: Inference,
        size: int,
        cancelled: Callable[[int], bool] | None = None,
        finished: Finished | None = None,
        warns: bool = False,
    ) -> None:
        self.inference, self.size, self.warns = inference, size, warns
        self.cancelled, self.finished = cancelled, finished

    def run(self, tasks: Iterable[Task[object]]) -> Iterator[TaskResult]:
        """A result for each task, in order; the next images are read meanwhile.

        Tasks are drawn by the caller's thread.
        """
        drawn = ((place, task, _held(task.image)) for place, task in enumerate(tasks))
        read = read_ahead(drawn, self._prepare, ahead=self.size)
        first = count()
        with contextlib.closing(read):
            while batch := self._next(read):
                yield from self._results({place: item for item, place in zip(batch, first, strict=False)})

    def _prepare(self, drawn: tuple[int, Task[object], object]) -> Prepared:
        place, task, image = drawn
        self._check_wanted(place)
        return self.inference.prepare(task, image)

    def _check_wanted(self, place: int) -> None:
        if self.cancelled is not None and self.cancelled(place):
            raise Cancelled("this task was cancelled before it was computed")

    def _next(self, read: Iterator[Prepared | PicscribeError]) -> list[Prepared | PicscribeError]:
        """Tasks up to the `size`th one that is ready, the errors among them included; [] at the end.

        Errors that no image goes before need not wait for one: each is a batch of its own.
        """
        batch: list[Prepared | PicscribeError] = []
        missing = self.size
        for result in read:
            batch.append(result)
            missing -= not isinstance(result, PicscribeError)
            if missing in (0, self.size) or len(batch) == PATIENCE * self.size:
                break
        return batch

    def _results(self, batch: dict[int, Prepared | PicscribeError]) -> Iterator[TaskResult]:
        """A result for each of a batch, by place."""
        results: dict[int, TaskResult] = {}
        by_shape: dict[torch.Size, dict[int, Prepared]] = {}
        for place, item in batch.items():
            if isinstance(item, PicscribeError):
                self._settle(results, place, item)
            else:
                for note in item.notes if self.warns else ():
                    warnings.warn(note, stacklevel=2)
                by_shape.setdefault(item.pixels.shape, {})[place] = item
        for items in by_shape.values():
            for place in list(items):
                try:
                    self._check_wanted(place)
                except Cancelled as error:
                    del items[place]
                    self._settle(results, place, error)
            found = self._within_memory(list(items.values()))
            for place, result in zip(items, found, strict=True):
                self._settle(results, place, result)
        for place in batch:
            yield results[place]

    def _settle(self, results: dict[int, TaskResult], place: int, result: TaskResult) -> None:
        results[place] = result
        if self.finished is not None:
            self.finished(place, result)

    def _within_memory(self, items: Sequence[Prepared]) -> list[TaskResult]:
        """Their results, in two halves where a GPU's memory does not hold the batch."""
        try:
            return self.inference.compute(items)
        except torch.cuda.OutOfMemoryError:
            if len(items) == 1:
                return [InputError("one image does not fit into the GPU's memory: lower beams, or use dtype bfloat16")]
        torch.cuda.empty_cache()
        half = len(items) // 2
        return [result for part in (items[:half], items[half:]) for result in self._within_memory(part)]


def _held(image: object) -> object:
    """The image, without a stream behind it that a thread could wait for beyond Ctrl-C, or share with another."""
    if isinstance(image, torch.Tensor | PicscribeError):
        return image
    try:
        return held(image)
    except InputError as error:
        return error


# Reading ahead


@functools.cache
def _kept_readers() -> ThreadPoolExecutor:
    """READERS threads that serve all reading ahead, batch by batch; started when they are first needed."""
    return ThreadPoolExecutor(READERS, thread_name_prefix="picscribe-shared-reading")


if hasattr(os, "register_at_fork"):
    # A forked process inherits the pool without its threads, and would wait for them for ever.
    os.register_at_fork(after_in_child=_kept_readers.cache_clear)


def read_ahead(
    sources: Iterable[Source], read: Callable[[Source], Result], ahead: int, workers: int | None = None
) -> Generator[Result | PicscribeError, None, None]:
    """`read(source)` of each source in order, or the PicscribeError that it raised, read by threads.

    `sources` are drawn by the caller's thread. At most `ahead` results wait to be taken, besides those that are being
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
