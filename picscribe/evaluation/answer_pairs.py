"""Brings predicted answers and those of people together by id, as raw text, for metrics of questions and classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from picscribe.errors import InputError


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
        raise InputError("no answers: at least one example with at least one answer to compare with is needed")
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
        raise InputError(f"answers of {identity!r}: none; every example needs at least one answer to compare with")
    return AnswerPair(prediction, tuple(answers))


def _some(identities: Sequence[str], shown: int = 5) -> str:
    names = ", ".join(map(repr, identities[:shown]))
    return names + (f" and {len(identities) - shown} more" if len(identities) > shown else "")
