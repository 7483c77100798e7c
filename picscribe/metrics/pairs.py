"""Pairs predictions with what people said, by id.

Captions are tokenised here, once, so that every metric sees the same words. Answers and class names stay raw texts.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from picscribe.errors import InputError
from picscribe.metrics.ngrams import Matches, NumberedCaptions, Tokens
from picscribe.metrics.ptb_tokenizer import tokenize


@dataclass(frozen=True)
class CaptionPairs:
    """PTB tokens of each image's prediction and references (at least one; a caption may be empty), in one order.

    A token may hold a no-break space ("2\u00a01/2"): one word to ROUGE-L, two to BLEU and CIDEr, as in pycocoevalcap.
    """

    ids: tuple[str, ...]
    predictions: tuple[Tokens, ...]
    references: tuple[tuple[Tokens, ...], ...]

    @cached_property
    def numbered(self) -> NumberedCaptions:
        """The same as numbers; prediction k is held against image k."""
        return NumberedCaptions(self.predictions, self.references)

    @cached_property
    def matches(self) -> list[Matches]:
        """What each prediction shares with its own references, for each n-gram length."""
        return self.numbered.match(np.arange(len(self.ids)))


def read_caption(caption: str, where: str) -> Tokens:
    """The caption's tokens; InputError that begins with `where` unless it is a text."""
    if not isinstance(caption, str):
        raise InputError(f"{where} must be a text, found {type(caption).__name__}")
    return tuple(tokenize(caption))


def read_references(references: Mapping[str, Sequence[str]]) -> dict[str, tuple[Tokens, ...]]:
    """The tokens of every reference; InputError where there is nothing to compare with."""
    if not references:
        raise InputError("there are no references: give at least one image with a reference caption")
    by_id = {}
    for identity, captions in references.items():
        where = f"references of {identity!r}"
        if not isinstance(captions, list | tuple):
            raise InputError(f"{where} must be a list of texts, found {captions!r}")
        if not captions:
            raise InputError(f"{where} are empty: give each image at least one reference caption")
        by_id[identity] = tuple(read_caption(caption, where) for caption in captions)
    return by_id


def pair_captions(predictions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> CaptionPairs:
    """Prediction and references of each id, tokenised, in the order of `references`.

    Raises InputError that names ids where the two do not hold the same ones: a score over part of a data set is not
    its score.
    """
    require_known(predictions, references)
    if missing := [identity for identity in references if identity not in predictions]:
        raise InputError(
            f"{len(missing)} of {len(references)} images have references but no prediction: {_some(missing)}"
        )
    by_id = read_references(references)
    read = (read_caption(predictions[identity], f"prediction of {identity!r}") for identity in by_id)
    return CaptionPairs(tuple(by_id), tuple(read), tuple(by_id.values()))


def require_known(predictions: Collection[str], references: Collection[str]) -> None:
    """InputError that names the predictions for which there are no references."""
    if extra := [identity for identity in predictions if identity not in references]:
        raise InputError(f"{len(extra)} of {len(predictions)} predictions have no references: {_some(extra)}")


@dataclass(frozen=True)
class AnswerPair:
    """One predicted answer ("" where there is none) and what people gave (at least one), both as written."""

    prediction: str
    answers: tuple[str, ...]


def pair_answers(predictions: Mapping[str, str], answers: Mapping[str, Sequence[str]]) -> dict[str, AnswerPair]:
    """Prediction and answers of each id, in the order of `answers`.

    Raises InputError that names ids where the two do not hold the same ones (a score over part of a data set is not
    its score), and where a prediction is no text or answers are no list of texts.
    """
    if not answers:
        raise InputError("there are no answers: give at least one example with an answer")
    if extra := [identity for identity in predictions if identity not in answers]:
        raise InputError(f"{len(extra)} of {len(predictions)} predictions have no answers: {_some(extra)}")
    if missing := [identity for identity in answers if identity not in predictions]:
        raise InputError(f"{len(missing)} of {len(answers)} examples have answers but no prediction: {_some(missing)}")
    return {identity: _pair(identity, predictions[identity], given) for identity, given in answers.items()}


def _pair(identity: str, prediction: str, answers: Sequence[str]) -> AnswerPair:
    if not isinstance(prediction, str):
        raise InputError(f"prediction of {identity!r} must be a text, found {type(prediction).__name__}")
    if not isinstance(answers, list | tuple) or not all(isinstance(answer, str) for answer in answers):
        raise InputError(f"answers of {identity!r} must be a list of texts, found {answers!r}")
    if not answers:
        raise InputError(f"answers of {identity!r} are empty: give each example at least one")
    return AnswerPair(prediction, tuple(answers))


def _some(identities: Iterable[str], shown: int = 5) -> str:
    names = [repr(identity) for identity in identities]
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")
