"""A step's batch, read: its images in random views of one size, with the texts that are learned about them."""

import random
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from picscribe.batches import READERS, read_ahead
from picscribe.checkpoints import Checkpoint
from picscribe.errors import PicscribeError
from picscribe.media.images import open_image
from picscribe.media.preprocessing import stacked
from picscribe.media.video import read_frames
from picscribe.text.prompts import TrainingExample
from picscribe.training.data.annotated_images import AnnotatedImage, draw_texts
from picscribe.training.data.augmentation import choose_view, may_mirror
from picscribe.training.data.frozen_features import KeptViews
from picscribe.training.data.mixture import BatchSchedule, DrawnImage
from picscribe.training.recipe import Recipe

AHEAD = 2
"""How many read micro-batches may wait, not counting those being read; a whole step's if that is more."""


@dataclass(frozen=True)
class MicroBatch:
    """What one process computes at a time: pixels (B, 3, size, size) or frozen features, the images, and their texts;
    `number` is its place among the process's of a step."""

    pixels: Tensor
    images: tuple[AnnotatedImage, ...]
    texts: list[list[TrainingExample]]
    number: int = 0


@dataclass(frozen=True)
class TrainingBatch:
    """One process's share of a step: its micro-batches, and what could not be read, and why."""

    micro_batches: tuple[MicroBatch, ...]
    skipped: tuple[tuple[str, str], ...]

    def count_images(self) -> int:
        """Images that were read."""
        return sum(len(one.images) for one in self.micro_batches)


class BatchReader:
    """Reads one process's share of each step; everything drawn is drawn from seed, epoch and image alone."""

    def __init__(
        self,
        recipe: Recipe,
        start: Checkpoint,
        schedule: BatchSchedule,
        *,
        processes: int,
        process: int,
        kept: KeptViews | None = None,
    ) -> None:
        self.recipe, self.start, self.schedule, self.kept = recipe, start, schedule, kept
        self.processes, self.process = processes, process
        self.accumulate = recipe.optimisation.accumulate
        self.frames = start.model.config.frames if schedule.data.has_videos else 0

    def prepare_steps(self, first: int, end: int, check: Callable[[], None]) -> Iterator[int]:
        """Steps from `first` to before `end`, each once the kept view that it reads is there; `check` may raise.

        Views are computed here, by the thread that draws the steps, which is the one that learns: a second thread that
        computes would only take the cores from it, and on a GPU spoil the graph that it captures.
        """
        for step in range(first, end):
            if self.kept is not None:
                self.kept.prepare(self.schedule.epoch_of(step), check)
            yield step

    def read_batches(self, first: int, end: int, check: Callable[[], None]) -> Generator[TrainingBatch, None, None]:
        """The batches of steps `first` to before `end`, their micro-batches read ahead by several threads, at most one
        more step's at a time. Raises what `check` raises, and errors that no photo alone is to blame for.
        """
        places = ((step, number) for step in self.prepare_steps(first, end, check) for number in range(self.accumulate))
        with closing(read_ahead(places, lambda place: self._read_part(*place), max(AHEAD, self.accumulate))) as read:
            parts = []
            for part in read:
                if isinstance(part, PicscribeError):
                    raise part
                parts.append(part)
                if len(parts) == self.accumulate:
                    yield _join(parts)
                    parts = []

    def read_batch(self, step: int) -> TrainingBatch:
        """The batch of a step that `prepare_steps` has given. A photo that cannot be read is left out and listed."""
        return _join([self._read_part(step, number) for number in range(self.accumulate)])

    def count_steps_in_memory(self) -> float:
        """How many steps' photos are in memory at most: one is learned, others wait or are being read."""
        return 1 + (max(AHEAD, self.accumulate) + READERS) / self.accumulate

    def _read_part(self, step: int, number: int) -> TrainingBatch:
        """One micro-batch of a step."""
        draw = random.Random(f"{self.recipe.seed}/{step}/size")
        size = draw.choice(self.recipe.image.sizes or (self.start.preprocessing.size,))
        share = slice(self.process * self.accumulate + number, None, self.processes * self.accumulate)
        skipped = list[tuple[str, str]]()
        drawn = self.schedule.images_of(step)[share]
        pixels, good = self._read_pixels(drawn, size, self.schedule.epoch_of(step), skipped)
        texts = [draw_texts(one.image, self.start.tokenizer, self.recipe, one.image_pass) for one in good]
        return TrainingBatch((MicroBatch(pixels, tuple(one.image for one in good), texts, number),), tuple(skipped))

    def _read_pixels(
        self, images: Sequence[DrawnImage], size: int, epoch: int, skipped: list[tuple[str, str]]
    ) -> tuple[Tensor, list[DrawnImage]]:
        """Pixels, or frozen features, of the images that can be read, and those images."""
        pixels, good = [], []
        for drawn in images:
            try:
                if self.kept is not None:
                    self.kept.require_readable(drawn.image, epoch)
                else:
                    pixels.append(self._draw_pixels(drawn, size))
                good.append(drawn)
            except PicscribeError as error:
                skipped.append((drawn.image.place, str(error)))
        if self.kept is not None:
            return self.kept.read([drawn.image for drawn in good], epoch), good
        shape = (self.frames, 3, size, size) if self.frames else (3, size, size)
        return stacked(pixels) if pixels else torch.zeros(0, *shape), good

    def _draw_pixels(self, drawn: DrawnImage, size: int) -> Tensor:
        """A random view of an image, (3, size, size), or of a video's frames, (F, 3, size, size)."""
        preprocessing = replace(self.start.preprocessing, size=size, mode="square", longer_edge=None)
        source = drawn.image.example.image()
        frames = read_frames(source, self.frames) if self.frames else [open_image(source)]
        can_mirror = may_mirror(text for pair in drawn.image.texts for text in pair)
        view, augmentation = choose_view(self.start.preprocessing), self.recipe.image.augmentation
        seen = []
        for frame in frames:  # all of a video's in one view
            draw = random.Random(f"{self.recipe.seed}/{drawn.image_pass}/{drawn.image.id}/view")
            seen.append(preprocessing(view(frame, size, augmentation, draw, can_mirror)))
        seen += seen[-1:] * (self.frames - len(seen))  # a video of few frames rests on its last
        return stacked(seen) if self.frames else seen[0]


def _join(parts: Sequence[TrainingBatch]) -> TrainingBatch:
    micro_batches = tuple(one for part in parts for one in part.micro_batches)
    return TrainingBatch(micro_batches, tuple(problem for part in parts for problem in part.skipped))
