"""WebDataset tars too large to be known all at once: a few at a time, in an order that the seed decides."""

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import overload

import numpy as np

from picscribe.datasets import read_dataset
from picscribe.datasets.dataset import require_splits, splits_named
from picscribe.datasets.fingerprint import hash_examples
from picscribe.datasets.folder_tree import split_of_path
from picscribe.datasets.formats.webdataset import COMPRESSED, require_unpacked
from picscribe.errors import InputError
from picscribe.media.folders import files_below
from picscribe.training.data.annotated_images import AnnotatedImage, group_by_image

WINDOW = 8
"""Tars whose images are shuffled together."""


@dataclass(frozen=True)
class Tar:
    """A tar, and the split that its name or a folder's names, "" where none does."""

    path: Path
    split: str


@dataclass(frozen=True)
class _Shard:
    images: tuple[AnnotatedImage, ...]
    unusable: dict[str, str]
    splits: frozenset[str]
    digest: str


class ShardedImages(Sequence[AnnotatedImage]):
    """The images of many tars, by number; those of a few tars are in memory, the others are read when asked for.

    unusable: samples that are left out, by their place, and why. splits: those that the tars hold, wanted or not.
    digest: tells these data from others.
    """

    def __init__(self, tars: Sequence[Tar], wanted: frozenset[str] | None = None, window: int = WINDOW) -> None:
        """Of the tars, the samples of the splits `wanted`, or all. Raises InputError for a tar of which nothing can be
        used."""
        self.window = window
        self._read = lru_cache(maxsize=2 * window)(_read)  # the window that ends, and the one read ahead
        self._wanted = wanted
        self.unusable: dict[str, str] = {}
        self.tars, self._ends, self.splits, digest = list[Tar](), list[int](), set[str](), hashlib.sha256()
        ends = 0
        for tar in tars:
            read = _read(tar, wanted)
            self.splits |= read.splits
            self.unusable |= read.unusable
            if read.images:
                ends += len(read.images)
                self.tars.append(tar)
                self._ends.append(ends)
                digest.update(read.digest.encode())
        self.digest = digest.hexdigest()

    def __len__(self) -> int:
        return self._ends[-1]

    @overload
    def __getitem__(self, index: int) -> AnnotatedImage: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[AnnotatedImage]: ...
    def __getitem__(self, index: int | slice) -> AnnotatedImage | Sequence[AnnotatedImage]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = bisect_right(self._ends, index)
        tar, place = self.tars[number], index - (self._ends[number - 1] if number else 0)
        images = self._read(tar, self._wanted).images
        if place >= len(images):
            raise InputError(
                f"{tar.path}: has fewer samples than when the run began: bring the old file back, or start another run"
            )
        return images[place]

    def draw_order(self, draw: np.random.Generator) -> np.ndarray:
        """Every image's number once: tars in a drawn order, the images of each `window` of them shuffled together."""
        tars = draw.permutation(len(self.tars))
        starts = [0, *self._ends]
        windows = [tars[start : start + self.window] for start in range(0, len(tars), self.window)]
        numbers = [np.concatenate([np.arange(starts[t], starts[t + 1]) for t in window]) for window in windows]
        return np.concatenate([draw.permutation(of_window) for of_window in numbers])


def list_tars(path: Path) -> list[Tar]:
    """A tar, or the tars below a folder. Raises InputError where there is none, and for a packed one."""
    files = [path] if path.is_file() else files_below(path)
    found = [file for file in files if file.name.lower().endswith((".tar", *COMPRESSED))]
    if not found:
        raise InputError(f"{path}: has no .tar file: name another folder")
    for file in found:
        require_unpacked(file)
    return [Tar(file, split_of_path(Path(file.name) if file == path else file.relative_to(path))) for file in found]


def read_shards(path: Path, split: str) -> ShardedImages:
    """The samples of a split, or of several joined with "+", of a tar or of all below a folder.

    Where `split` is "", they must be of one. Raises InputError as `list_tars` and `ShardedImages`.
    """
    wanted = frozenset(splits_named(split)) if split else None
    images = ShardedImages(list_tars(path), wanted)
    require_splits(path, wanted, images.splits)
    return images


def _read(tar: Tar, wanted: frozenset[str] | None) -> _Shard:
    dataset = read_dataset(tar.path, None, format="webdataset")
    # Read alone, a tar does not know its folder's split; what a sample says of itself counts more than either.
    of_name = split_of_path(Path(tar.path.name))
    splits = [tar.split if example.split == of_name else example.split for example in dataset.examples]
    silent = [example for example in dataset.examples if not any(map(str.strip, example.texts))]
    unusable = {oddity.where: oddity.problem for oddity in dataset.oddities}
    unusable |= {example.where or example.id: "has no text to learn" for example in silent}
    speaking = [pair for pair in zip(dataset.examples, splits, strict=True) if any(map(str.strip, pair[0].texts))]
    if not speaking:
        raise InputError(f"{tar.path}: has no sample to train on{_such_as(unusable)}")
    chosen = [example for example, split in speaking if wanted is None or split in wanted]
    return _Shard(group_by_image(chosen), unusable, frozenset(split for _, split in speaking), hash_examples(chosen))


def _such_as(unusable: dict[str, str]) -> str:
    return f", such as {': '.join(next(iter(unusable.items())))}" if unusable else ""
