"""Batches of images that are read ahead: what can be used goes through the network, errors keep their places."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import torch

from picscribe.errors import InputError, PicscribeError
from picscribe.media.images import in_memory
from picscribe.media.reading import read_ahead

PATIENCE = 8
"""A batch is computed before it is full where it takes more than so many times its size to find enough good images."""

Task = TypeVar("Task")
Result = TypeVar("Result")
Read = tuple[Task, torch.Tensor | PicscribeError]


class Batches(Generic[Task, Result]):
    """Runs `compute` over batches of tasks, each of which is about one image."""

    def __init__(
        self,
        read: Callable[[Any], torch.Tensor],
        compute: Callable[[torch.Tensor, Sequence[Task]], Sequence[Result | PicscribeError]],
        size: int,
    ) -> None:
        """`read` turns an image into pixels; `compute` gets those of one shape, stacked, and their tasks."""
        self.read, self.compute, self.size = read, compute, size

    def run(self, images: Iterable[tuple[object, Task]]) -> Iterator[Result | PicscribeError]:
        """A result for each image and its task, in order; the next images are read meanwhile.

        Images are drawn by the caller's thread; an error among them stands for an image that could not be got.
        """
        read = read_ahead(((_held(image), task) for image, task in images), self._read, ahead=self.size)
        with contextlib.closing(read):
            while batch := self._next(read):
                yield from self._results(batch)

    def _read(self, item: tuple[object, Task]) -> Read[Task]:
        image, task = item
        if isinstance(image, PicscribeError):
            raise image
        return task, self.read(image)

    def _next(self, read: Iterator[Read[Task] | PicscribeError]) -> list[Read[Task] | PicscribeError]:
        """Results up to the `size`th image's pixels, the errors among them included; [] at the end.

        Errors that no image goes before need not wait for one: each is a batch of its own.
        """
        batch: list[Read[Task] | PicscribeError] = []
        missing = self.size
        for result in read:
            batch.append(result)
            missing -= not isinstance(result, PicscribeError)
            if missing in (0, self.size) or len(batch) == PATIENCE * self.size:
                break
        return batch

    def _results(self, batch: Sequence[Read[Task] | PicscribeError]) -> Iterator[Result | PicscribeError]:
        """A result for each of a batch; errors stay in their places."""
        results: dict[int, Result | PicscribeError] = {}
        good: dict[int, torch.Tensor] = {}
        tasks: dict[int, Task] = {}
        for place, item in enumerate(batch):
            if isinstance(item, PicscribeError):
                results[place] = item
            else:
                tasks[place], pixels = item
                assert isinstance(pixels, torch.Tensor)
                good[place] = pixels
        for places in _equal_shapes(good):
            found = self._within_memory(torch.stack([good[p] for p in places]), [tasks[p] for p in places])
            results.update(zip(places, found, strict=True))
        for place in range(len(batch)):
            yield results[place]

    def _within_memory(self, pixels: torch.Tensor, tasks: Sequence[Task]) -> Sequence[Result | PicscribeError]:
        """What `compute` gives, in two halves where a GPU's memory does not hold the batch."""
        try:
            return self.compute(pixels, tasks)
        except torch.cuda.OutOfMemoryError:
            if len(tasks) == 1:
                error = InputError("one image is more than the GPU's memory holds: ask for fewer beams, or use dtype")
                return [error]
        torch.cuda.empty_cache()
        half = len(tasks) // 2
        parts = (slice(half), slice(half, None))
        return [result for part in parts for result in self._within_memory(pixels[part], tasks[part])]


def _held(image: object) -> object:
    """The image, without a stream behind it that a thread could wait for beyond Ctrl-C, or share with another."""
    if isinstance(image, torch.Tensor | PicscribeError):
        return image
    try:
        return in_memory(image)  # type: ignore[arg-type]
    except InputError as error:
        return error


def _equal_shapes(pixels: Mapping[int, torch.Tensor]) -> list[list[int]]:
    """The places of images that can go through the network together; one group unless aspects or frames differ."""
    groups: dict[torch.Size, list[int]] = {}
    for place, image in pixels.items():
        groups.setdefault(image.shape, []).append(place)
    return list(groups.values())


def fitting_batch_size(peak: Callable[[int], int], free: int, most: int = 256, share: float = 0.8) -> int:
    """How many images fit into `free` bytes, of which `share` may be used: at least 1, at most `most`.

    `peak(n)` runs a batch of n images and tells how many bytes it took at most; memory grows evenly with the images.
    """
    one, three = peak(1), peak(3)
    each = max(1, (three - one) // 2)
    room = int(share * free) - (one - each)
    return max(1, min(most, room // each))
