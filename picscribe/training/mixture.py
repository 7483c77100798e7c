"""What a run learns from: examples of several data sets, grouped by image, in an order that step and seed decide."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from picscribe.datasets import Dataset, Example, load_examples
from picscribe.errors import InputError
from picscribe.text.prompts import TrainingExample, training_example
from picscribe.text.tokenizer import Tokenizer
from picscribe.training.fine_tuning_recipe import DataSettings, Source


@dataclass(frozen=True)
class Item:
    """One image with everything that is learned about it: pairs of a question, or "", and what people said."""

    example: Example
    texts: tuple[tuple[str, str], ...]

    @property
    def id(self) -> str:
        """The first example's id."""
        return self.example.id


def group_by_image(examples: Sequence[Example]) -> tuple[Item, ...]:
    """Examples of one image together, in the order of their first; a question is learned with each of its answers.

    Raises InputError for an example without any text.
    """
    groups: dict[object, list[Example]] = {}
    for example in examples:
        if not any(text.strip() for text in example.texts):
            raise InputError(f"{example.where or example.id}: has no text to learn: leave it out")
        groups.setdefault(example.source, []).append(example)
    return tuple(
        Item(group[0], tuple((e.question, text) for e in group for text in e.texts if text.strip()))
        for group in groups.values()
    )


@dataclass(frozen=True)
class Part:
    """One data set of a mixture, and how many times an epoch goes over it."""

    items: tuple[Item, ...]
    weight: float


@dataclass(frozen=True)
class Data:
    """A run's data: the mixture it learns from and the examples it is validated on."""

    parts: tuple[Part, ...]
    validation: tuple[Example, ...]
    task: str
    form: str
    has_videos: bool

    def epoch_size(self) -> int:
        """Images an epoch."""
        return sum(max(1, round(part.weight * len(part.items))) for part in self.parts)

    def epoch(self, seed: int, epoch: int) -> list[Item]:
        """The images of an epoch, in its order; a part of weight 0.5 gives another half each epoch."""
        chosen: list[Item] = []
        for number, part in enumerate(self.parts):
            size = max(1, round(part.weight * len(part.items)))
            start = epoch * size
            for place in range(start, start + size):
                turn, index = divmod(place, len(part.items))
                chosen.append(part.items[_order(f"{seed}/{number}/{turn}", len(part.items))[index]])
        random.Random(f"{seed}/{epoch}").shuffle(chosen)
        return chosen


@lru_cache(maxsize=64)
def _order(key: str, length: int) -> tuple[int, ...]:
    """A permutation that the key decides."""
    order = list(range(length))
    random.Random(key).shuffle(order)
    return tuple(order)


def read_data(settings: DataSettings, seed: int) -> Data:
    """Read all data sets. Raises InputError for one that cannot be used, is empty, or is not of the others' task."""
    trained = [_read(source) for source in settings.train]
    parts = [
        Part(group_by_image(examples), source.weight)
        for source, (_, examples) in zip(settings.train, trained, strict=True)
    ]
    if settings.validation:
        validated = [_read(source) for source in settings.validation]
        validation = tuple(example for _, examples in validated for example in examples)
        dataset = validated[0][0]
    else:
        parts[0], validation = _hold_out(parts[0], settings.held_out, seed)
        dataset = trained[0][0]
    videos = any(one.medium == "videos" for one, _ in trained)
    return Data(tuple(parts), validation, dataset.task, dataset.format, videos)


def _read(source: Source) -> tuple[Dataset, tuple[Example, ...]]:
    images = Path(source.images) if source.images else None
    dataset, examples = load_examples(Path(source.path), images, source.split or None, format=source.format or None)
    if not examples:
        raise InputError(f"{source.path}: split {source.split!r} is empty")
    return dataset, examples


def _hold_out(part: Part, share: float, seed: int) -> tuple[Part, tuple[Example, ...]]:
    """A part without `share` of its images, at least one, and the examples of those."""
    count = max(1, round(share * len(part.items)))
    if count >= len(part.items):
        raise InputError("a single image cannot be learned from and validated on: give more, or data.validation")
    order = _order(f"{seed}/held out", len(part.items))
    held = set(order[:count])
    validation = tuple(_whole(part.items[index]) for index in sorted(held))
    return Part(tuple(item for index, item in enumerate(part.items) if index not in held), part.weight), validation


def _whole(item: Item) -> Example:
    question = item.texts[0][0]
    texts = tuple(text for asked, text in item.texts if asked == question)
    return Example(item.example.id, item.example.source, texts, question, item.example.split, item.example.where)


def draw_texts(
    item: Item, tokenizer: Tokenizer, settings: DataSettings, seed: int, epoch: int
) -> list[TrainingExample]:
    """The texts that an epoch learns about an image: all of them, or `texts_an_image`, drawn."""
    texts = list(item.texts)
    if len(texts) > settings.texts_an_image:
        texts = random.Random(f"{seed}/{epoch}/{item.id}/texts").sample(texts, settings.texts_an_image)
    return [training_example(tokenizer, question, text, settings.max_tokens) for question, text in texts]


class Batches:
    """Which images a step learns from: `batch` images over all processes, of which each takes its share.

    An epoch's last batch is as small as what is left, and dropped where that is fewer than there are shares: every
    process takes part in every step.
    """

    def __init__(self, data: Data, seed: int, batch: int, shares: int) -> None:
        self.data, self.seed, self.batch = data, seed, batch
        whole, rest = divmod(data.epoch_size(), batch)
        self.steps_an_epoch = max(1, whole + (rest >= shares))

    def of_step(self, step: int) -> tuple[int, list[Item]]:
        """The epoch of a step, from 0 on, and the images of its batch."""
        epoch, place = divmod(step, self.steps_an_epoch)
        return epoch, self._epoch(epoch)[place * self.batch : (place + 1) * self.batch]

    @lru_cache(maxsize=2)  # noqa: B019 - lives as long as the run
    def _epoch(self, epoch: int) -> list[Item]:
        return self.data.epoch(self.seed, epoch)


def share_of(items: Sequence[Item], share: int, shares: int) -> list[Item]:
    """Every `shares`th image from `share` on."""
    return list(items[share::shares])


def steps_of(epochs: int, steps: int, steps_an_epoch: int) -> int:
    """How long a run is, in steps."""
    return steps or math.ceil(epochs * steps_an_epoch)
