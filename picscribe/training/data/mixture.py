"""What a run learns from: examples of several data sets, grouped by image, in an order that step and seed decide."""

import hashlib
import math
import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from picscribe.datasets import Dataset, Example, load_examples, read_dataset
from picscribe.datasets.caption_files import CAPTION_FILES
from picscribe.datasets.class_folders import CLASS_FOLDERS
from picscribe.datasets.copies import copies_of
from picscribe.datasets.fingerprint import hash_examples
from picscribe.errors import ConfigurationError, InputError
from picscribe.training.data.annotated_images import Item, group_by_image
from picscribe.training.data.shards import ShardItems, stream
from picscribe.training.recipe import DataSettings, Source


@dataclass(frozen=True)
class MixturePart:
    """One data set of a mixture, and how many times an epoch goes over it."""

    items: Sequence[Item]
    weight: float

    @property
    def size(self) -> int:
        """Images an epoch."""
        return max(1, round(self.weight * len(self.items)))


@dataclass(frozen=True)
class Data:
    """A run's data: the mixture it learns from and the examples it is validated on."""

    parts: tuple[MixturePart, ...]
    validation: tuple[Example, ...]
    task: str
    form: str
    has_videos: bool
    folders: tuple[Path, ...] = ()
    """Those in which every file is taken for data."""
    held_out: Path | None = None
    """The folder of the photos that are validated on because nobody named others; None too where files pack them."""
    notes: tuple[str, ...] = ()
    """What the data sets say of themselves."""

    def epoch_size(self) -> int:
        """Images an epoch."""
        return sum(part.size for part in self.parts)

    def epoch(self, seed: int, epoch: int) -> np.ndarray:
        """The order of an epoch, (images, 3): of which part, which image, and in which pass over the part, from 0.

        Parts come as they fall, each in its own order; one of weight 0.5 gives another half each epoch.
        """
        order = np.empty((self.epoch_size(), 3), np.int64)
        order[:, 0] = np.repeat(np.arange(len(self.parts)), [part.size for part in self.parts])
        _generator(f"{seed}/{epoch}").shuffle(order[:, 0])
        for number, part in enumerate(self.parts):
            order[order[:, 0] == number, 1:] = _of_part(part, number, seed, epoch)
        return order

    def item(self, part: int, index: int) -> Item:
        """An image by the numbers that `epoch` gives."""
        return self.parts[part].items[index]

    def odd(self) -> dict[str, str]:
        """Samples of tars that cannot be used and are left out, and why."""
        shards = [part.items for part in self.parts if isinstance(part.items, ShardItems)]
        return {place: problem for items in shards for place, problem in items.odd.items()}

    def learned_and_validated(self) -> int:
        """Validation examples about photos that are learned from too; photos in streamed tars are not known as such."""
        learned = {item.example.source for part in _whole(self.parts) for item in part.items}
        return sum(example.source in learned for example in self.validation)

    def fingerprint(self) -> str:
        """What tells these data from others: a hash of ids, texts, and names and sizes of files."""
        digest = hashlib.sha256(hash_examples(self.validation).encode())
        for part in self.parts:
            if isinstance(part.items, ShardItems):
                digest.update(part.items.digest.encode())
            else:
                texts = [replace(i.example, texts=tuple(t for pair in i.texts for t in pair)) for i in part.items]
                digest.update(hash_examples(texts).encode())
        return digest.hexdigest()


