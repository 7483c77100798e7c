"""The one loop of every job: tasks are read ahead in threads and computed in batches; results keep their places."""

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count

import torch

from picscribe.errors import Cancelled, InputError, PicscribeError
from picscribe.jobs import JobResult, Jobs, Prepared
from picscribe.media.frames import held
from picscribe.media.reading import read_ahead
from picscribe.tasks import Task

PATIENCE = 8
"""A batch is computed before it is full where it takes more than so many times its size to find enough good images."""

Finished = Callable[[int, JobResult], None]


class Batches:
    """Runs tasks of any kinds in batches of at most `size` images.

    cancelled: asked with a task's place before its image is read and before it is computed; where it says True the
    task's result is a `Cancelled` error. It is called from reading threads too.
    warns: whether a task's notes become warnings, each once.
    finished: told a task's place and result as soon as the result is known, which may be before its turn comes.
    """

    def __init__(
        self,
        jobs: Jobs,
        size: int,
        cancelled: Callable[[int], bool] | None = None,
        finished: Finished | None = None,
        warns: bool = False,
    ) -> None:
        self.jobs, self.size, self.warns = jobs, size, warns
        self.cancelled, self.finished = cancelled, finished

    def run(self, tasks: Iterable[Task[object]]) -> Iterator[JobResult]:
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
        return self.jobs.prepare(task, image)

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

    def _results(self, batch: dict[int, Prepared | PicscribeError]) -> Iterator[JobResult]:
        """A result for each of a batch, by place."""
        results: dict[int, JobResult] = {}
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

    def _settle(self, results: dict[int, JobResult], place: int, result: JobResult) -> None:
        results[place] = result
        if self.finished is not None:
            self.finished(place, result)

    def _within_memory(self, items: Sequence[Prepared]) -> list[JobResult]:
        """What the jobs give, in two halves where a GPU's memory does not hold the batch."""
        try:
            return self.jobs.compute(items)
        except torch.cuda.OutOfMemoryError:
            if len(items) == 1:
                return [InputError("one image does not fit into the GPU's memory: ask for fewer beams, or use dtype")]
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
