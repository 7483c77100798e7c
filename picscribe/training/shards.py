"""WebDataset tars too large to be known all at once: a few at a time, in an order that the seed decides."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import overload

import numpy as np

from picscribe.datasets import read_dataset
from picscribe.datasets.folder_tree import files_below, split_of_path
from picscribe.errors import InputError
from picscribe.training.items import Item, group_by_image

WINDOW = 8
"""Tars whose images are shuffled among each other."""


class ShardItems(Sequence[Item]):
    """The images of many tars, by number; those of a few tars are held, the others read anew when asked for.

    odd: samples that cannot be used, which are left out, by their place, and why.
    """

    def __init__(self, shards: Sequence[Path], window: int = WINDOW) -> None:
        """Raises InputError for a tar of which nothing can be used."""
        self.shards, self.window = shards, window
        self.odd: dict[str, str] = {}
        self._read = lru_cache(maxsize=2 * window)(_read)  # the window that ends, and the one read ahead
        ends = 0
        self._ends = []
        for shard in shards:
            read = _read(shard)
            self.odd |= read.odd
            ends += len(read.items)
            self._ends.append(ends)

    def __len__(self) -> int:
        return self._ends[-1]

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | Sequence[Item]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        shard = bisect_right(self._ends, index)
        return self._read(self.shards[shard]).items[index - (self._ends[shard - 1] if shard else 0)]

    def order(self, draw: np.random.Generator) -> np.ndarray:
        """Every image's number once: tars in a drawn order, the images of `window` of them among each other."""
        shards = draw.permutation(len(self.shards))
        starts = [0, *self._ends]
        windows = [shards[start : start + self.window] for start in range(0, len(shards), self.window)]
        numbers = [np.concatenate([np.arange(starts[s], starts[s + 1]) for s in window]) for window in windows]
        return np.concatenate([draw.permutation(of_window) for of_window in numbers])


def shards_of(folder: Path, split: str) -> list[Path]:
    """The tars below a folder that are of a split, or of several joined with "+"; all where it is "".

    Raises InputError where there is none.
    """
    wanted = set(split.split("+")) if split else set()
    tars = [file for file in files_below(folder) if file.suffix.lower() == ".tar"]
    chosen = [tar for tar in tars if not split or split_of_path(tar.relative_to(folder)) in wanted]
    if not chosen:
        raise InputError(f"{folder}: has no .tar file" + (f" of split {split!r}" if tars else ""))
    return chosen


@dataclass(frozen=True)
class _Shard:
    items: tuple[Item, ...]
    odd: dict[str, str]


def _read(shard: Path) -> _Shard:
    dataset = read_dataset(shard, None, format="webdataset")
    silent = [example for example in dataset.examples if not any(map(str.strip, example.texts))]
    odd = {oddity.where: oddity.problem for oddity in dataset.oddities}
    odd |= {example.where or example.id: "has no text to learn" for example in silent}
    items = group_by_image([example for example in dataset.examples if any(map(str.strip, example.texts))])
    if not items:
        raise InputError(f"{shard}: holds no sample that can be learned from{_such_as(odd)}")
    return _Shard(items, odd)


def _such_as(odd: dict[str, str]) -> str:
    return f", such as {': '.join(next(iter(odd.items())))}" if odd else ""