def _of_part(part: MixturePart, number: int, seed: int, epoch: int) -> np.ndarray:
    """What an epoch takes of a part, from where the last one stopped, pass after pass: (images, 2), image and pass."""
    length, start = len(part.items), epoch * part.size
    turns = range(start // length, (start + part.size - 1) // length + 1)
    passes = np.concatenate([_order(part.items, f"{seed}/{number}/{turn}") for turn in turns])
    numbers = np.repeat(np.arange(len(turns)), length)
    return np.stack([passes, numbers], axis=1)[start % length :][: part.size]


def _order(items: Sequence[Item], key: str) -> np.ndarray:
    """A permutation that the key decides."""
    draw = _generator(key)
    return items.order(draw) if isinstance(items, ShardItems) else draw.permutation(len(items))


def _generator(key: str) -> np.random.Generator:
    return np.random.default_rng(random.Random(key).getrandbits(64))


def read_data(settings: DataSettings, seed: int) -> Data:
    """Read all data sets. Raises InputError for one that cannot be used, is empty, or is not of the others' task."""
    trained, parts = _train(settings.train)
    if len({one.medium for one in trained}) > 1:
        raise ConfigurationError("data.train mixes photos and videos: learn from one of them, then from the other")
    validated = [_read(source) for source in settings.validation]
    has_videos, copies = trained[0].medium == "videos", set[Path]()
    if validated:
        validation = tuple(example for _, examples in validated for example in examples)
        dataset = validated[0][0]
        _require_alike([one for one, _ in validated], trained[0])
    elif isinstance(parts[0].items, ShardItems):
        raise ConfigurationError(f"{settings.train[0].path} is streamed: name the data to validate on, data.validation")
    else:
        dataset = trained[0]
        parts[0], validation = _hold_out(parts[0], settings.held_out, seed, dataset.task == "questions")
        copies = copies_of(validation, (item.example for part in _whole(parts) for item in part.items))
        parts = _without({example.source for example in validation} | copies, parts)
        if not parts:
            raise InputError(
                f"{settings.train[0].path}: every {'video' if has_videos else 'photo'} is the same as one that is held "
                "out to validate on: give other ones, or data.validation"
            )
    if unanswered := next((example for example in validation if not any(map(str.strip, example.texts))), None):
        raise InputError(f"{unanswered.where or unanswered.id}: has no text to validate on: leave it out")
    read = [*trained, *(one for one, _ in validated)]
    folders = tuple(one.path for one in read if one.format in (CAPTION_FILES.name, CLASS_FOLDERS.name))
    held_out = None if validated else _folder_of(validation)
    notes = tuple(dict.fromkeys((*(note for one in read for note in one.notes), *_told_of(copies, has_videos))))
    told_apart = _told_apart(validation)
    return Data(tuple(parts), told_apart, dataset.task, dataset.format, has_videos, folders, held_out, notes)


def _folder_of(examples: Sequence[Example]) -> Path | None:
    """The folder that all their photos are below; None where a photo is no file of its own, or on another drive."""
    places = [os.path.abspath(example.source) for example in examples if isinstance(example.source, Path)]
    with suppress(ValueError):
        return Path(os.path.commonpath(map(os.path.dirname, places))) if len(places) == len(examples) else None
    return None


def _require_alike(validated: Sequence[Dataset], trained: Dataset) -> None:
    """Raise ConfigurationError for validation data of several tasks, or of another medium than what is learned."""
    tasks = sorted({one.task for one in validated})
    if len(tasks) > 1:
        raise ConfigurationError(f"data.validation mixes {' and '.join(tasks)}: one score says how good a run is")
    if other := next((one for one in validated if one.medium != trained.medium), None):
        raise ConfigurationError(f"data.validation: {other.path} holds {other.medium}, data.train {trained.medium}")


def _told_apart(examples: Sequence[Example]) -> tuple[Example, ...]:
    """The examples, those of other data sets under an id that one before has with a number behind it."""
    known, again = set[str](), Counter[str]()
    told = []
    for example in examples:
        identity = example.id
        while identity in known:
            again[example.id] += 1
            identity = f"{example.id} ({again[example.id] + 1})"
        known.add(identity)
        told.append(example if identity == example.id else replace(example, id=identity))
    return tuple(told)


def _train(sources: Sequence[Source]) -> tuple[list[Dataset], list[MixturePart]]:
    """The data sets, and the parts that they make: those of one weight are one, so that what several of them say of an
    image is learned over one pass of the image encoder.
    """
    datasets, together, streamed = list[Dataset](), dict[float, list[Example]](), list[MixturePart]()
    for source in sources:
        if source.stream:
            items = stream(Path(source.path), source.split)
            datasets.append(read_dataset(items.tars[0].path, None, format="webdataset"))
            streamed.append(MixturePart(items, source.weight))
        else:
            dataset, examples = _read(source)
            datasets.append(dataset)
            together.setdefault(source.weight, []).extend(examples)
    return datasets, [
        *(MixturePart(group_by_image(examples), weight) for weight, examples in together.items()),
        *streamed,
    ]


def _read(source: Source) -> tuple[Dataset, tuple[Example, ...]]:
    images = Path(source.images) if source.images else None
    dataset, examples = load_examples(Path(source.path), images, source.split or None, format=source.format or None)
    if not examples:
        raise InputError(f"{source.path}: split {source.split!r} is empty")
    return dataset, examples


def _hold_out(part: MixturePart, share: float, seed: int, asks: bool) -> tuple[MixturePart, tuple[Example, ...]]:
    """A part without `share` of its images, at least two of three or more, and the examples of those: questions where
    the run `asks`, captions otherwise. (CIDEr of a single image is 0, whatever is said.)
    """
    length = len(part.items)
    count = min(length - 1, max(2, round(share * length)))
    if not count:
        raise InputError("a single image cannot be learned from and validated on: give more, or data.validation")
    held = set(_order(part.items, f"{seed}/held out")[:count].tolist())
    validation = tuple(example for index in sorted(held) for example in _examples(part.items[index], asks))
    if not validation:
        raise ConfigurationError("no held-out image has a text of the first data set's kind: name data.validation")
    return MixturePart(
        tuple(item for index, item in enumerate(part.items) if index not in held), part.weight
    ), validation


def _whole(parts: Sequence[MixturePart]) -> Iterator[MixturePart]:
    """Those that are not streamed."""
    return (part for part in parts if not isinstance(part.items, ShardItems))


def _told_of(copies: Set[Path], are_videos: bool) -> Iterator[str]:
    """What is said of photos, or videos, that are not learned."""
    if copies:
        what = "videos" if are_videos else "photos"
        yield f"{what} that are held out under another name too, left out: {len(copies):,}, such as {min(copies)}"


def _without(held: Set[object], parts: Sequence[MixturePart]) -> list[MixturePart]:
    """The parts without the photos that are held out, which data sets of another weight may have as well, and those
    that nothing is left of."""
    left = [
        part
        if isinstance(part.items, ShardItems)
        else replace(part, items=tuple(item for item in part.items if item.example.source not in held))
        for part in parts
    ]
    return [part for part in left if len(part.items)]


def _examples(item: Item, asks: bool) -> Iterator[Example]:
    """An image's captions as an example, or one a question with its answers."""
    of, texts = item.example, dict[str, list[str]]()
    for question, text in item.texts:
        if bool(question) != asks:
            continue
        texts.setdefault(question, []).append(text)
    for number, (question, answers) in enumerate(texts.items()):
        identity = f"{of.id}/{number}" if number else of.id
        yield Example(identity, of.source, tuple(answers), question, of.split, of.where)


class Batches:
    """Which images a step learns from: `batch` images over all processes, of which each takes its share.

    An epoch's last batch is as small as what is left, and dropped where that is fewer than there are shares: every
    process takes part in every step.
    """

    def __init__(self, data: Data, seed: int, batch: int, shares: int) -> None:
        self.data, self.seed, self.batch = data, seed, batch
        whole, rest = divmod(data.epoch_size(), batch)
        self.steps_an_epoch = max(1, whole + (rest >= shares))

    def epoch_of(self, step: int) -> int:
        """The epoch of a step, from 0 on."""
        return step // self.steps_an_epoch

    @lru_cache(maxsize=4)  # noqa: B019 - as `_epoch`; a step's parts ask one after the other
    def of_step(self, step: int) -> tuple[int, list[tuple[Item, str]]]:
        """The epoch of a step, from 0 on, and the images of its batch, each with the pass over it.

        A pass is a text that what is drawn of an image depends on: in an epoch that comes to an image again, its data
        set of a weight above 1, it shall not look the same again.
        """
        epoch, place = divmod(step, self.steps_an_epoch)
        chosen = self._epoch(epoch)[place * self.batch : (place + 1) * self.batch].tolist()
        return epoch, [
            (self.data.item(part, index), f"{epoch}/{again}" if again else f"{epoch}") for part, index, again in chosen
        ]

    @lru_cache(maxsize=2)  # noqa: B019 - lives as long as the run
    def _epoch(self, epoch: int) -> np.ndarray:
        return self.data.epoch(self.seed, epoch)


def share_of(items: Sequence[tuple[Item, str]], share: int, shares: int) -> list[tuple[Item, str]]:
    """Every `shares`th image from `share` on."""
    return list(items[share::shares])


def steps_of(epochs: int, steps: int, steps_an_epoch: int) -> int:
    """How long a run is, in steps."""
    return steps or math.ceil(epochs * steps_an_epoch)
