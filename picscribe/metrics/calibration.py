"""Calibration of confidence: of the answers that a model is so sure of, how many there are and how many are right.

This is what makes a threshold, such as `picscribe caption --min-confidence`, a choice and not a guess.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from picscribe.errors import InputError

THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9)
"""0 is all answers."""


@dataclass(frozen=True)
class Confident:
    """The answers of a confidence of at least `threshold`: how many, and what share of all answers.

    judged: how many of them can be right or wrong at all. right: their mean score, 0 to 1; None where there are none.
    """

    threshold: float
    kept: int
    share: float
    judged: int
    right: float | None


def calibrate(
    confidences: Mapping[str, float], scores: Mapping[str, float], thresholds: Sequence[float] = THRESHOLDS
) -> list[Confident]:
    """For each threshold the answers kept, and how right they are.

    confidences: 0 to 1, by id. scores: of each answer, 0 to 1, such as `Metric.per_item`; nan, or no entry, where an
    answer cannot be judged. Raises InputError where there are no answers, or a confidence is not a number from 0 to 1.
    """
    if not confidences:
        raise InputError("there are no confidences: give at least one answer")
    for identity, confidence in confidences.items():
        if not 0 <= confidence <= 1:
            raise InputError(f"confidence of {identity!r} must be from 0 to 1, found {confidence!r}")
    return [_confident(confidences, scores, threshold) for threshold in thresholds]


def _confident(confidences: Mapping[str, float], scores: Mapping[str, float], threshold: float) -> Confident:
    kept = [identity for identity, confidence in confidences.items() if confidence >= threshold]
    judged = [score for identity in kept if not math.isnan(score := scores.get(identity, math.nan))]
    right = math.fsum(judged) / len(judged) if judged else None
    return Confident(threshold, len(kept), len(kept) / len(confidences), len(judged), right)
