"""Counts what a data set holds and lists what is odd about it, without opening a photo."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from picscribe.datasets.dataset import Dataset, Medium, Task, missing_files
from picscribe.datasets.examples import Example, Oddity

FREQUENT = 5
"""Texts that are listed by how often they are said."""

SHARED_AT_LEAST = 10
SHARED_SHARE = 0.01
"""A caption of at least so many photos and so large a part of them all is odd: most often it means "none"."""


@dataclass(frozen=True)
class Spread:
    """The least, the middle and the greatest of some numbers; zeros of none."""

    least: float
    median: float
    greatest: float


@dataclass(frozen=True)
class SplitCounts:
    """How much a split holds: examples, photos or videos that differ, texts, and rows that cannot be used."""

    examples: int
    sources: int
    texts: int
    odd: int


@dataclass(frozen=True)
class Inspection:
    """What a data set holds. texts_per_example and words (of a text, by the spaces between) are over all examples.

    splits: by name, "" for what has none. frequent: texts and how often they are said, the most frequent first; texts
    that differ only in capitals and space count as one. odd: rows that cannot be used, files that are not there, and
    captions that too many share. notes: what is no mistake, but may be news.
    """

    format: str
    task: Task
    medium: Medium
    splits: dict[str, SplitCounts]
    texts_per_example: Spread
    words: Spread
    distinct_texts: int
    frequent: tuple[tuple[str, int], ...]
    odd: tuple[Oddity, ...]
    notes: tuple[str, ...]


def inspect_dataset(dataset: Dataset, split: str | None = None) -> Inspection:
    """Count a data set, or one split of it, and list what is odd."""
    examples = [example for example in dataset.examples if split is None or example.split == split]
    unusable = [oddity for oddity in dataset.oddities if split is None or oddity.split in ("", split)]
    odd = [*unusable, *missing_files(examples)]
    texts = [text for example in examples for text in example.texts]
    said = Counter(" ".join(text.lower().split()) for text in texts)
    if dataset.task == "captions":
        odd += _shared_captions(examples)
    names = dict.fromkeys([*(example.split for example in examples), *(oddity.split for oddity in unusable)])
    return Inspection(
        dataset.format,
        dataset.task,
        dataset.medium,
        {name: _count(examples, odd, name) for name in names},
        _spread([len(example.texts) for example in examples]),
        _spread([len(text.split()) for text in texts]),
        len(said),
        tuple(said.most_common(FREQUENT)),
        tuple(odd),
        dataset.notes,
    )


def _count(examples: Iterable[Example], odd: Iterable[Oddity], split: str) -> SplitCounts:
    within = [example for example in examples if example.split == split]
    return SplitCounts(
        examples=len(within),
        sources=len({example.source for example in within}),
        texts=sum(len(example.texts) for example in within),
        odd=sum(oddity.split == split for oddity in odd),
    )


def _shared_captions(examples: Sequence[Example]) -> list[Oddity]:
    """A caption of suspiciously many photos, at the first of them."""
    photos: Counter[str] = Counter()
    first: dict[str, Example] = {}
    for example in examples:
        for text in {" ".join(text.lower().split()) for text in example.texts}:
            photos[text] += 1
            first.setdefault(text, example)
    return [
        Oddity(first[text].where, f"{text!r} is a caption of {count} of {len(examples)}", first[text].split)
        for text, count in photos.most_common()
        if count >= SHARED_AT_LEAST and count >= SHARED_SHARE * len(examples)
    ]


def _spread(numbers: Sequence[int]) -> Spread:
    return Spread(min(numbers), median(numbers), max(numbers)) if numbers else Spread(0, 0, 0)
