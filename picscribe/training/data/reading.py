"""From the data sets that a recipe names to what a run learns from and is validated on."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from picscribe.datasets import Dataset, Example, load_examples, read_dataset
from picscribe.datasets.copies import copies_of
from picscribe.datasets.formats.caption_files import CAPTION_FILES
from picscribe.datasets.formats.class_folders import CLASS_FOLDERS
from picscribe.errors import ConfigurationError, InputError
from picscribe.training.data.annotated_images import AnnotatedImage, group_by_image
from picscribe.training.data.mixture import MixturePart, TrainingData, draw_order
from picscribe.training.data.shards import read_shards
from picscribe.training.recipe import DataSettings, Source


def read_data(settings: DataSettings, seed: int) -> TrainingData:
    """Read all data sets. Raises InputError for one that cannot be used, is empty, or is not of the others' task."""
    trained, parts = _read_parts(settings.train)
    if len({one.medium for one in trained}) > 1:
        raise ConfigurationError("data.train mixes photos and videos: train on one of them, then on the other")
    has_videos, notes = trained[0].medium == "videos", [note for one in trained for note in one.notes]
    if settings.validation:
        validated, validation = _read_validation(settings.validation, trained[0])
        held_out = None
    else:
        validated = trained
        parts, validation, copies = _hold_out(parts, settings, seed, trained[0])
        notes += _describe_copies(copies, has_videos)
        held_out = _folder_of(validation)
    if unanswered := next((example for example in validation if not any(map(str.strip, example.texts))), None):
        raise InputError(f"{unanswered.where or unanswered.id}: has no text to validate on: remove it from the data")
    read = [*trained, *validated]
    return TrainingData(
        parts=tuple(parts),
        validation=_tell_apart(validation),
        task=validated[0].task,
        form=validated[0].format,
        has_videos=has_videos,
        folders=tuple(one.path for one in read if one.format in (CAPTION_FILES.name, CLASS_FOLDERS.name)),
        held_out=held_out,
        notes=tuple(dict.fromkeys([*notes, *(note for one in validated for note in one.notes)])),
    )


def _read_parts(sources: Sequence[Source]) -> tuple[list[Dataset], list[MixturePart]]:
    """The data sets, and the parts that they make: those of one weight are one, so that what several of them say of an
    image is learned over one pass of the image encoder.
    """
    datasets, together, streamed = list[Dataset](), dict[float, list[Example]](), list[MixturePart]()
    for source in sources:
        if source.stream:
            shards = read_shards(Path(source.path), source.split)
            datasets.append(read_dataset(shards.tars[0].path, None, format="webdataset"))
            streamed.append(MixturePart(shards, source.weight))
        else:
            dataset, examples = _read(source)
            datasets.append(dataset)
            together.setdefault(source.weight, []).extend(examples)
    whole = [MixturePart(group_by_image(examples), weight) for weight, examples in together.items()]
    return datasets, [*whole, *streamed]


def _read(source: Source) -> tuple[Dataset, tuple[Example, ...]]:
    images = Path(source.images) if source.images else None
    dataset, examples = load_examples(Path(source.path), images, source.split or None, format=source.format or None)
    if not examples:
        raise InputError(f"{source.path}: split {source.split!r} is empty: name another split")
    return dataset, examples


# Validation data that are named


def _read_validation(sources: Sequence[Source], trained: Dataset) -> tuple[list[Dataset], tuple[Example, ...]]:
    """Raises ConfigurationError for data of several tasks, or of another medium than what is learned."""
    read = [_read(source) for source in sources]
    datasets = [dataset for dataset, _ in read]
    tasks = sorted({one.task for one in datasets})
    if len(tasks) > 1:
        raise ConfigurationError(
            f"data.validation mixes {' and '.join(tasks)}: name data of one kind, as a run is judged by one score"
        )
    if other := next((one for one in datasets if one.medium != trained.medium), None):
        raise ConfigurationError(
            f"data.validation: {other.path} has {other.medium}, but data.train has {trained.medium}: name "
            "data of one kind"
        )
    return datasets, tuple(example for _, examples in read for example in examples)


def _tell_apart(examples: Sequence[Example]) -> tuple[Example, ...]:
    """The examples; an id that another data set has used already gets a number."""
    known, counts = set[str](), Counter[str]()
    unique = []
    for example in examples:
        identity = example.id
        while identity in known:
            counts[example.id] += 1
            identity = f"{example.id} ({counts[example.id] + 1})"
        known.add(identity)
        unique.append(example if identity == example.id else replace(example, id=identity))
    return tuple(unique)


# Validation data that are held out of the training data


def _hold_out(
    parts: Sequence[MixturePart], settings: DataSettings, seed: int, dataset: Dataset
) -> tuple[list[MixturePart], tuple[Example, ...], set[Path]]:
    """The parts without the images that are held out, the examples of those, and other files that hold the same.

    Held out is a share of the first part's images, at least two of three or more (CIDEr of a single image is 0,
    whatever is said): their questions where the data set asks, their captions otherwise.
    """
    path, images = settings.train[0].path, parts[0].images
    if parts[0].is_streamed:
        raise ConfigurationError(f"{path} is streamed, so nothing can be held out: set data.validation")
    count = min(len(images) - 1, max(2, round(settings.held_out * len(images))))
    if not count:
        raise InputError("one image is too few to train and validate on: give more, or set data.validation")
    held = sorted(draw_order(images, f"{seed}/held out")[:count].tolist())
    asks = dataset.task == "questions"
    validation = tuple(example for index in held for example in _examples_of(images[index], asks))
    if not validation:
        raise ConfigurationError("no held-out image has a text of the first data set's kind: set data.validation")
    sources = {images[index].example.source for index in held}
    left = _leave_out(sources, parts)
    copies = copies_of(validation, (image.example for part in left if not part.is_streamed for image in part.images))
    left = _leave_out(copies, left)
    if not left:
        raise InputError(
            f"{path}: every {'video' if dataset.medium == 'videos' else 'photo'} is a copy of one that is held "
            "out for validation: give other ones, or set data.validation"
        )
    return left, validation, copies


def _leave_out(sources: Set[object], parts: Sequence[MixturePart]) -> list[MixturePart]:
    """The parts without the images of these sources, which several data sets may have, and without empty parts."""
    left = [
        part
        if part.is_streamed
        else replace(part, images=tuple(image for image in part.images if image.example.source not in sources))
        for part in parts
    ]
    return [part for part in left if len(part.images)]


def _examples_of(image: AnnotatedImage, asks: bool) -> Iterator[Example]:
    """An image's captions as an example, or an example for each question with its answers."""
    of, texts = image.example, dict[str, list[str]]()
    for question, text in image.texts:
        if bool(question) == asks:
            texts.setdefault(question, []).append(text)
    for number, (question, answers) in enumerate(texts.items()):
        identity = f"{of.id}/{number}" if number else of.id
        yield Example(identity, of.source, tuple(answers), question, of.split, of.where)


def _folder_of(examples: Sequence[Example]) -> Path | None:
    """The folder that all their photos are below; None if a photo is not a separate file, or is on another drive."""
    places = [os.path.abspath(example.source) for example in examples if isinstance(example.source, Path)]
    with suppress(ValueError):
        return Path(os.path.commonpath(map(os.path.dirname, places))) if len(places) == len(examples) else None
    return None


def _describe_copies(copies: Set[Path], are_videos: bool) -> Iterator[str]:
    """A note on photos, or videos, that are not learned."""
    if copies:
        what = "videos" if are_videos else "photos"
        yield f"{what} that are held out under another name too, left out: {len(copies):,}, such as {min(copies)}"
