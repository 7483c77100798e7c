"""Ask a model about examples, batch by batch: which stand together, and what it says of each."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from picscribe.datasets import Example
from picscribe.errors import PicscribeError
from picscribe.evaluation.journal import Answer

if TYPE_CHECKING:
    from picscribe.generation import GenerationOptions
    from picscribe.scribe import Caption, Scribe

Batch = tuple[Example, ...]


def plan_batches(examples: Sequence[Example], size: int) -> list[Batch]:
    """Cut examples into batches of at most `size`, always the same ones for the same examples.

    Questions about one image make batches of their own, so that it is encoded once for them.
    """
    groups: dict[object, list[Example]] = {}
    for example in examples:
        groups.setdefault(example.source if example.question else None, []).append(example)
    return [tuple(group[start : start + size]) for group in groups.values() for start in range(0, len(group), size)]


def answer_batch(scribe: "Scribe", batch: Batch, options: "GenerationOptions") -> list[Answer]:
    """An answer for each example; one that cannot be used has an error and the others go on."""
    return _ask(scribe, batch, options) if batch[0].question else _caption(scribe, batch, options)


def _caption(scribe: "Scribe", batch: Batch, options: "GenerationOptions") -> list[Answer]:
    images, broken = [], {}
    for example in batch:
        try:
            images.append(example.image())
        except PicscribeError as error:
            broken[example.id] = Answer(example.id, "", str(error))
    captions = iter(scribe.caption(images, options=options, batch_size=max(1, len(images)), errors="return"))
    return [broken.get(example.id) or _answer(example, next(captions)) for example in batch]


def _ask(scribe: "Scribe", batch: Batch, options: "GenerationOptions") -> list[Answer]:
    try:
        answers = scribe.ask(batch[0].image(), [example.question for example in batch], options=options)
    except PicscribeError as error:
        # One question that cannot be asked must not take the others about its image with it.
        if len(batch) == 1:
            return [_answer(batch[0], error)]
        return [answer for example in batch for answer in _ask(scribe, (example,), options)]
    return [_answer(example, answer) for example, answer in zip(batch, answers, strict=True)]


def _answer(example: Example, said: "Caption | PicscribeError") -> Answer:
    if not isinstance(said, PicscribeError):
        return Answer(example.id, said.text)
    return Answer(example.id, "", str(said))
