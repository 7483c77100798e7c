"""What a step learns from, read: which images, in which views and size, with which of their texts."""

import random
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from picscribe.checkpoints import Checkpoint
from picscribe.errors import PicscribeError
from picscribe.media.images import open_image
from picscribe.media.preprocessing import stacked
from picscribe.media.reading import READERS, read_ahead
from picscribe.media.video import read_frames
from picscribe.text.prompts import TrainingExample
from picscribe.training.data.annotated_images import Item, draw_texts
from picscribe.training.data.frozen_features import may_mirror
from picscribe.training.data.kept_views import KeptViews, view_of
from picscribe.training.data.mixture import Batches, share_of
from picscribe.training.recipe import Recipe

AHEAD = 2
"""Parts of steps that are read and wait, beside those that are being read; a whole step's where it has more."""


@dataclass(frozen=True)
class Part:
    """What one process computes at a time: pixels (B, 3, size, size), or what frozen blocks made of them, the images,
    and their texts; `number` among the process's of a step."""

    pixels: Tensor
    items: tuple[Item, ...]
    texts: list[list[TrainingExample]]
    number: int = 0


@dataclass(frozen=True)
class Prepared:
    """A step's parts, or one of them, read and shaped, and what could not be."""

    parts: tuple[Part, ...]
    skipped: tuple[tuple[str, str], ...]


class Reader:
    """Reads one process's share of each step; everything drawn is drawn from seed, epoch and image alone."""

    def __init__(
        self,
        recipe: Recipe,
        start: Checkpoint,
        batches: Batches,
        processes: int,
        process: int,
        kept: KeptViews | None = None,
    ) -> None:
        self.recipe, self.start, self.batches, self.kept = recipe, start, batches, kept
        self.processes, self.process = processes, process
        self.frames = start.model.config.frames if batches.data.has_videos else 0

    def upcoming(self, first: int, end: int, stopping: Callable[[], bool]) -> Iterator[int]:
        """Steps from `first` to before `end`, each once the kept view that it reads is there.

        Views are computed here, by the thread that draws the steps, which is the one that learns: a second thread that
        computes would only take the cores from it, and on a GPU spoil the graph that it captures. Raises Stopped.
        """
        for step in range(first, end):
            if self.kept is not None:
                self.kept.prepare(self.batches.epoch_of(step), stopping)
            yield step

    def steps(self, first: int, end: int, stopping: Callable[[], bool]) -> Generator[Prepared, None, None]:
        """The steps from `first` to before `end`, read ahead in parts: a large step is read by several threads, and one
        more step waits at most. Raises Stopped, and what no photo alone is to blame for.
        """
        accumulate = self.recipe.optimisation.accumulate
        places = ((step, number) for step in self.upcoming(first, end, stopping) for number in range(accumulate))
        with closing(read_ahead(places, lambda place: self._part(*place), max(AHEAD, accumulate))) as read:
            parts = []
            for part in read:
                if isinstance(part, PicscribeError):
                    raise part
                parts.append(part)
                if len(parts) == accumulate:
                    yield _together(parts)
                    parts = []

    def prepare(self, step: int) -> Prepared:
        """What this process learns from in a step that is `upcoming`. A photo that cannot be read is left out and told
        of.
        """
        return _together([self._part(step, number) for number in range(self.recipe.optimisation.accumulate)])

    def steps_in_memory(self) -> float:
        """How many steps' photos are in memory at most: one is learned, others wait or are being read."""
        accumulate = self.recipe.optimisation.accumulate
        return 1 + (max(AHEAD, accumulate) + READERS) / accumulate

    def _part(self, step: int, number: int) -> Prepared:
        draw = random.Random(f"{self.recipe.seed}/{step}/size")
        epoch, items = self.batches.of_step(step)
        size = draw.choice(self.recipe.image.sizes or (self.start.preprocessing.size,))
        accumulate, skipped = self.recipe.optimisation.accumulate, list[tuple[str, str]]()
        share = share_of(items, self.process * accumulate + number, self.processes * accumulate)
        pixels, good = self._read(share, size, epoch, skipped)
        texts = [draw_texts(item, self.start.tokenizer, self.recipe, again) for item, again in good]
        return Prepared((Part(pixels, tuple(item for item, _ in good), texts, number),), tuple(skipped))

    def _read(
        self, items: Sequence[tuple[Item, str]], size: int, epoch: int, skipped: list[tuple[str, str]]
    ) -> tuple[Tensor, list[tuple[Item, str]]]:
        """Pixels of the photos that can be read, or what frozen blocks made of them, and those photos and passes."""
        pixels, good = [], []
        for item, again in items:
            try:
                if self.kept is not None:
                    self.kept.require(item, epoch)
                else:
                    pixels.append(self._pixels(item, size, again))
                good.append((item, again))
            except PicscribeError as error:
                skipped.append((item.place, str(error)))
        if self.kept is not None:
            return self.kept.read([item for item, _ in good], epoch), good
        shape = (self.frames, 3, size, size) if self.frames else (3, size, size)
        return stacked(pixels) if pixels else torch.zeros(0, *shape), good

    def _pixels(self, item: Item, size: int, again: str) -> Tensor:
        preprocessing = replace(self.start.preprocessing, size=size, mode="square", longer_edge=None)
        source = item.example.image()
        frames = read_frames(source, self.frames) if self.frames else [open_image(source)]
        mirrored = may_mirror(text for pair in item.texts for text in pair)
        view = view_of(self.start)
        seen = []
        for frame in frames:  # all of a video's in one view
            draw = random.Random(f"{self.recipe.seed}/{again}/{item.id}/view")
            seen.append(preprocessing(view(frame, size, self.recipe.image.augmentation, draw, mirrored)))
        seen += seen[-1:] * (self.frames - len(seen))  # a video of few frames rests on its last
        return stacked(seen) if self.frames else seen[0]


def _together(prepared: Sequence[Prepared]) -> Prepared:
    parts = tuple(part for one in prepared for part in one.parts)
    return Prepared(parts, tuple(problem for one in prepared for problem in one.skipped))
