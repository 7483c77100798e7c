"""Asks a model about examples, batch by batch: which share a batch, and what the model says about each."""

import contextlib
from collections.abc import Generator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING

from picscribe.batches import read_ahead
from picscribe.datasets import Example
from picscribe.errors import PicscribeError
from picscribe.evaluation.journal import Answer
from picscribe.results import Caption, Classification

if TYPE_CHECKING:
    from torch import Tensor

    from picscribe.generation import GenerationOptions
    from picscribe.scribe import Scribe
    from picscribe.text.labels import Labels

Batch = tuple[Example, ...]


def plan_batches(examples: Sequence[Example], size: int) -> list[Batch]:
    """Cut examples into batches of at most `size`, always the same ones for the same examples.

    Questions about one image make batches of their own, so that it is encoded once for them.
    """
    groups: dict[object, list[Example]] = {}
    for example in examples:
        groups.setdefault(example.source if example.question else None, []).append(example)
    return [tuple(group[start : start + size]) for group in groups.values() for start in range(0, len(group), size)]


def answer_batch(
    scribe: "Scribe", batch: Batch, options: "GenerationOptions", labels: "Labels | None" = None
) -> list[Answer]:
    """An answer for each example, one of `labels` where there are any; one that cannot be used has an error and the
    others continue.
    """
    if labels is not None:
        photos = [example.image() for example in batch]
        found = scribe.classifications(photos, labels, top_k=1, batch_size=len(batch), errors="return")
        return [_answer(example, said) for example, said in zip(batch, found, strict=True)]
    # Closed here: Ctrl-C while Python clears away a generator would be reported as ignored, and lost.
    with contextlib.closing(answer_batches(scribe, [batch], options)) as answers:
        return next(answers)


def answer_batches(
    scribe: "Scribe", batches: Sequence[Batch], options: "GenerationOptions"
) -> Generator[list[Answer], None, None]:
    """An answer for each example, batch by batch; one that cannot be used has an error and the others continue.

    Photos of the next batch are opened in threads meanwhile. Close what this returns, so that they end.
    """

    def read(example: Example) -> "Tensor":
        return scribe.pixels(example.image())

    # Questions of a batch are all about one image.
    seen = (batch[:1] if batch[0].question else batch for batch in batches)
    photos = read_ahead(chain.from_iterable(seen), read, ahead=max(map(len, batches), default=1))
    with contextlib.closing(photos):
        for batch in batches:
            if batch[0].question:
                yield _ask(scribe, batch, next(photos), options)
            else:
                yield _caption(scribe, batch, list(islice(photos, len(batch))), options)


def _caption(
    scribe: "Scribe", batch: Batch, photos: "list[Tensor | PicscribeError]", options: "GenerationOptions"
) -> list[Answer]:
    captions = scribe.caption(photos, options=options, batch_size=len(batch), errors="return")
    return [_answer(example, said) for example, said in zip(batch, captions, strict=True)]


def _ask(
    scribe: "Scribe", batch: Batch, photo: "Tensor | PicscribeError", options: "GenerationOptions"
) -> list[Answer]:
    if isinstance(photo, PicscribeError):
        return [_answer(example, photo) for example in batch]
    answers = scribe.ask(photo, [example.question for example in batch], options=options, errors="return")
    return [_answer(example, answer) for example, answer in zip(batch, answers, strict=True)]


def _answer(example: Example, said: Caption | Classification | PicscribeError) -> Answer:
    if isinstance(said, PicscribeError):
        return Answer(example.id, "", str(said))
    if isinstance(said, Caption):
        # As the original code decodes them: published scores are of such texts.
        return Answer(example.id, said.decoded, confidence=said.confidence)
    return Answer(example.id, said.label, confidence=said.ranking[0].probability)
